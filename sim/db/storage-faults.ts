// Faults of disks during a run: single bytes turned over in the log and in the tables, torn writes, syncs that fail, full
// disks, table stores that fail. A node that cannot go on for such a reason has done right: it is started
// again when its disk works, and with an empty one when it says that what it has cannot be trusted.
// What would lose committed data by itself is done to a minority of the cores at a time, and to the next
// ones only once those are whole again. Used by nemesis.ts.
import type { Prng } from '#base/prng.js';
import { memberShard } from '#cluster/schema.js';
import type { ClusterWorld, RunningNode } from './cluster-world.js';
import { runShards } from './schema.js';

/** Mean time between faults of a kind in ms; undefined: none. */
export interface StoragePlan {
  /** A bit of a log file is turned over while the process is down. */
  readonly flipMs: number | undefined;
  /** A power cut that leaves a sector of zeros among what was written last. */
  readonly tornMs: number | undefined;
  readonly syncErrorMs: number | undefined;
  readonly fullMs: number | undefined;
  readonly tablesErrorMs: number | undefined;
  /** A bit of a row is turned over under a running process. */
  readonly flipTablesMs: number | undefined;
}

export const noStorageFaults: StoragePlan = {
  flipMs: undefined,
  tornMs: undefined,
  syncErrorMs: undefined,
  fullMs: undefined,
  tablesErrorMs: undefined,
  flipTablesMs: undefined,
};

export function makeStorageFaults(prng: Prng): StoragePlan {
  const sometimes = (...means: number[]): number | undefined => (prng.chance(0.5) ? prng.pick(means) : undefined);
  return {
    flipMs: sometimes(1_500, 4_000),
    tornMs: sometimes(1_500, 4_000),
    syncErrorMs: sometimes(2_000, 6_000),
    fullMs: sometimes(2_000, 6_000),
    tablesErrorMs: sometimes(3_000, 8_000),
    flipTablesMs: sometimes(1_000, 3_000),
  };
}

const programmersErrors: readonly string[] = ['AssertionError', 'TypeError', 'RangeError', 'ReferenceError'];
const windowMs: readonly [number, number] = [20, 1_500];
/** A process that had nothing to sync, or goes on as if nothing had happened, loses power. */
const outlivedMs: readonly [number, number] = [1, 2_000];
const downMs: readonly [number, number] = [1, 2_000];
const quickMs: readonly [number, number] = [1, 20];
const walSegment = /^wal\/\d+\.log$/;
const slowTables = 200;
/** Bytes that still fit on a disk that is about to be full. */
const roomBytesMax = 4_000;

export class StorageFaults {
  readonly #c: ClusterWorld;
  readonly #prng: Prng;
  readonly #note: (kind: string, detail: string) => void;
  /** Their disks fail now, or did in this life of the process. */
  readonly #failing: Set<RunningNode> = new Set();
  /** Something that they had acknowledged may be gone, and they may not have it back yet. */
  readonly #wounded: Set<RunningNode> = new Set();
  /** Their logs will be spoilt. */
  readonly #claimed: Set<RunningNode> = new Set();
  /** A row of their tables may be damaged, and nobody have noticed it yet. */
  readonly #stained: Set<RunningNode> = new Set();
  /** What ends processes that outlived a failed sync so far: at the healing at the latest, nobody is hurt after it. */
  readonly #outliving: Set<() => void> = new Set();

  constructor(c: ClusterWorld, prng: Prng, note: (kind: string, detail: string) => void) {
    this.#c = c;
    this.#prng = prng;
    this.#note = note;
  }

  heal(): void {
    for (const n of this.#c.nodes) this.#works(n);
    for (const end of [...this.#outliving]) end();
  }

  flip(): void {
    const n = this.#patient();
    if (n === undefined) return;
    const files = n.sim.disk.files().filter((f) => f.path.startsWith('wal/') && f.size > 0);
    if (files.length === 0) return;
    const { path } = this.#prng.pick(files);
    this.#wounded.add(n);
    this.#c.crash(n, this.#prng.chance(0.5) ? 'power' : 'kill');
    const at = n.sim.disk.flipBit(path);
    this.#note('flipped bit', `${n.name} ${path} ${at}`);
    this.#startLater(n);
  }

  torn(): void {
    const n = this.#patient();
    if (n === undefined) return;
    this.#note('torn write', n.name);
    this.#wounded.add(n);
    n.sim.disk.faults.zeroedSectorChance = 1;
    this.#c.crash(n, 'power');
    n.sim.disk.faults.zeroedSectorChance = 0;
    this.#startLater(n);
  }

  /** Its log may be spoilt from now on; false: with it too many would not be whole. */
  claim(n: RunningNode): boolean {
    if (!this.#patients().includes(n)) return false;
    this.#claimed.add(n);
    return true;
  }

  /**
   * After so long, what one that was claimed has logged meanwhile is not as it was written, and its process is new.
   * Its tables are slow: what they had applied would give away that the log once had more.
   */
  flipLater(n: RunningNode, forMs: number): void {
    const before = new Map(n.sim.disk.files().map((f) => [f.path, f.size]));
    const { scope } = n.sim;
    n.sim.tables.faults.slowFactor = slowTables;
    this.#c.world.after(forMs, () => {
      n.sim.tables.faults.slowFactor = 1;
      this.#claimed.delete(n);
      if (scope.dead || n.core === undefined) return;
      this.#c.crash(n, 'power');
      const grown = n.sim.disk.files().filter((f) => walSegment.test(f.path) && f.size > (before.get(f.path) ?? 0));
      for (const { path, size } of grown.slice(-1)) {
        const from = before.get(path) ?? 0;
        this.#wounded.add(n);
        this.#note('flipped bit', `${n.name} ${path} ${n.sim.disk.flipBit(path, from + this.#prng.int(size - from))}`);
      }
      this.#startLater(n, quickMs);
    });
  }

  /** Syncs of one that was claimed fail from now on, and its power goes after so long, whatever it made of that. */
  loseSyncs(n: RunningNode, forMs: number): void {
    this.#note('sync error', n.name);
    this.#failing.add(n);
    n.sim.disk.faults.syncErrorChance = 1;
    n.sim.tables.faults.slowFactor = slowTables;
    const { scope } = n.sim;
    const end = (): void => {
      if (!this.#outliving.delete(end)) return;
      n.sim.disk.faults.syncErrorChance = 0;
      n.sim.tables.faults.slowFactor = 1;
      this.#claimed.delete(n);
      this.#wounded.add(n);
      if (scope.dead || n.core === undefined) return;
      this.#c.crash(n, 'power');
      this.#startLater(n, quickMs);
    };
    this.#outliving.add(end);
    this.#c.world.after(forMs, end);
  }

  /** Of any node, as long as most cores are unharmed: somebody must have the rows. */
  flipTables(): void {
    for (const n of this.#stained) if (readable(n)) this.#stained.delete(n);
    const cores = this.#c.nodes.filter((n) => n.role === 'core');
    const harmed = cores.filter((n) => this.#stained.has(n) || this.#claimed.has(n) || this.#wounded.has(n) || !whole(n)).length;
    const spare = harmed + 1 <= Math.floor((cores.length - 1) / 2);
    const fit = this.#c.nodes.filter((n) => n.up && !n.absent && !n.goes && (n.role === 'replicant' || (spare && whole(n) && readable(n))));
    if (fit.length === 0) return;
    const n = this.#prng.pick(fit);
    const shard = this.#prng.pick(runShards);
    const state = n.core?.database.shardState(shard);
    if (state === undefined || !n.sim.tables.flipBit(`tables/${shard}/${state.generation}`)) return;
    this.#stained.add(n);
    this.#note('flipped row', `${n.name} ${shard}`);
  }

  /** What a failed sync leaves is unknown: the host is restarted with the process. */
  syncError(): void {
    const n = this.#patient();
    if (n === undefined) return;
    this.#note('sync error', n.name);
    this.#wounded.add(n);
    const { scope } = n.sim;
    this.#fails(n, () => {
      n.sim.disk.faults.failWith = 'EIO';
    });
    const end = (): void => {
      if (!this.#outliving.delete(end) || scope.dead || n.core === undefined) return;
      this.#c.crash(n, 'power');
      this.#startLater(n);
    };
    this.#outliving.add(end);
    this.#c.world.after(this.#between(outlivedMs), end);
  }

  full(): void {
    const n = this.#victim();
    if (n === undefined) return;
    this.#note('full disk', n.name);
    this.#fails(n, () => {
      n.sim.disk.faults.capacityBytes = n.sim.disk.usedBytes + this.#prng.int(roomBytesMax);
    });
  }

  tablesError(): void {
    const n = this.#victim();
    if (n === undefined) return;
    this.#note('tables error', n.name);
    this.#fails(n, () => {
      n.sim.tables.faults.failWith = 'EIO';
    });
  }

  /** The process says that it cannot go on. False: its disk is not the reason. */
  ended(n: RunningNode, error: Error): boolean {
    const excused = this.#failing.has(n) || this.#wounded.has(n);
    if (!excused || programmersErrors.includes(error.name)) return false;
    const { scope } = n.sim;
    const spoilt = this.#wounded.has(n) && /damage|missing|empty the data directory/.test(error.message);
    this.#c.world.after(0, () => {
      if (!scope.dead) this.#c.crash(n, 'power');
      if (spoilt) {
        this.#note('disk replaced', n.name);
        n.sim.wipe();
      }
      this.#startLater(n);
    });
    return true;
  }

  #fails(n: RunningNode, fault: () => void): void {
    this.#failing.add(n);
    fault();
    this.#c.world.after(this.#between(windowMs), () => this.#works(n));
  }

  #works(n: RunningNode): void {
    n.sim.disk.faults.failWith = undefined;
    n.sim.disk.faults.syncErrorChance = 0;
    n.sim.disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
    n.sim.tables.faults.failWith = undefined;
  }

  #failsNow(n: RunningNode): boolean {
    const { disk, tables } = n.sim;
    if (disk.faults.syncErrorChance > 0) return true;
    return disk.faults.failWith !== undefined || tables.faults.failWith !== undefined || disk.faults.capacityBytes !== Number.POSITIVE_INFINITY;
  }

  /** Also after the healing: nobody else starts it. */
  #startLater(n: RunningNode, within: readonly [number, number] = downMs): void {
    this.#c.world.after(this.#between(within), () => {
      if (n.sim.up) return;
      if (this.#failsNow(n)) return this.#startLater(n, within);
      this.#c.start(n);
    });
  }

  /** A life of the process begins. */
  started(n: RunningNode): void {
    if (!this.#failsNow(n)) this.#failing.delete(n);
  }

  #victim(): RunningNode | undefined {
    const up = this.#c.nodes.filter((n) => n.up && !n.sim.scope.paused && !this.#failing.has(n));
    return up.length === 0 ? undefined : this.#prng.pick(up);
  }

  /** A core whose log may be spoilt: with it no more than a minority is not whole. */
  #patient(): RunningNode | undefined {
    const patients = this.#patients();
    return patients.length === 0 ? undefined : this.#prng.pick(patients);
  }

  #patients(): RunningNode[] {
    for (const n of this.#wounded) if (whole(n)) this.#wounded.delete(n);
    const cores = this.#c.nodes.filter((n) => n.role === 'core');
    for (const n of this.#stained) if (readable(n)) this.#stained.delete(n);
    const harmed = new Set([...this.#claimed, ...this.#wounded, ...this.#stained].filter((n) => n.role === 'core'));
    if (harmed.size + 1 > Math.floor((cores.length - 1) / 2)) return [];
    return cores.filter((n) => n.up && !this.#claimed.has(n) && !this.#wounded.has(n) && !this.#failing.has(n) && !this.#stained.has(n) && whole(n));
  }

  #between([from, to]: readonly [number, number]): number {
    return from + this.#prng.next() * (to - from);
  }
}

/** Every row of its tables is what was written. Does not tell the node. */
function readable(n: RunningNode): boolean {
  const db = n.core?.database;
  if (db === undefined || !n.up) return false;
  return runShards.every((shard) => {
    const state = db.shardState(shard);
    return state === undefined || n.sim.tables.checks(`tables/${shard}/${state.generation}`);
  });
}

/** It takes part in every shard and lacks nothing that was committed. */
function whole(n: RunningNode): boolean {
  const db = n.core?.database;
  if (db === undefined || !n.up) return false;
  return [memberShard, ...runShards].every((shard) => {
    const raft = db.coreShard(shard)?.raft;
    return raft !== undefined && !raft.recovering && raft.config.voters.includes(db.nodeId) && db.inSync(shard);
  });
}

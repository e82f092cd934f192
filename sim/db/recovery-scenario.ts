// A majority that is lost for good, and one survivor that goes on alone by force (`cluster recover --force`),
// decided by a seed: how far behind the survivor was, whether it crashes in the middle of the recovery, how the
// others come back. What must hold is what docs/operations.md says: what is lost is exactly what was not on the
// survivor's own disk; nobody of the old history ever leads, votes or serves again; empty cores join as new ones.
// Called by recovery.test.ts.
import { Prng } from '#base/prng.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import { memberShard } from '#cluster/schema.js';
import type { Table } from '#db/api.js';
import { readEntry } from '#db/entry-codec.js';
import { syncedInode } from '../world/disk-parts.js';
import { ClusterWorld, coreOnlyTable, itemsTable, type RunningNode } from './cluster-world.js';
import { groupsDifference } from './membership.js';

const shards: readonly Table[] = [itemsTable, coreOnlyTable];
const writeEveryMs = 4;
const aloneMs = [0, 60, 300] as const;
const boundMs = 60_000;
const identityFile = 'node.json';

export interface RecoveryResult {
  readonly violations: readonly string[];
  /** Acknowledged, and lost as announced. */
  readonly lost: number;
  readonly kept: number;
  readonly restarts: number;
}

/** Keys in the survivor's log when everything ended: that a crash leaves for sure, that it may leave; and open ones. */
interface SurvivorsLog {
  readonly sure: ReadonlySet<string>;
  readonly possible: ReadonlySet<string>;
  readonly open: ReadonlySet<string>;
}

const noLog: SurvivorsLog = { sure: new Set(), possible: new Set(), open: new Set() };

export class RecoveryScenario {
  readonly #c: ClusterWorld;
  readonly #prng: Prng;
  readonly #violations: string[] = [];
  readonly #survivor: RunningNode;
  readonly #others: readonly RunningNode[];
  /** Keys of writes without an answer: of nodes that live on they may come to be true. */
  readonly #open: Set<string> = new Set();
  /** By shard: keys whose write was acknowledged. */
  readonly #acknowledged: Map<string, Set<string>> = new Map();
  readonly #fatal: Map<RunningNode, string> = new Map();
  #writing = true;
  #number = 0;
  #lost = 0;
  #kept = 0;
  #restarts = 0;

  constructor(seed: number) {
    this.#prng = new Prng(seed).fork('recovery');
    const cores = this.#prng.pick([3, 3, 5]);
    this.#c = new ClusterWorld({
      seed,
      cores,
      replicants: this.#prng.range(1, 2),
      nodeDownAfterMs: this.#prng.pick([1_500, 15_000]),
      // Part of the log is compacted away in some runs.
      bounds: this.#prng.chance(0.5) ? { logKeepMs: 100, logKeepBytes: 500, logKeepBytesMax: 20_000 } : {},
      onFatal: (n, error) => this.#fatal.set(n, error.message),
    });
    const all = this.#c.nodes.filter((n) => n.role === 'core');
    this.#survivor = this.#prng.pick(all);
    this.#others = all.filter((n) => n !== this.#survivor);
    for (const { shard } of shards) this.#acknowledged.set(shard, new Set());
  }

  run(): RecoveryResult {
    this.#c.startAll();
    if (this.#until(() => this.#c.allServing, 'the cluster does not form')) {
      this.#write();
      this.#c.world.runFor(this.#prng.range(200, 2_000));
      this.#loseMajority();
    }
    const { lost, kept, restarts } = { lost: this.#lost, kept: this.#kept, restarts: this.#restarts };
    return { violations: this.#violations, lost, kept, restarts };
  }

  #until(done: () => boolean, what: string): boolean {
    const ok = this.#c.world.runUntil(() => this.#violations.length > 0 || done(), boundMs, 5);
    if (!ok) this.#violations.push(`${what}; ${this.#c.nodes.map((n) => `${n.name} ${n.core?.cluster.phase} ${n.core?.cluster.why}`).join('; ')}`);
    return this.#violations.length === 0;
  }

  /** Every key is written once: what a table holds tells which entries it has. */
  #write(): void {
    if (!this.#writing) return;
    const table = this.#prng.pick(shards);
    const up = this.#c.nodes.filter((n) => n.up && n.core?.cluster.serving === true);
    const n = up.length === 0 ? undefined : this.#prng.pick(up);
    const key = `k${++this.#number}`;
    const op = { kind: 'put', table, key: utf8Encode(key), value: utf8Encode('v') } as const;
    this.#open.add(key);
    n?.sim.run(() =>
      n.core?.database.write(table.shard, [op], {}, (failure) => {
        this.#open.delete(key);
        if (failure === undefined) this.#acknowledged.get(table.shard)?.add(key);
      }),
    );
    this.#c.world.after(writeEveryMs, () => this.#write());
  }

  /** The survivor is cut off for a while, and everything ends. Its log at that moment is what there is. */
  #loseMajority(): void {
    const c = this.#c;
    const survivor = this.#survivor;
    for (const n of c.nodes) if (n !== survivor) c.net.cut(n.name, survivor.name);
    c.world.runFor(this.#prng.pick(aloneMs));
    const logs = new Map(shards.map((table) => [table.shard, this.#logOf(table)]));
    for (const n of [survivor, ...this.#others]) c.crash(n, this.#prng.chance(0.5) ? 'power' : 'kill');
    this.#writing = false;
    c.net.healAll();
    c.world.runFor(this.#prng.range(10, 3_000));
    this.#order();
    c.start(survivor);
    // The order is carried out in steps; each may be the last before a crash.
    for (let left = this.#prng.int(3); left > 0; left--) {
      c.world.runFor(this.#prng.next() * 400);
      if (!survivor.up) break;
      this.#restarts++;
      c.crash(survivor, this.#prng.chance(0.5) ? 'power' : 'kill');
      c.world.runFor(5);
      c.start(survivor);
    }
    if (!this.#until(() => survivor.core?.cluster.serving === true, 'the survivor does not serve')) return;
    for (const table of shards) this.#compare(table, logs.get(table.shard) ?? noLog);
    this.#othersComeBack();
  }

  /** Keys in the survivor's log: those that a crash leaves for sure, and those that it may leave. */
  #logOf(table: Table): SurvivorsLog {
    const sure = this.#keysOf(this.#survivor, table);
    const possible = new Set(sure);
    const raft = this.#survivor.core?.database.coreShard(table.shard)?.raft;
    const open = new Set(this.#open);
    if (raft === undefined) return { sure, possible, open };
    for (let i = raft.baseIndex + 1; i <= raft.lastIndex; ) {
      const entries = raft.entries(i, raft.lastIndex + 1, 1 << 20);
      if (entries === undefined || entries.length === 0) break;
      for (const e of entries) {
        if (e.kind !== 'normal') continue;
        for (const t of readEntry(e.data).transactions)
          for (const op of t.ops)
            if (op.kind === 'put' && op.tableId === table.id) {
              const key = utf8Decode(op.key) ?? '';
              possible.add(key);
              if (e.index <= raft.durableIndex) sure.add(key);
            }
      }
      i += entries.length;
    }
    return { sure, possible, open };
  }

  #keysOf(n: RunningNode, table: Table): Set<string> {
    const keys = new Set<string>();
    n.core?.database.range(table, new Uint8Array(0), undefined, (key) => {
      keys.add(utf8Decode(key) ?? '');
      return true;
    });
    return keys;
  }

  /** As `ctl cluster recover --force` writes it. */
  #order(): void {
    const { disk, scope } = this.#survivor.sim;
    const identity = JSON.parse(utf8Decode(disk.filesFor(scope).read(identityFile)) ?? '') as {
      nodeId: string;
      formed: { clusterId: string };
    };
    const formed = { clusterId: identity.formed.clusterId, voters: [identity.nodeId], recovery: { count: 1, tag: 'ab'.repeat(8) } };
    disk.putDurable(identityFile, syncedInode(utf8Encode(JSON.stringify({ ...identity, formed, recover: true }))));
  }

  #compare(table: Table, log: SurvivorsLog): void {
    const found = this.#keysOf(this.#survivor, table);
    for (const key of log.sure) if (!found.has(key)) this.#violations.push(`${table.shard}: ${key} was on the survivor's disk, and is lost`);
    for (const key of found) if (!log.possible.has(key) && !log.open.has(key)) this.#violations.push(`${table.shard}: ${key} comes from nowhere`);
    for (const key of this.#acknowledged.get(table.shard) ?? []) {
      if (found.has(key)) this.#kept++;
      else this.#lost++;
    }
  }

  /**
   * One with its old disk, or all of them at once; the rest with empty disks. Those that stop are emptied. An empty
   * one that meets one of the old history before it meets the survivor takes that for its cluster, and stops as well.
   */
  #othersComeBack(): void {
    const c = this.#c;
    const old = this.#prng.chance(0.4) ? [...this.#others] : [this.#prng.pick(this.#others)];
    const left = new Set(old);
    for (const n of this.#others) {
      if (!old.includes(n)) n.renew();
      c.start(n);
    }
    const look = (): void => {
      for (const n of left) if (this.#leads(n)) this.#violations.push(`${n.name}, of the old history, leads`);
      for (const n of this.#others) {
        if (!/recovered by force without this core/.test(this.#fatal.get(n) ?? '')) continue;
        this.#mustBeEmptied(n);
        left.delete(n);
      }
    };
    const cores = c.nodes.filter((n) => n.role === 'core');
    const done = (): boolean => {
      look();
      return left.size === 0 && c.allServing && groupsDifference(c, cores) === '';
    };
    if (this.#until(done, 'not all are in the groups, or a core of the old history goes on')) this.#lastWrites();
  }

  /** It has stopped, and does so at every start until its disk is empty. */
  #mustBeEmptied(n: RunningNode): void {
    const c = this.#c;
    if (n.sim.up) c.crash(n);
    this.#fatal.delete(n);
    c.start(n);
    if (!/history that is over/.test(this.#fatal.get(n) ?? '')) this.#violations.push(`${n.name} starts with the data of a history that is over`);
    if (n.sim.up) c.crash(n);
    this.#fatal.delete(n);
    n.renew();
    c.start(n);
  }

  #leads(n: RunningNode): boolean {
    return [memberShard, ...shards.map((t) => t.shard)].some((shard) => n.core?.database.coreShard(shard)?.leader !== undefined);
  }

  /** From everywhere, seen everywhere; and then all copies are equal. */
  #lastWrites(): void {
    let missing = 0;
    for (const n of this.#c.nodes)
      for (const table of shards) {
        missing++;
        const op = { kind: 'put', table, key: utf8Encode(`z${n.name}`), value: utf8Encode('v') } as const;
        n.sim.run(() =>
          n.core?.database.write(table.shard, [op], {}, (failure) => {
            if (failure === undefined) missing--;
            else this.#violations.push(`${n.name} cannot write to ${table.shard}: ${failure.message}`);
          }),
        );
      }
    if (!this.#until(() => missing === 0, 'writes are not answered')) return;
    this.#until(() => shards.every((table) => this.#equal(table)), 'the copies do not become equal');
  }

  #equal(table: Table): boolean {
    const copies = this.#c.nodes.filter((n) => n.core?.database.holds(table.shard) === true);
    return new Set(copies.map((n) => [...this.#keysOf(n, table)].sort().join())).size === 1;
  }
}

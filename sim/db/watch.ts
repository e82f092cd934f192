// Watches every node's copies: a mirror rebuilt from the change feed alone, compared with the model
// after each batch; the order of a replica's states; the log ahead of the tables; the promise of
// `effective`. One Watch per run, one Mirror per life of a node and shard.

import { memberShard } from '#cluster/schema.js';
import type { Feed, Row, Table } from '#db/api.js';
import type { LogFields } from '#env/logger.js';
import { TablesError } from '#env/tables.js';
import type { NodeCore } from '#node/node-core.js';
import type { ClusterWorld, RunningNode } from './cluster-world.js';
import { ConfigCheck, changeMessage } from './config-check.js';
import { cellName, rowHash, type ShardModel } from './model.js';
import { beginMessage, continueMessage, copyMessage, ResumeCheck } from './resume-check.js';

interface MirrorRow {
  readonly hash: number;
  readonly owner: number;
}

/** What is not compared yet, because the model is behind. */
interface Due {
  readonly who: string;
  readonly hash: number;
  readonly why: string;
}

const fullCompareEvery = 128;
const nextStates: Readonly<Record<string, readonly string[]>> = {
  disconnected: ['bootstrap', 'local_replay'],
  bootstrap: ['local_replay', 'disconnected'],
  local_replay: ['normal', 'disconnected'],
  normal: ['local_replay', 'disconnected'],
};

export class Mirror implements Feed {
  readonly shard: string;
  readonly node: RunningNode;
  readonly rows: Map<string, MirrorRow> = new Map();
  readonly #watch: Watch;
  readonly #core: NodeCore;
  readonly #tables: readonly Table[];
  hash = 0;
  /** It could not be read at the last reset, because a row is damaged: compared with nothing until the next. */
  blind = false;
  index = -1;
  /** Entries of a core that were compared with the model. */
  #compared = 0;
  #batches = 0;

  constructor(watch: Watch, node: RunningNode, core: NodeCore, shard: string, tables: readonly Table[]) {
    this.#watch = watch;
    this.node = node;
    this.#core = core;
    this.shard = shard;
    this.#tables = tables;
  }

  reset(_generation: number, index: number): void {
    if (index < this.index) this.#watch.violation(`${this.#who}: the tables went back from ${this.index} to ${index}`);
    this.rows.clear();
    this.hash = 0;
    const found = this.#read();
    this.blind = found === undefined;
    for (const [name, row] of found ?? []) this.#put(name, row);
    this.index = index;
    this.#compared = index;
    this.#watch.compare(this, 'after a reset');
  }

  change(table: Table, key: Uint8Array, row: Row | undefined): void {
    const name = cellName(table.id, key);
    this.#put(name, row === undefined ? undefined : { hash: rowHash(table.id, key, row.owner, row.value), owner: row.owner });
  }

  purged(_nodeId: string, incarnation: number): void {
    for (const [name, row] of this.rows) if (row.owner === incarnation) this.#put(name, undefined);
  }

  applied(index: number): void {
    if (index <= this.index) this.#watch.violation(`${this.#who}: applied ${index} after ${this.index}`);
    this.#watch.world.trace(index);
    this.#seeEntries(index);
    this.index = index;
    this.#watch.compare(this, 'after a batch');
    if (++this.#batches % fullCompareEvery === 0) this.compareTables();
  }

  get #who(): string {
    return `${this.node.name} ${this.shard}`;
  }

  #put(name: string, row: MirrorRow | undefined): void {
    const old = this.rows.get(name);
    if (old !== undefined) this.hash = (this.hash - old.hash) | 0;
    if (row === undefined) this.rows.delete(name);
    else {
      this.rows.set(name, row);
      this.hash = (this.hash + row.hash) | 0;
    }
  }

  /** Undefined when a row turns out to be damaged: this copy will be replaced. */
  #read(): Map<string, MirrorRow> | undefined {
    try {
      return this.#readAll();
    } catch (error) {
      if (error instanceof TablesError) return undefined;
      throw error;
    }
  }

  #readAll(): Map<string, MirrorRow> {
    const found = new Map<string, MirrorRow>();
    for (const table of this.#tables) {
      this.#core.database.range(table, new Uint8Array(0), undefined, (key, row) => {
        found.set(cellName(table.id, key), { hash: rowHash(table.id, key, row.owner, row.value), owner: row.owner });
        return true;
      });
    }
    return found;
  }

  /** What the feed told is what the tables hold. */
  compareTables(): void {
    const found = this.blind ? undefined : this.#read();
    if (found === undefined) return;
    let same = found.size === this.rows.size;
    for (const [name, row] of found) if (this.rows.get(name)?.hash !== row.hash) same = false;
    if (!same) this.#watch.violation(`${this.#who}: at ${this.index} the tables hold other rows than the feed told`);
  }

  /** On a core: the entries just applied, for the model; and that they are on its own disk. */
  #seeEntries(to: number): void {
    const core = this.#core.database.coreShard(this.shard);
    if (core === undefined) return;
    if (to > core.raft.durableIndex)
      this.#watch.violation(`${this.#who}: applied ${to}, but the log is durable only up to ${core.raft.durableIndex}`);
    const model = this.#watch.model(this.shard);
    // Rows that were committed right before a crash were never told of: their entries are still in the log.
    let from = Math.min(this.#compared, model.index) + 1;
    while (from <= to) {
      const entries = core.raft.entries(from, to + 1, 1 << 20);
      if (entries === undefined || entries.length === 0) break;
      for (const e of entries) {
        model.see(this.node.name, e.index, e.term, e.kind, e.data);
        if (e.kind === 'config') this.#watch.configs.entry(this.shard, e.index, e.data);
      }
      from += entries.length;
    }
    this.#compared = to;
    const config = this.#core.database.shardState(this.shard)?.position.config;
    // Tables that were just copied may be ahead of all that any log has told.
    if (config !== undefined && model.index >= to) this.#watch.configs.check(this.node.name, this.shard, core.raft, to, config);
    this.#watch.settle(this.shard);
  }
}

export class Watch {
  readonly world: ClusterWorld['world'];
  readonly violation: (text: string) => void;
  readonly mirrors: Map<string, Mirror> = new Map();
  readonly #models: ReadonlyMap<string, ShardModel>;
  readonly #due: Map<string, Map<number, Due[]>> = new Map();
  readonly #states: Map<string, string> = new Map();
  /** The highest index of each shard that was reported effective. */
  readonly #effective: Map<string, { readonly index: number; readonly what: string }> = new Map();
  readonly #nodes: readonly RunningNode[];
  #tables: ReadonlyMap<string, readonly Table[]> = new Map();
  comparisons = 0;
  bootstraps = 0;
  readonly resumes: ResumeCheck;
  readonly configs: ConfigCheck;
  /** A replicant has written a whole copy of the tables, and goes on to put it in service. */
  onCopied: ((n: RunningNode) => void) | undefined;
  /** A node begins to send its tables to another. */
  onCopying: ((to: string, from: string, shard: string) => void) | undefined;
  /** A leader has begun to take a node out of the shard's group, or in, or to make it a voter. */
  onChange: ((leader: RunningNode, shard: string, change: string, name: string) => void) | undefined;

  constructor(c: ClusterWorld, models: ReadonlyMap<string, ShardModel>, violation: (text: string) => void) {
    this.world = c.world;
    this.#nodes = c.nodes;
    this.#models = models;
    this.violation = violation;
    this.resumes = new ResumeCheck(c, violation);
    this.configs = new ConfigCheck(c, violation);
    for (const n of c.nodes) {
      n.sim.logs.onLine = (line) => {
        if (line.message === copyMessage) this.#copies(n, String(line.fields?.shard), String(line.fields?.node), String(line.fields?.why));
        if (line.message === continueMessage) this.resumes.goesOn();
        if (line.message === beginMessage) this.resumes.begins(n.name, String(line.fields?.shard), String(line.fields?.from));
        if (line.message === changeMessage) this.#changes(n, String(line.fields?.shard), line.fields ?? {});
        if (line.message === 'this replicant is a core now') this.#watchHeld(n, this.#tables);
        if (line.message === 'replica state') this.#state(n, String(line.fields?.shard), String(line.fields?.state));
      };
    }
  }

  #copies(from: RunningNode, shard: string, to: string, why: string): void {
    this.resumes.copies(from, shard, to, why);
    this.onCopying?.(to, from.name, shard);
  }

  #changes(leader: RunningNode, shard: string, what: LogFields): void {
    this.configs.changes(leader, shard, Number(what.index));
    this.onChange?.(leader, shard, String(what.change), String(what.node));
  }

  model(shard: string): ShardModel {
    return this.#models.get(shard) as ShardModel;
  }

  /** A life of a node begins. */
  started(n: RunningNode, tables: ReadonlyMap<string, readonly Table[]>): void {
    if (n.core === undefined) return;
    this.#tables = tables;
    for (const shard of this.#models.keys()) {
      this.#states.delete(`${n.name} ${shard}`);
      this.mirrors.delete(`${n.name} ${shard}`);
    }
    this.#watchHeld(n, tables);
  }

  /** A replicant that has become a core holds more. */
  #watchHeld(n: RunningNode, tables: ReadonlyMap<string, readonly Table[]>): void {
    const core = n.core;
    if (core === undefined) return;
    for (const shard of this.#models.keys()) {
      if (!core.database.holds(shard) || this.mirrors.has(`${n.name} ${shard}`)) continue;
      const mirror = new Mirror(this, n, core, shard, tables.get(shard) ?? []);
      this.mirrors.set(`${n.name} ${shard}`, mirror);
      core.database.subscribe(shard, mirror);
    }
  }

  mirror(n: RunningNode, shard: string): Mirror | undefined {
    return this.mirrors.get(`${n.name} ${shard}`);
  }

  #state(n: RunningNode, shard: string, state: string): void {
    const name = `${n.name} ${shard}`;
    const before = this.#states.get(name) ?? 'disconnected';
    this.#states.set(name, state);
    if (state === 'bootstrap') this.bootstraps++;
    if (before === 'bootstrap' && state === 'local_replay') this.onCopied?.(n);
    // It has entered service, perhaps.
    this.world.after(0, () => this.inService(shard));
    if (nextStates[before]?.includes(state) !== true) this.violation(`${name}: from ${before} to ${state}`);
  }

  /** A write was reported effective: everybody who is in service from now on has seen it. */
  effective(shard: string, index: number, what: () => string): void {
    if (index > (this.#effective.get(shard)?.index ?? 0)) this.#effective.set(shard, { index, what: what() });
    this.inService(shard);
  }

  /** Nobody who believes to be in service may lack what was reported effective. */
  inService(shard: string): void {
    const promised = this.#effective.get(shard);
    if (promised === undefined) return;
    for (const n of this.#nodes) {
      if (!n.up || n.core?.database.inSync(shard) !== true) continue;
      const mirror = this.mirror(n, shard);
      if (mirror !== undefined && mirror.index < promised.index)
        this.violation(`${promised.what} was reported effective at ${promised.index}, but ${n.name}, in service, has seen only ${mirror.index}`);
    }
  }

  /** Equal tables at equal index. */
  compare(mirror: Mirror, why: string): void {
    if (mirror.blind) return;
    const due: Due = { who: mirror.node.name, hash: mirror.hash, why };
    const model = this.model(mirror.shard);
    if (mirror.index <= model.index) return this.#compareNow(model, mirror.index, due);
    let later = this.#due.get(mirror.shard);
    if (later === undefined) {
      later = new Map();
      this.#due.set(mirror.shard, later);
    }
    const list = later.get(mirror.index);
    if (list === undefined) later.set(mirror.index, [due]);
    else list.push(due);
  }

  #compareNow(model: ShardModel, index: number, due: Due): void {
    this.comparisons++;
    if (model.hashes[index] !== due.hash) this.violation(`${due.who} ${model.shard}: other rows at ${index} than the log makes (${due.why})`);
  }

  /** The model has moved: what waited for it. */
  settle(shard: string): void {
    const later = this.#due.get(shard);
    if (later === undefined || later.size === 0) return;
    const model = this.model(shard);
    for (const [index, list] of later) {
      if (index > model.index) continue;
      later.delete(index);
      for (const due of list) this.#compareNow(model, index, due);
    }
  }

  /** Copies that showed an index which no core has applied. */
  unsettled(): string[] {
    const out: string[] = [];
    for (const [shard, later] of this.#due)
      for (const [index, list] of later) for (const d of list) out.push(`${d.who} ${shard} showed index ${index}, which no core has`);
    return out;
  }
}

/** The shards watched: the members' too. */
export function watchedShards(shards: readonly string[]): string[] {
  return [memberShard, ...shards];
}

// Clients of a database run: each one makes an operation on some node, waits for its answer (or for
// the death of its node), thinks, and goes on. Some send several at once.
import type { Prng } from '#base/prng.js';
import { type Database, type Op, type Reader, type Transaction, type Until, type WriteDone, WriteFailure } from '#db/api.js';
import type { NodeDatabase } from '#db/database.js';
import { TablesError } from '#env/tables.js';
import { type ClusterWorld, ownedTable, type RunningNode } from './cluster-world.js';
import { describe, type History, type OpKind, type OpRecord, startBalance } from './history.js';
import { LinearizableReads, readRows } from './linearizable.js';
import type { Plan } from './plan.js';
import {
  countKey,
  decodeRow,
  encodeBody,
  encodeReply,
  encodeRow,
  keys,
  mainTable,
  markerKey,
  ownedCountKey,
  ownedKey,
  ranges,
  runShards,
  sumKey,
} from './schema.js';
import type { Watch } from './watch.js';

const burstMax = 4;
const none = new Uint8Array(0);
const commands = ['increment', 'register', 'waver', 'cas'] as const;
const reading = ['sum', 'count', 'countOwned'] as const;

export class Workload {
  readonly #c: ClusterWorld;
  readonly #history: History;
  readonly #watch: Watch;
  readonly #plan: Plan;
  readonly #prng: Prng;
  readonly #violation: (text: string) => void;
  #running = false;
  /** Writes that wait for an answer, by node: their node's death ends them. */
  readonly #waiting: Map<RunningNode, Set<{ gone(): void }>> = new Map();
  readonly reads: LinearizableReads = new LinearizableReads();
  acknowledged = 0;
  failed = 0;

  constructor(c: ClusterWorld, history: History, watch: Watch, plan: Plan, violation: (text: string) => void) {
    this.#c = c;
    this.#history = history;
    this.#watch = watch;
    this.#plan = plan;
    this.#prng = c.world.prng.fork('workload');
    this.#violation = violation;
  }

  start(): void {
    this.#running = true;
    for (let client = 0; client < this.#plan.clients; client++) this.#think(client);
  }

  stop(): void {
    this.#running = false;
  }

  /** Writes and reads without an answer. */
  get waiting(): number {
    let n = 0;
    for (const set of this.#waiting.values()) n += set.size;
    return n;
  }

  /** The node's process ended: nobody there answers any more. */
  nodeDied(n: RunningNode): void {
    const set = this.#waiting.get(n);
    this.#waiting.delete(n);
    for (const w of set ?? []) w.gone();
  }

  /** One more, by nobody of those above. */
  write(node: RunningNode, shard: string, until: Until): void {
    if (this.#running) this.#write(this.#plan.clients, node, shard, false, until, undefined, () => {});
  }

  /** Of nobody of those above, a row that is the node's own. */
  own(node: RunningNode, key: Uint8Array): void {
    if (this.#running) this.#write(this.#plan.clients, node, 'items', false, 'committed', undefined, () => {}, { kind: 'owned', key, self: true });
  }

  read(node: RunningNode, shard: string): void {
    if (this.#running) this.#read(this.#plan.clients, node, shard, () => {});
  }

  #think(client: number): void {
    const { thinkMs, burst } = this.#plan;
    const at = this.#c.world.now - Math.log(1 - this.#prng.next()) * thinkMs;
    const into = burst === undefined ? 0 : at % burst.everyMs;
    const late = burst === undefined || into < burst.lengthMs ? 0 : burst.everyMs - into;
    this.#c.world.at(at + late, () => this.#act(client));
  }

  #act(client: number): void {
    if (!this.#running) return;
    const up = this.#c.nodes.filter((n) => n.up && !n.sim.scope.paused);
    if (up.length === 0) return this.#think(client);
    const node = this.#prng.pick(up);
    const shard = this.#prng.chance(0.75) ? (runShards[0] as string) : (runShards[1] as string);
    if (this.#prng.chance(0.08)) return this.#read(client, node, shard, () => this.#think(client));
    const count = this.#prng.chance(0.15) ? this.#prng.range(2, burstMax) : 1;
    let missing = count;
    let behind: OpRecord | undefined;
    for (let i = 0; i < count; i++) {
      const inBurst = count > 1;
      behind = this.#write(client, node, shard, inBurst, undefined, behind, () => {
        if (--missing === 0) this.#think(client);
      });
    }
  }

  /** Waits for everything acknowledged before, then looks whether this copy has it, and keeps what it shows. */
  #read(client: number, node: RunningNode, shard: string, then: () => void): void {
    const db = node.core?.database;
    if (db === undefined) return then();
    if (!db.holds(shard)) return this.#readElsewhere(client, node, db, shard, then);
    const after = this.#history.acknowledged.get(shard) ?? 0;
    const calledAt = this.#c.world.now;
    const next = this.#wait(node, then);
    // As a client would call: in an event of the node.
    node.sim.run(() =>
      db.barrier(shard, this.#plan.deadlineMs, (failure) => {
        if (failure === undefined && db.appliedIndex(shard) < after)
          this.#violation(`a barrier on ${node.name} ${shard} came back at ${db.appliedIndex(shard)}, but ${after} was acknowledged before`);
        if (failure === undefined) this.reads.record(client, node.name, db, shard, calledAt, this.#c.world.now);
        next();
      }),
    );
  }

  /** The same where there is no copy: the rows come from a core. */
  #readElsewhere(client: number, node: RunningNode, db: NodeDatabase, shard: string, then: () => void): void {
    const calledAt = this.#c.world.now;
    const next = this.#wait(node, then);
    const options = { linearizable: true, deadlineMs: this.#plan.deadlineMs };
    node.sim.run(() =>
      db.readElsewhere(
        shard,
        (reader) => readRows(reader, shard),
        options,
        (failure, rows) => {
          if (failure === undefined && rows !== undefined) this.reads.take(client, node.name, shard, rows, calledAt, this.#c.world.now);
          else if (!(failure instanceof WriteFailure)) this.#violation(`a read on ${node.name} of ${shard} failed: ${failure?.message}`);
          next();
        },
      ),
    );
  }

  #wait(node: RunningNode, then: () => void): () => void {
    let set = this.#waiting.get(node);
    if (set === undefined) {
      set = new Set();
      this.#waiting.set(node, set);
    }
    const here = set;
    let over = false;
    const w = {
      gone: (): void => {
        if (over) return;
        over = true;
        here.delete(w);
        then();
      },
    };
    here.add(w);
    return w.gone;
  }

  #choose(node: RunningNode, shard: string, inBurst: boolean): OpKind {
    const p = this.#prng;
    const holds = node.core?.database.holds(shard) === true;
    const roll = p.next();
    // A transaction's retries may let a later write of the burst pass.
    if (roll < 0.3 && !inBurst) return this.#chooseTransaction(shard);
    if (roll < 0.55) return this.#chooseCommand(node, shard, holds);
    if (roll < 0.7 && shard === 'items') {
      const number = this.#c.nodes.indexOf(node);
      const key = p.chance(0.6) ? ownedKey(number, p.int(4)) : p.pick(keys.shared);
      return { kind: 'owned', key, self: p.chance(0.85) };
    }
    if (roll < 0.76) return { kind: 'remove', key: p.pick(keys.registers) };
    return { kind: 'put', keys: p.chance(0.3) ? [p.pick(keys.registers), p.pick(keys.points)] : [p.pick(keys.registers)] };
  }

  #chooseCommand(node: RunningNode, shard: string, holds: boolean): OpKind {
    const p = this.#prng;
    const kind = p.pick(commands);
    const key = kind === 'increment' ? p.pick(keys.counters) : kind === 'cas' ? p.pick(keys.cells) : p.pick(keys.registers);
    if (kind !== 'cas') return { kind, key };
    const row = holds ? readSound(() => node.core?.database.get(mainTable(shard), key)) : undefined;
    return { kind, key, expect: row === undefined ? 0 : decodeRow(row.value).op };
  }

  #chooseTransaction(shard: string): OpKind {
    const p = this.#prng;
    const roll = p.next();
    if (roll < 0.4) {
      const from = p.int(keys.accounts.length);
      const to = (from + 1 + p.int(keys.accounts.length - 1)) % keys.accounts.length;
      return { kind: 'transfer', from: keys.accounts[from] as Uint8Array, to: keys.accounts[to] as Uint8Array };
    }
    if (roll < 0.65) return { kind: 'toggle', key: p.pick(keys.points) };
    const kind = p.pick(reading);
    return { kind: kind === 'countOwned' && shard !== 'items' ? 'count' : kind };
  }

  #write(
    client: number,
    node: RunningNode,
    shard: string,
    inBurst: boolean,
    asked: Until | undefined,
    behind: OpRecord | undefined,
    then: () => void,
    what: OpKind = this.#choose(node, shard, inBurst),
  ): OpRecord {
    const { world } = this.#c;
    const record = this.#history.invoke(client, node.name, shard, what, world.now, behind);
    const until: Until = asked ?? (inBurst ? 'committed' : this.#prng.pick(this.#plan.untils));
    const deadlineMs = this.#prng.chance(0.1) ? this.#prng.range(1, 200) : this.#plan.deadlineMs;
    const next = this.#wait(node, then);
    const db = node.core?.database as Database;
    const done: WriteDone = (failure, result) => {
      this.#history.done(record, failure === undefined ? 'ok' : failure.kind, result.index, result.reply, world.now);
      world.trace(record.id);
      world.trace(result.index);
      if (failure === undefined) this.acknowledged++;
      else this.failed++;
      if (failure === undefined && until === 'effective') this.#watch.effective(shard, result.index, () => describe(record));
      if (failure === undefined && until === 'applied' && db.appliedIndex(shard) < result.index)
        this.#violation(`${describe(record)} was reported applied at ${result.index}; the tables are at ${db.appliedIndex(shard)}`);
      next();
    };
    node.sim.run(() => {
      try {
        submit(db, record, { until, deadlineMs }, done);
      } catch (error) {
        if (error instanceof WriteFailure) done(error, { index: 0, reply: none });
        // A row that it read is damaged, as is known: the caller hears that, and nothing was proposed.
        else if (error instanceof TablesError) done(new WriteFailure('refused', error.message), { index: 0, reply: none });
        else throw error;
      }
    });
    return record;
  }
}

/** Undefined also for a row that turns out damaged. */
function readSound<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof TablesError) return undefined;
    throw error;
  }
}

function submit(db: Database, r: OpRecord, options: { readonly until: Until; readonly deadlineMs: number }, done: WriteDone): void {
  const table = mainTable(r.shard);
  const put = (key: Uint8Array, n: number): Op => ({ kind: 'put', table, key, value: encodeRow(r.id, n) });
  const w = r.what;
  switch (w.kind) {
    case 'put':
      return db.write(
        r.shard,
        w.keys.map((k) => put(k, 0)),
        options,
        done,
      );
    case 'remove':
      return db.write(r.shard, [{ kind: 'delete', table, key: w.key }, put(markerKey(r.client), 0)], options, done);
    case 'owned': {
      const op = { kind: 'put', table: ownedTable, key: w.key, value: encodeRow(r.id, 0) } as const;
      return db.write(r.shard, [w.self ? { ...op, owner: 'self' } : op], options, done);
    }
    case 'increment':
    case 'register':
    case 'waver':
      return db.command(r.shard, w.kind, encodeBody({ op: r.id, key: w.key, expect: 0 }), options, done);
    case 'cas':
      return db.command(r.shard, w.kind, encodeBody({ op: r.id, key: w.key, expect: w.expect }), options, done);
    default:
      return db.transaction(r.shard, (tx) => transact(tx, r), options, done);
  }
}

/** What a transaction does; `effectOf` in history.ts says the same of the model. */
function transact(tx: Transaction, r: OpRecord): Uint8Array {
  const table = mainTable(r.shard);
  const w = r.what;
  const put = (key: Uint8Array, n: number): void => tx.put(table, key, encodeRow(r.id, n));
  const read = (key: Uint8Array): number | undefined => {
    const row = tx.get(table, key);
    return row === undefined ? undefined : decodeRow(row.value).n;
  };
  switch (w.kind) {
    case 'transfer': {
      const [a, b] = [read(w.from) ?? startBalance, read(w.to) ?? startBalance];
      if (a === 0) {
        put(markerKey(r.client), 0);
        return encodeReply(r.id, false, 0, 0);
      }
      put(w.from, a - 1);
      put(w.to, b + 1);
      return encodeReply(r.id, true, a - 1, 0);
    }
    case 'toggle': {
      const there = read(w.key) !== undefined;
      if (there) tx.delete(table, w.key);
      else put(w.key, 0);
      put(markerKey(r.client), 0);
      return encodeReply(r.id, there, 0, 0);
    }
    case 'sum': {
      let n = 0;
      tx.range(table, ...ranges.accounts, (_key, row) => {
        n += decodeRow(row.value).n;
        return true;
      });
      put(sumKey, n);
      return encodeReply(r.id, true, n, 0);
    }
    case 'count': {
      const n = countRows(tx, table, ...ranges.points);
      put(countKey, n);
      return encodeReply(r.id, true, n, 0);
    }
    case 'countOwned': {
      const n = countRows(tx, ownedTable, none, undefined);
      put(ownedCountKey, n);
      return encodeReply(r.id, true, n, 0);
    }
    default:
      throw new Error(`${w.kind} is no transaction`);
  }
}

function countRows(tx: Reader, table: typeof ownedTable, start: Uint8Array, end: Uint8Array | undefined): number {
  let n = 0;
  tx.range(table, start, end, () => {
    n++;
    return true;
  });
  return n;
}

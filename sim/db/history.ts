// What clients did and were told, compared with the log: the log's order is the order in which
// everything must have happened. Three checks together make histories strictly serializable:
// each logged operation did what it does at its place, it stands after everything that had been
// acknowledged before it was invoked, and what clients were told is what the log says.
import { equalBytes } from '#base/bytes.js';
import type { Table, WriteFailureKind } from '#db/api.js';
import type { EntryOp, EntryTransaction } from '#db/entry-codec.js';
import { positionsPerEntry } from '#db/head-context.js';
import { keyInRange } from '#db/stored-row.js';
import { ownedTable } from './cluster-world.js';
import { cellName, type ShardModel } from './model.js';
import { countKey, decodeReply, decodeRow, encodeRow, mainTable, markerKey, ownedCountKey, ranges, sumKey } from './schema.js';

export type OpKind =
  | { readonly kind: 'put'; readonly keys: readonly Uint8Array[] }
  | { readonly kind: 'remove'; readonly key: Uint8Array }
  | { readonly kind: 'owned'; readonly key: Uint8Array; readonly self: boolean }
  | { readonly kind: 'increment' | 'register' | 'waver'; readonly key: Uint8Array }
  | { readonly kind: 'cas'; readonly key: Uint8Array; readonly expect: number }
  | { readonly kind: 'transfer'; readonly from: Uint8Array; readonly to: Uint8Array }
  | { readonly kind: 'toggle'; readonly key: Uint8Array }
  | { readonly kind: 'sum' | 'count' | 'countOwned' };

export interface OpRecord {
  readonly id: number;
  readonly client: number;
  readonly node: string;
  readonly shard: string;
  readonly what: OpKind;
  readonly invokedAt: number;
  /** Highest index acknowledged to anybody before this was invoked. */
  readonly after: number;
  /** Invoked earlier on the same node and shard, without waiting: must come first. */
  readonly behind: OpRecord | undefined;
  outcome: 'pending' | 'ok' | WriteFailureKind;
  doneAt: number;
  index: number;
  reply: Uint8Array;
  /** Places in the log where it took effect. */
  readonly logged: { readonly index: number; readonly n: number; readonly reply: Uint8Array }[];
}

/** May have happened, or not. */
const open: ReadonlySet<OpRecord['outcome']> = new Set(['pending', 'unknown']);

interface Write {
  readonly table: Table;
  readonly key: Uint8Array;
  /** undefined: deleted. */
  readonly n: number | undefined;
  readonly owner: number;
}

interface Effect {
  readonly writes: readonly Write[];
  readonly ok: boolean;
  readonly n: number;
}

export class History {
  readonly ops: Map<number, OpRecord> = new Map();
  /** Highest index acknowledged, by shard. */
  readonly acknowledged: Map<string, number> = new Map();
  readonly #violation: (text: string) => void;
  #nextId = 1;

  constructor(violation: (text: string) => void) {
    this.#violation = violation;
  }

  invoke(client: number, node: string, shard: string, what: OpKind, now: number, behind?: OpRecord): OpRecord {
    const record: OpRecord = {
      id: this.#nextId++,
      client,
      node,
      shard,
      what,
      invokedAt: now,
      after: this.acknowledged.get(shard) ?? 0,
      behind,
      outcome: 'pending',
      doneAt: Number.POSITIVE_INFINITY,
      index: 0,
      reply: new Uint8Array(0),
      logged: [],
    };
    this.ops.set(record.id, record);
    return record;
  }

  done(record: OpRecord, outcome: 'ok' | WriteFailureKind, index: number, reply: Uint8Array, now: number): void {
    if (record.outcome !== 'pending') return this.#violation(`${describe(record)} was answered twice`);
    record.outcome = outcome;
    record.doneAt = now;
    record.index = index;
    record.reply = reply;
    if (outcome !== 'ok' && outcome !== 'not-effective') return;
    if (index > (this.acknowledged.get(record.shard) ?? 0)) this.acknowledged.set(record.shard, index);
  }

  /** A transaction of the log that counts; `model` is as before it. */
  logged(model: ShardModel, t: EntryTransaction, index: number, n: number): void {
    if (t.incarnation === 0 || t.status !== 0) return;
    const id = operationOf(t);
    const record = id === undefined ? undefined : this.ops.get(id);
    if (record === undefined) return this.#violation(`${model.shard}: entry ${index} has a write that nobody made`);
    const before = record.logged[0];
    if (before !== undefined) this.#violation(`${describe(record)} took effect in entry ${before.index} and again in ${index}`);
    record.logged.push({ index, n, reply: t.reply.slice() });
    if (record.shard !== model.shard) this.#violation(`${describe(record)} is in the log of ${model.shard}`);
    if (index <= record.after) this.#violation(`${describe(record)} is entry ${index}, but ${record.after} was acknowledged before it was invoked`);
    this.#judge(model, record, t, index, n);
  }

  #judge(model: ShardModel, record: OpRecord, t: EntryTransaction, index: number, n: number): void {
    const effect = effectOf(model, record, t.incarnation);
    if (effect === undefined) return this.#violation(`${describe(record)} took effect in entry ${index}, which it must not`);
    const expected = new Map(effect.writes.map((x) => [cellName(x.table.id, x.key), x]));
    const found = new Map<string, EntryOp>();
    for (const op of t.ops) if (op.kind === 'put' || op.kind === 'delete') found.set(cellName(op.tableId, op.key), op);
    const same =
      found.size === expected.size &&
      [...expected].every(([name, x]) => {
        const op = found.get(name);
        if (op === undefined) return false;
        if (x.n === undefined || op.kind === 'delete') return x.n === undefined && op.kind === 'delete';
        return op.kind === 'put' && op.owner === x.owner && equalBytes(op.value, encodeRow(record.id, x.n));
      });
    if (!same) this.#violation(`${describe(record)} wrote other rows in entry ${index} than it should at that place`);
    if (t.reply.length === 0) return;
    const reply = decodeReply(t.reply);
    const isCommand = reply.position !== 0;
    if (reply.ok !== effect.ok || reply.n !== effect.n)
      this.#violation(`${describe(record)} replied ${reply.ok} ${reply.n} in entry ${index}, not ${effect.ok} ${effect.n}`);
    if (isCommand && reply.position !== index * positionsPerEntry + n)
      this.#violation(`${describe(record)} of entry ${index} had position ${reply.position}`);
  }

  /** Once everything is quiet and the models have the whole log. */
  check(): void {
    for (const r of this.ops.values()) {
      const first = r.logged[0];
      if (r.outcome === 'ok' || r.outcome === 'not-effective') {
        if (first === undefined) this.#violation(`${describe(r)} was acknowledged as entry ${r.index} and is not in the log`);
        else if (first.index !== r.index) this.#violation(`${describe(r)} was acknowledged as entry ${r.index} and is entry ${first.index}`);
        else if (r.outcome === 'ok' && !equalBytes(first.reply, r.reply)) this.#violation(`${describe(r)} got another reply than the log has`);
      } else if (first !== undefined && !open.has(r.outcome)) {
        this.#violation(`${describe(r)} failed as ${r.outcome} and took effect in entry ${first.index}`);
      }
      const earlier = r.behind?.logged[0];
      if (first === undefined || earlier === undefined) continue;
      if (first.index < earlier.index || (first.index === earlier.index && first.n < earlier.n))
        this.#violation(`${describe(r)} overtook ${r.behind === undefined ? '' : describe(r.behind)}`);
    }
  }
}

export function describe(r: OpRecord): string {
  return `operation ${r.id} (${r.what.kind} by client ${r.client} on ${r.node}, ${r.shard}, at ${r.invokedAt.toFixed(1)} ms)`;
}

function operationOf(t: EntryTransaction): number | undefined {
  if (t.reply.length > 0) return decodeReply(t.reply).op;
  for (const op of t.ops) if (op.kind === 'put') return decodeRow(op.value).op;
  return undefined;
}

/** What the operation does to the model as it is; undefined: it is refused. */
function effectOf(model: ShardModel, r: OpRecord, incarnation: number): Effect | undefined {
  const table = mainTable(r.shard);
  const row = (key: Uint8Array): { op: number; n: number } | undefined => {
    const found = model.get(table.id, key);
    return found === undefined ? undefined : decodeRow(found.value);
  };
  const one = (key: Uint8Array, n: number | undefined): Write => ({ table, key, n, owner: 0 });
  const inRange = (id: number, start: Uint8Array, end: Uint8Array | undefined): { op: number; n: number }[] => {
    const found: { op: number; n: number }[] = [];
    for (const x of model.rows.values()) if (x.tableId === id && keyInRange(x.key, start, end)) found.push(decodeRow(x.value));
    return found;
  };
  const w = r.what;
  switch (w.kind) {
    case 'put':
      return { writes: w.keys.map((k) => one(k, 0)), ok: true, n: 0 };
    case 'remove':
      return { writes: [one(w.key, undefined), one(markerKey(r.client), 0)], ok: true, n: 0 };
    case 'owned':
      return { writes: [{ table: ownedTable, key: w.key, n: 0, owner: w.self ? incarnation : 0 }], ok: true, n: 0 };
    case 'increment': {
      const n = (row(w.key)?.n ?? 0) + 1;
      return { writes: [one(w.key, n)], ok: true, n };
    }
    case 'register':
      return { writes: [one(w.key, 0)], ok: true, n: row(w.key)?.op ?? 0 };
    case 'waver':
      return r.id % 2 === 1 ? undefined : { writes: [one(w.key, 2)], ok: true, n: 2 };
    case 'cas': {
      const before = row(w.key)?.op ?? 0;
      return { writes: before === w.expect ? [one(w.key, 0)] : [], ok: before === w.expect, n: before };
    }
    case 'transfer': {
      const [a, b] = [row(w.from)?.n ?? startBalance, row(w.to)?.n ?? startBalance];
      if (a === 0) return { writes: [one(markerKey(r.client), 0)], ok: false, n: 0 };
      return { writes: [one(w.from, a - 1), one(w.to, b + 1)], ok: true, n: a - 1 };
    }
    case 'toggle': {
      const there = row(w.key) !== undefined;
      return { writes: [one(w.key, there ? undefined : 0), one(markerKey(r.client), 0)], ok: there, n: 0 };
    }
    case 'sum': {
      const n = inRange(table.id, ...ranges.accounts).reduce((sum, x) => sum + x.n, 0);
      return { writes: [one(sumKey, n)], ok: true, n };
    }
    case 'count': {
      const n = inRange(table.id, ...ranges.points).length;
      return { writes: [one(countKey, n)], ok: true, n };
    }
    case 'countOwned': {
      const n = inRange(ownedTable.id, new Uint8Array(0), undefined).length;
      return { writes: [one(ownedCountKey, n)], ok: true, n };
    }
  }
}

/** Of an account that nobody has touched. */
export const startBalance = 10;

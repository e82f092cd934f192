// Judges what clients were told of single rows: writes, exchanges and comparisons by any node, and
// reads after a barrier, must have one order that fits their times. `history.ts` holds writes against
// the log; this looks from outside, knows no log, and sees what reads were told. Called once per run,
// when everything is quiet.

import { byteString } from '#base/bytes.js';
import type { Database, Reader } from '#db/api.js';
import { DamagedTablesError } from '#env/tables.js';
import { checkParts, partition } from '../linearizability/checker.js';
import { explain } from '../linearizability/explain.js';
import { type Operation, unknownOutput } from '../linearizability/model.js';
import { type RegisterInput, type RegisterOutput, register, registerKey, withFewerOpenEnds } from '../linearizability/register.js';
import type { History, OpRecord } from './history.js';
import { decodeReply, decodeRow, keys, mainTable } from './schema.js';

type RowOperation = Operation<RegisterInput, RegisterOutput>;

/** Steps of the model per run: a bound on the cost; what is not decided by then is counted. */
const visitsMax = 200_000;

/** Rows that only operations of the register model touch. */
const rows: readonly Uint8Array[] = [...keys.registers, ...keys.cells];
const watched: ReadonlySet<string> = new Set(rows.map((key) => byteString(key)));

function nameOf(shard: string, key: Uint8Array): string {
  return `${shard} ${byteString(key.subarray(0, 16))}`;
}

/** Who wrote each row last, 0 for nobody. */
export function readRows(reader: Reader, shard: string): number[] {
  return rows.map((key) => {
    const row = reader.get(mainTable(shard), key);
    return row === undefined ? 0 : decodeRow(row.value).op;
  });
}

/** What linearizable reads have seen. */
export class LinearizableReads {
  readonly operations: RowOperation[] = [];

  /** In the turn in which the barrier, called at `calledAt`, came back. */
  record(client: number, node: string, db: Database, shard: string, calledAt: number, now: number): void {
    try {
      this.take(client, node, shard, readRows(db, shard), calledAt, now);
    } catch (error) {
      // A damaged row is served to nobody: the reader gets an error.
      if (!(error instanceof DamagedTablesError)) throw error;
    }
  }

  take(client: number, node: string, shard: string, found: readonly number[], calledAt: number, now: number): void {
    for (const [i, key] of rows.entries())
      this.operations.push({
        client: `${client} on ${node}`,
        input: { kind: 'read', key: nameOf(shard, key) },
        output: found[i] as number,
        call: calledAt,
        return: now,
      });
  }
}

/** What a write does to single rows; the value of a row is the number of the operation that wrote it. */
function inputs(r: OpRecord): RegisterInput[] {
  const w = r.what;
  const write = (key: Uint8Array, value: number): RegisterInput[] =>
    watched.has(byteString(key)) ? [{ kind: 'write', key: nameOf(r.shard, key), value }] : [];
  switch (w.kind) {
    case 'put':
      return w.keys.flatMap((key) => write(key, r.id));
    case 'remove':
      return write(w.key, 0);
    case 'waver':
      // The odd ones are refused.
      return r.id % 2 === 0 ? write(w.key, r.id) : [];
    case 'register':
      return [{ kind: 'swap', key: nameOf(r.shard, w.key), value: r.id }];
    case 'cas':
      return [{ kind: 'cas', key: nameOf(r.shard, w.key), expect: w.expect, value: r.id }];
    default:
      return [];
  }
}

const certain: ReadonlySet<OpRecord['outcome']> = new Set(['ok', 'not-effective']);
const open: ReadonlySet<OpRecord['outcome']> = new Set(['pending', 'unknown']);

function operationsOf(history: History): RowOperation[] {
  const all: RowOperation[] = [];
  for (const r of history.ops.values()) {
    if (!certain.has(r.outcome) && !open.has(r.outcome)) continue;
    const replies = r.what.kind === 'register' || r.what.kind === 'cas';
    const told = certain.has(r.outcome) && (!replies || r.reply.length > 0);
    for (const input of inputs(r)) {
      all.push({
        client: `${r.client} on ${r.node}`,
        input,
        output: !told ? unknownOutput : replies ? decodeReply(r.reply).n : 0,
        call: r.invokedAt,
        return: told ? r.doneAt : Number.POSITIVE_INFINITY,
      });
    }
  }
  return all;
}

/** True when it was decided. */
export function checkLinearizable(history: History, reads: LinearizableReads, violation: (text: string) => void): boolean {
  const operations = [...operationsOf(history), ...reads.operations];
  const parts = new Map([...partition(operations, registerKey)].map(([key, part]) => [key, withFewerOpenEnds(part)]));
  const result = checkParts(register, parts, { visitsMax });
  if (result.verdict === 'illegal') violation(explain(register, result));
  return result.verdict !== 'unknown';
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Database } from '#db/api.js';
import { History, type OpKind } from './history.js';
import { checkLinearizable, LinearizableReads } from './linearizable.js';
import { encodeReply, encodeRow, keys } from './schema.js';

const row = keys.cells[0] as Uint8Array;
const shard = 'items';

/** A copy in which every watched row was written by `op`. */
function copyWith(op: number): Database {
  return { get: () => (op === 0 ? undefined : { value: encodeRow(op, 0), owner: 0 }) } as unknown as Database;
}

class Story {
  readonly violations: string[] = [];
  readonly history: History = new History((text) => this.violations.push(text));
  readonly reads: LinearizableReads = new LinearizableReads();
  #now = 0;

  write(what: OpKind, outcome: 'ok' | 'unknown' | 'conflict', found = 0): number {
    const r = this.history.invoke(1, 'core1', shard, what, ++this.#now);
    const reply = what.kind === 'cas' || what.kind === 'register' ? encodeReply(r.id, true, found, 0) : new Uint8Array(0);
    this.history.done(r, outcome, r.id, reply, ++this.#now);
    return r.id;
  }

  read(op: number): void {
    this.reads.record(2, 'core2', copyWith(op), shard, ++this.#now, ++this.#now);
  }

  /** What the checker says of it. */
  get verdict(): string {
    assert.ok(checkLinearizable(this.history, this.reads, (text) => this.violations.push(text)));
    return this.violations.join('\n');
  }
}

const put: OpKind = { kind: 'put', keys: [...keys.registers, ...keys.cells] };

test('reads that fit the writes are accepted', () => {
  const s = new Story();
  s.read(0);
  const first = s.write(put, 'ok');
  s.read(first);
  const lost = s.write(put, 'unknown');
  s.read(first);
  s.read(lost);
  s.write(put, 'conflict');
  s.read(lost);
  assert.equal(s.verdict, '');
});

test('a read that misses an acknowledged write is refused', () => {
  const s = new Story();
  s.write(put, 'ok');
  s.read(0);
  assert.match(s.verdict, /the history of items r0 is not linearizable/);
});

test('a write that is seen by one read and not by the next is refused, although nobody was told of it', () => {
  const s = new Story();
  const lost = s.write(put, 'unknown');
  s.read(lost);
  s.read(0);
  assert.match(s.verdict, /not linearizable/);
});

test('what failed for certain must not be seen', () => {
  const s = new Story();
  s.read(s.write(put, 'conflict'));
  assert.match(s.verdict, /not linearizable/);
});

test('two comparisons that won on the same value are refused', () => {
  const s = new Story();
  s.write({ kind: 'cas', key: row, expect: 0 }, 'ok', 0);
  s.write({ kind: 'cas', key: row, expect: 0 }, 'ok', 0);
  assert.match(s.verdict, /the history of items e0 is not linearizable/);
});

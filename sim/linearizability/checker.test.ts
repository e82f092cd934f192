import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { check, checkParts, partition } from './checker.js';
import { explain } from './explain.js';
import { type Operation, type Unknown, unknownOutput } from './model.js';
import { Recorder } from './recorder.js';
import { type RegisterInput, type RegisterOutput, register, registerKey, withFewerOpenEnds } from './register.js';

type Op = Operation<RegisterInput, RegisterOutput>;
const never = Number.POSITIVE_INFINITY;
const key = 'x';

function op(client: number, call: number, end: number, input: RegisterInput, output: RegisterOutput | Unknown): Op {
  return { client, call, return: end, input, output };
}
const read = (client: number, call: number, end: number, value: number): Op => op(client, call, end, { kind: 'read', key }, value);
const write = (client: number, call: number, end: number, value: number): Op => op(client, call, end, { kind: 'write', key, value }, 0);
const lostWrite = (client: number, call: number, value: number): Op => op(client, call, never, { kind: 'write', key, value }, unknownOutput);
const cas = (client: number, call: number, end: number, expect: number, value: number, found: number): Op =>
  op(client, call, end, { kind: 'cas', key, expect, value }, found);
const lostCas = (client: number, call: number, expect: number, value: number): Op =>
  op(client, call, never, { kind: 'cas', key, expect, value }, unknownOutput);
const swap = (client: number, call: number, end: number, value: number, found: number): Op =>
  op(client, call, end, { kind: 'swap', key, value }, found);

const cases: readonly { readonly name: string; readonly good: boolean; readonly ops: readonly Op[] }[] = [
  { name: 'nothing happened', good: true, ops: [] },
  { name: 'one after the other', good: true, ops: [write(1, 1, 2, 5), read(2, 3, 4, 5), write(1, 5, 6, 7), read(2, 7, 8, 7)] },
  { name: 'a read beside a write sees the old value', good: true, ops: [write(1, 1, 4, 5), read(2, 2, 3, 0)] },
  { name: 'a read beside a write sees the new value', good: true, ops: [write(1, 1, 4, 5), read(2, 2, 3, 5)] },
  { name: 'a stale read', good: false, ops: [write(1, 1, 2, 5), read(2, 3, 4, 0)] },
  { name: 'a read of what nobody wrote', good: false, ops: [write(1, 1, 4, 5), read(2, 2, 3, 6)] },
  { name: 'new, then old, beside one write', good: false, ops: [write(1, 1, 8, 5), read(2, 2, 3, 5), read(3, 4, 5, 0)] },
  { name: 'old and new at the same time, beside one write', good: true, ops: [write(1, 1, 8, 5), read(2, 2, 5, 5), read(3, 3, 4, 0)] },
  { name: 'a return and a call at the same time are concurrent', good: true, ops: [write(1, 1, 2, 5), read(2, 2, 3, 0)] },
  {
    name: 'two readers see two writes in different orders',
    good: false,
    ops: [write(1, 1, 20, 1), write(2, 1, 20, 2), read(3, 2, 3, 1), read(3, 4, 5, 2), read(4, 6, 7, 1)],
  },
  { name: 'two writes, each read once', good: true, ops: [write(1, 1, 20, 1), write(2, 1, 20, 2), read(3, 2, 3, 2), read(3, 4, 5, 1)] },
  { name: 'a lost update: two compare-and-sets win on one value', good: false, ops: [cas(1, 1, 4, 0, 1, 0), cas(2, 2, 3, 0, 2, 0)] },
  { name: 'two compare-and-sets, one wins', good: true, ops: [cas(1, 1, 4, 0, 1, 2), cas(2, 2, 3, 0, 2, 0), read(3, 5, 6, 2)] },
  { name: 'a compare-and-set that failed and shows all the same', good: false, ops: [write(1, 1, 2, 9), cas(1, 3, 4, 0, 1, 9), read(2, 5, 6, 1)] },
  {
    name: 'read, write back what was computed from it: one of two updates is gone',
    good: false,
    ops: [read(1, 1, 4, 0), read(2, 2, 3, 0), cas(1, 5, 8, 0, 1, 0), cas(2, 6, 7, 0, 2, 0), read(3, 9, 10, 2)],
  },
  {
    name: 'reordered: the second write of a client goes before its first',
    good: false,
    ops: [write(1, 1, 2, 1), write(1, 3, 4, 2), read(2, 5, 6, 2), read(2, 7, 8, 1)],
  },
  { name: 'applied twice: an old value returns after a newer one', good: false, ops: [swap(1, 1, 2, 1, 0), swap(2, 3, 4, 2, 1), read(3, 5, 6, 1)] },
  { name: 'swaps form a chain', good: true, ops: [swap(1, 1, 9, 1, 2), swap(2, 2, 8, 2, 3), swap(3, 3, 7, 3, 0), read(4, 10, 11, 1)] },
  { name: 'swaps form a circle', good: false, ops: [swap(1, 1, 9, 1, 2), swap(2, 2, 8, 2, 1)] },
  { name: 'unknown and never seen', good: true, ops: [lostWrite(1, 1, 5), read(2, 2, 3, 0), read(2, 4, 5, 0)] },
  { name: 'unknown and seen later', good: true, ops: [lostWrite(1, 1, 5), read(2, 2, 3, 0), read(2, 4, 5, 5), read(2, 6, 7, 5)] },
  { name: 'unknown, seen, then unseen', good: false, ops: [lostWrite(1, 1, 5), read(2, 2, 3, 5), read(2, 4, 5, 0)] },
  { name: 'unknown, seen before it was called', good: false, ops: [read(2, 1, 2, 5), lostWrite(1, 3, 5)] },
  { name: 'unknown takes effect once only', good: false, ops: [lostWrite(1, 1, 5), read(2, 2, 3, 5), write(2, 4, 5, 6), read(2, 6, 7, 5)] },
  { name: 'two unknown writes, seen in turn', good: true, ops: [lostWrite(1, 1, 5), lostWrite(2, 2, 6), read(3, 3, 4, 6), read(3, 5, 6, 5)] },
  {
    name: 'an unknown compare-and-set explains the value',
    good: true,
    ops: [op(1, 1, never, { kind: 'cas', key, expect: 0, value: 3 }, unknownOutput), read(2, 4, 5, 3)],
  },
  {
    name: 'an unknown compare-and-set cannot have won',
    good: false,
    ops: [write(2, 1, 2, 8), op(1, 3, never, { kind: 'cas', key, expect: 0, value: 3 }, unknownOutput), read(2, 4, 5, 3)],
  },
];

for (const c of cases) {
  test(`${c.good ? 'accepted' : 'refused'}: ${c.name}`, () => {
    const result = check(register, c.ops);
    assert.equal(result.verdict, c.good ? 'ok' : 'illegal', explain(register, result));
    // The order in which operations are handed in is no part of the history.
    assert.equal(check(register, [...c.ops].reverse()).verdict, result.verdict);
    assert.equal(check(register, withFewerOpenEnds(c.ops)).verdict, result.verdict);
    assert.equal(bruteForce(c.ops), c.good);
  });
}

/** Every order of every subset of what may or may not have happened, against the times and the model. */
function bruteForce(ops: readonly Op[]): boolean {
  const returned = (o: Op): boolean => o.output !== unknownOutput;
  const go = (state: number, left: readonly Op[]): boolean => {
    if (!left.some(returned)) return true;
    return left.some((o) => {
      if (left.some((other) => other !== o && returned(other) && other.return < o.call)) return false;
      const after = register.step(state, o.input, o.output);
      if (after === undefined) return false;
      const rest = left.filter((other) => other !== o);
      return go(after, rest);
    });
  };
  return go(register.init, ops);
}

interface Draft {
  readonly client: number;
  readonly kind: 'read' | 'write' | 'swap' | 'cas';
  readonly value: number;
  readonly expect: number;
  /** From the call to the effect, and from there to the return. */
  readonly before: number;
  readonly after: number;
  readonly pause: number;
  readonly lost: 'no' | 'done' | 'never';
}

/** A real execution: each client calls, the object acts at one moment, the client hears of it. */
function execute(drafts: readonly Draft[]): Op[] {
  const clock = new Map<number, number>();
  const planned = drafts.map((d) => {
    const call = (clock.get(d.client) ?? 0) + d.pause;
    clock.set(d.client, call + d.before + d.after);
    return { d, call, at: call + d.before, end: call + d.before + d.after };
  });
  let state = 0;
  const done: Op[] = [];
  for (const { d, call, end } of planned.sort((a, b) => a.at - b.at)) {
    const input: RegisterInput =
      d.kind === 'read'
        ? { kind: 'read', key }
        : d.kind === 'cas'
          ? { kind: 'cas', key, expect: d.expect, value: d.value }
          : { kind: d.kind, key, value: d.value };
    const found = state;
    if (d.lost !== 'never') state = register.step(state, input, unknownOutput) ?? state;
    done.push(d.lost === 'no' ? op(d.client, call, end, input, found) : op(d.client, call, never, input, unknownOutput));
  }
  return done;
}

function drafts(max: number): fc.Arbitrary<Draft[]> {
  const small = fc.double({ min: 0.01, max: 10, noNaN: true });
  return fc.array(
    fc.record({
      client: fc.integer({ min: 1, max: 5 }),
      kind: fc.constantFrom('read' as const, 'write' as const, 'swap' as const, 'cas' as const),
      value: fc.integer({ min: 1, max: 4 }),
      expect: fc.integer({ min: 0, max: 4 }),
      before: small,
      after: small,
      pause: small,
      lost: fc.constantFrom('no' as const, 'no' as const, 'no' as const, 'done' as const, 'never' as const),
    }),
    { maxLength: max },
  );
}

test('histories of real executions are accepted', () => {
  fc.assert(
    fc.property(drafts(60), (d) => assert.equal(check(register, execute(d)).verdict, 'ok')),
    { numRuns: 300 },
  );
});

test('histories with a changed output are judged like by trying every order', () => {
  let bad = 0;
  let good = 0;
  fc.assert(
    fc.property(drafts(7), fc.nat(), fc.integer({ min: 0, max: 4 }), (d, which, output) => {
      const ops = execute(d);
      const victims = ops.filter((o) => o.output !== unknownOutput);
      const victim = victims[which % Math.max(1, victims.length)];
      const mutated = ops.map((o) => (o === victim ? { ...o, output } : o));
      const expected = bruteForce(mutated);
      if (expected) good++;
      else bad++;
      assert.equal(check(register, mutated).verdict, expected ? 'ok' : 'illegal');
      assert.equal(check(register, withFewerOpenEnds(mutated)).verdict, expected ? 'ok' : 'illegal');
    }),
    { numRuns: 1_500 },
  );
  assert.ok(good > 100 && bad > 100, `${good} good and ${bad} bad histories were compared`);
});

test('keys are checked by themselves, and the bad one is named', () => {
  const on = (k: string, o: Op): Op => ({ ...o, input: { ...o.input, key: k } });
  const ops = [
    on('a', write(1, 1, 2, 5)),
    on('b', read(1, 3, 4, 0)),
    on('a', read(1, 5, 6, 5)),
    on('b', write(1, 7, 8, 3)),
    on('b', read(1, 9, 10, 5)),
  ];
  const parts = partition(ops, registerKey);
  assert.deepEqual([...parts.keys()], ['a', 'b']);
  const result = checkParts(register, parts);
  assert.equal(result.verdict, 'illegal');
  assert.equal(result.part, 'b');
});

test('the explanation shows the longest order and what cannot come next', () => {
  const result = check(register, [write(1, 1, 2, 5), read(2, 3, 4, 5), read(3, 5, 6, 4), lostWrite(4, 3, 7)]);
  const text = explain(register, { ...result, part: 'x' });
  assert.match(text, /the history of x is not linearizable; longest order found \(2 of 3 /);
  assert.match(text, /state: 5/);
  assert.match(text, /impossible: client 3: read 4 \(called 5, returned 6\)/);
  assert.match(text, /leads nowhere: client 4: write 7 \(called 3, never returned\)/);
});

test('a search that is too long is given up, and says so', () => {
  // All concurrent; the last read is impossible, which only the whole search can tell.
  const ops = Array.from({ length: 24 }, (_, i) => write(i, 1, 100, i + 1));
  const hard = [...ops, read(99, 1, 100, 50)];
  const visited = check(register, hard, { visitsMax: 500 });
  assert.equal(visited.verdict, 'unknown');
  assert.equal(visited.visits, 500);
  let looks = 0;
  assert.equal(check(register, hard, { expired: () => ++looks > 3 }).verdict, 'unknown');
  assert.match(explain(register, visited), /was not decided within 500 steps/);
  const shared = checkParts(
    register,
    new Map([
      ['a', hard],
      ['b', [write(1, 1, 2, 1)]],
    ]),
    { visitsMax: 500 },
  );
  assert.equal(shared.verdict, 'unknown');
  assert.equal(shared.part, 'a');
});

test('reads that were long under way together are no choices', () => {
  const ops = [write(1, 1, 100, 1), write(2, 2, 100, 2), write(3, 3, 100, 3)];
  for (let i = 0; i < 60; i++) ops.push(read(10 + i, 4 + i / 100, 100, 1 + (i % 3)));
  const good = check(register, ops);
  assert.equal(good.verdict, 'ok');
  assert.ok(good.visits < 1_000, `${good.visits} steps`);
  const bad = check(register, [...ops, read(99, 101, 102, 4)]);
  assert.equal(bad.verdict, 'illegal');
  assert.ok(bad.visits < 5_000, `${bad.visits} steps`);
});

test('open ends that nobody saw cost nothing, and one that was seen is none', () => {
  const ops: Op[] = [];
  for (let i = 0; i < 40; i++) ops.push(lostWrite(i, 1, 100 + i), write(99, 10 + i, 10.5 + i, i + 1), read(98, 10.6 + i, 10.9 + i, i + 1));
  ops.push(lostWrite(97, 5, 300), read(98, 60, 61, 300), lostCas(96, 5, 300, 400), lostCas(95, 5, 400, 500));
  const impossible = [...ops, read(98, 62, 63, 1)];
  const few = withFewerOpenEnds(impossible);
  assert.equal(few.length, 83);
  assert.deepEqual(few.find((o) => o.client === 97)?.return, 61);
  assert.equal(check(register, withFewerOpenEnds(ops)).verdict, 'ok');
  const result = check(register, few);
  assert.equal(result.verdict, 'illegal');
  assert.ok(result.visits < 5_000, `${result.visits} steps`);
});

test('a long history with few clients is quick', () => {
  const ops: Op[] = [];
  for (let i = 0; i < 20_000; i += 4) {
    ops.push(write(1, i, i + 3, i), read(2, i + 1, i + 3.5, i), read(3, i + 2, i + 3.6, i));
  }
  const result = check(register, ops);
  assert.equal(result.verdict, 'ok');
  assert.ok(result.visits < 20 * ops.length, `${result.visits} steps for ${ops.length} operations`);
});

test('a recorder keeps the order of events; what failed for certain is left out', () => {
  const r = new Recorder<RegisterInput, RegisterOutput>();
  const first = r.called(1, { kind: 'write', key, value: 1 });
  r.called(2, { kind: 'write', key, value: 2 });
  const refused = r.called(3, { kind: 'write', key, value: 3 });
  first.returned(0);
  refused.failed();
  r.called(4, { kind: 'read', key }).returned(1);
  assert.deepEqual(
    r.operations.map((o) => [o.client, o.call, o.return]),
    [
      [1, 1, 4],
      [2, 2, never],
      [4, 5, 6],
    ],
  );
});

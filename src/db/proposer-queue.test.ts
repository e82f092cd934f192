import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { proposalKind } from './proposal-codec.js';
import { type OutgoingBatch, ProposerQueue } from './proposer-queue.js';

interface Call {
  readonly id: number;
  told: 'nothing' | 'done' | 'unknown' | 'unsent';
}

/** A leader's stream as the proposer must be able to rely on it. */
class Leader {
  last = 0;
  readonly outcomes: Map<number, 'done' | 'void'> = new Map();
  readonly executed: number[] = [];

  take(seq: number, kind: number, id: number | undefined): 'done' | 'void' | 'gap' {
    if (seq === this.last + 1) {
      this.last = seq;
      this.outcomes.set(seq, kind === proposalKind.void ? 'void' : 'done');
      if (kind !== proposalKind.void && id !== undefined) this.executed.push(id);
    }
    return this.outcomes.get(seq) ?? 'gap';
  }
}

function body(id: number): Uint8Array {
  return Uint8Array.of(id >> 8, id & 255);
}

test('proposer queue: whatever is lost, each call is executed once, in order, or never and told so', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const prng = new Prng(seed);
    const queue = new ProposerQueue<Call>();
    const leader = new Leader();
    const calls: Call[] = [];
    const flying: { readonly batch: OutgoingBatch<Call>; readonly sent: readonly { seq: number; kind: number; id: number | undefined }[] }[] = [];
    let now = 0;
    const answer = (): void => {
      const [one] = flying.splice(prng.chance(0.8) ? 0 : prng.int(flying.length), 1);
      if (one === undefined) return;
      // Lost on the way there, executed, or executed and the answer lost.
      const fate = prng.int(4);
      const results = fate === 0 ? undefined : one.sent.map((p) => leader.take(p.seq, p.kind, p.id));
      if (results === undefined || fate === 1) return queue.again(one.batch);
      let gap = false;
      one.batch.items.forEach((p, i) => {
        if (results[i] === 'gap') gap = true;
        else {
          const call = queue.resolved(p.seq);
          if (call !== undefined) call.told = results[i] === 'done' ? 'done' : 'unknown';
        }
      });
      if (gap) queue.again(one.batch);
    };
    const send = (): void => {
      const batch = queue.next(prng.range(1, 4), prng.range(2, 20), true);
      if (batch === undefined) return;
      assert.ok(batch.receivedUpTo < (batch.items[0]?.seq ?? 0), 'it has no answer to what it sends again');
      // As encoded now: what changes later (a void) must not change what is on its way.
      const sent = batch.items.map((p) => ({
        seq: p.seq,
        kind: p.kind,
        id: p.body.length === 0 ? undefined : (p.body[0] as number) * 256 + (p.body[1] as number),
      }));
      flying.push({ batch, sent });
    };
    for (let step = 0; step < 200; step++) {
      now++;
      const roll = prng.next();
      if (roll < 0.35 && step < 150) {
        const call: Call = { id: calls.length, told: 'nothing' };
        calls.push(call);
        queue.push(proposalKind.ops, body(call.id), prng.chance(0.3), now + prng.range(5, 60), call);
      } else if (roll < 0.65) send();
      else if (roll < 0.95) answer();
      else {
        queue.expire(now, (call, unsent) => {
          assert.equal(call.told, 'nothing');
          call.told = unsent ? 'unsent' : 'unknown';
        });
      }
    }
    for (let i = 0; i < 5_000 && (queue.length > 0 || flying.length > 0); i++) {
      send();
      if (flying.length > 0) answer();
    }
    const times = new Map<number, number>();
    for (const id of leader.executed) times.set(id, (times.get(id) ?? 0) + 1);
    for (const call of calls) {
      const n = times.get(call.id) ?? 0;
      assert.notEqual(call.told, 'nothing', `seed ${seed}: call ${call.id} was never answered`);
      assert.ok(n <= 1, `seed ${seed}: call ${call.id} was executed ${n} times`);
      if (call.told === 'done') assert.equal(n, 1, `seed ${seed}`);
      if (call.told === 'unsent') assert.equal(n, 0, `seed ${seed}`);
    }
    assert.deepEqual(
      leader.executed,
      [...leader.executed].sort((a, b) => a - b),
      `seed ${seed}: order`,
    );
    assert.equal(queue.bytes, 0, `seed ${seed}: bytes are given back`);
    assert.equal(queue.length, 0);
  }
});

test('proposer queue: a batch is bounded, of one kind of waiting, and never empty for a large one', () => {
  const queue = new ProposerQueue<string>();
  queue.push(proposalKind.ops, new Uint8Array(1_000), false, 1, 'large');
  queue.push(proposalKind.ops, new Uint8Array(10), false, 1, 'b');
  queue.push(proposalKind.ops, new Uint8Array(10), true, 1, 'c');
  queue.push(proposalKind.ops, new Uint8Array(10), true, 1, 'd');
  const sizes = [100, 100, 100].map(() => queue.next(10, 100, true)?.items.map((p) => p.caller));
  assert.deepEqual(sizes, [['large'], ['b'], ['c', 'd']]);
  assert.equal(queue.next(10, 100, true), undefined);
  assert.equal(queue.hasWork, false);
});

test('proposer queue: what is sent again is followed by everything above it, also what is under way', () => {
  const queue = new ProposerQueue<string>();
  for (const name of ['a', 'b', 'c', 'd']) queue.push(proposalKind.ops, body(1), false, 100, name);
  const batches = [1, 2, 3, 4].map(() => queue.next(1, 100, true));
  const [, second, third] = batches;
  assert.ok(second && third);
  // The second one met no leader; the leader refuses the later ones for the gap, whenever that will be heard.
  queue.again(second);
  const again = queue.next(10, 100, true);
  assert.deepEqual(
    again?.items.map((p) => p.seq),
    [2, 3, 4],
  );
  queue.again(third);
  assert.equal(queue.hasWork, false, 'a refusal of what was sent again since is old news');
});

test('proposer queue: a new incarnation begins at 1 with what is not resolved, in its order, before what waits', () => {
  const queue = new ProposerQueue<string>();
  for (const name of ['a', 'b', 'c']) queue.push(proposalKind.ops, body(1), false, name === 'b' ? 5 : 100, name);
  const first = queue.next(10, 100, true);
  queue.push(proposalKind.ops, body(1), false, 100, 'd');
  assert.deepEqual(queue.unresolved(), [1, 2, 3]);
  assert.equal(queue.resolved(1), 'a');
  queue.expire(10, (name, unsent) => assert.deepEqual([name, unsent], ['b', false]));
  queue.restart();
  if (first !== undefined) queue.again(first);
  const again = queue.next(10, 100, true);
  assert.deepEqual(
    again?.items.map((p) => [p.seq, p.caller]),
    [
      [1, 'c'],
      [2, 'd'],
    ],
  );
  assert.equal(again?.receivedUpTo, 0);
});

test('proposer queue: at the end everybody is told, and whether it had left', () => {
  const queue = new ProposerQueue<string>();
  queue.push(proposalKind.ops, body(1), false, 1, 'sent');
  queue.next(1, 100, true);
  queue.push(proposalKind.ops, body(1), false, 1, 'unsent');
  const told: [string, boolean][] = [];
  queue.drain((name, unsent) => told.push([name, unsent]));
  assert.deepEqual(told, [
    ['sent', false],
    ['unsent', true],
  ]);
  assert.equal(queue.length, 0);
});

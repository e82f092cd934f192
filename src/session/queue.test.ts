import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeMessage, type Qos } from './message.js';
import { MessageQueue, type QueuedMessage, turnMultiplier } from './queue.js';

interface Ranked extends QueuedMessage {
  readonly rank: number;
}

const item = (qos: Qos, rank: number, length: number): Ranked => ({
  message: makeMessage('t', new Uint8Array(length), qos, false, undefined, Number.POSITIVE_INFINITY, ''),
  qos,
  retain: false,
  subscriptionIdentifiers: undefined,
  rank,
});

/** In the order in which they leave. */
const all = (queue: MessageQueue): (QueuedMessage | undefined)[] => Array.from({ length: queue.length }, (_, i) => queue.at(i));
const reliable = (items: readonly QueuedMessage[]): QueuedMessage[] => items.filter((x) => x.qos > 0);

const word = fc.oneof(
  fc.record({
    do: fc.constant('insert' as const),
    qos: fc.constantFrom<Qos>(0, 1, 2),
    rank: fc.integer({ min: 0, max: 4 }),
    length: fc.nat({ max: 9 }),
  }),
  fc.record({
    do: fc.constantFrom('insert', 'next', 'next', 'shift', 'evict', 'takeOut' as const),
    qos: fc.constant(1 as const),
    rank: fc.nat({ max: 4 }),
    length: fc.nat(),
  }),
);

test('with ranks the queue is a list that is sorted and stays so', () => {
  fc.assert(
    fc.property(fc.array(word, { maxLength: 60 }), (words) => {
      const queue = new MessageQueue();
      let model: Ranked[] = [];
      for (const w of words) {
        if (w.do === 'insert') {
          const one = item(w.qos, w.rank, w.length % 10);
          const at = model.filter((x) => x.rank >= w.rank).length;
          assert.equal(queue.insert(one, w.rank), reliable(model.slice(at)).length);
          model.splice(at, 0, one);
        } else if (w.do === 'shift') {
          assert.equal(queue.shift(), model.shift());
        } else if (w.do === 'next') {
          const next = queue.next() as Ranked | undefined;
          const at = model.findIndex((x) => x.rank === next?.rank);
          assert.equal(next, model[at], 'the oldest of its rank');
          const place = next === undefined || next.qos === 0 ? 0 : reliable(model.slice(0, at)).length;
          assert.equal(queue.next(), next, 'looked at twice');
          assert.equal(queue.takeNext(), place);
          if (at >= 0) model.splice(at, 1);
        } else if (w.do === 'evict') {
          const lowest = model.at(-1)?.rank ?? Number.POSITIVE_INFINITY;
          assert.equal(queue.lowestRank, lowest);
          const at = model.findIndex((x) => x.rank === lowest);
          const place = model[at]?.qos === 0 ? -1 : at < 0 ? -1 : reliable(model.slice(0, at)).length;
          assert.equal(queue.evict(), place);
          if (at >= 0) model.splice(at, 1);
        } else {
          const out = (x: QueuedMessage): boolean => (x as Ranked).rank === w.rank || x.message.payload.length < 2;
          assert.deepEqual(queue.takeOut(out), model.filter(out));
          model = model.filter((x) => !out(x));
        }
        assert.deepEqual(all(queue), model);
        assert.equal(queue.reliableCount, reliable(model).length);
        assert.equal(
          queue.bytes,
          model.reduce((sum, { message }) => sum + message.payload.length + 129, 0),
        );
      }
    }),
  );
});

test('without ranks what is taken out leaves the others in their order', () => {
  const queue = new MessageQueue();
  const items = [1, 2, 3, 4].map((length) => item(length === 3 ? 0 : 1, 0, length));
  for (const one of items) assert.equal(queue.push(one, 10, 10_000), 0);
  assert.deepEqual(
    queue.takeOut((x) => x.message.payload.length % 2 === 0),
    [items[1], items[3]],
  );
  assert.deepEqual(all(queue), [items[0], items[2]]);
  assert.deepEqual([queue.bytes, queue.qos0Count, queue.reliableCount], [4 + 2 * 129, 1, 1]);
});

/** What leaves, as ranks with how many in a row. */
function runs(queue: MessageQueue, count: number, before: (i: number) => void = () => {}): string[] {
  const out: { rank: number; n: number }[] = [];
  for (let i = 0; i < count; i++) {
    before(i);
    const { rank } = queue.next() as Ranked;
    queue.takeNext();
    const last = out.at(-1);
    if (last?.rank === rank) last.n++;
    else out.push({ rank, n: 1 });
  }
  return out.map(({ rank, n }) => `${rank}x${n}`);
}

function filled(counts: Readonly<Record<number, number>>): MessageQueue {
  const queue = new MessageQueue();
  for (const [rank, n] of Object.entries(counts)) for (let i = 0; i < n; i++) queue.insert(item(1, Number(rank), i), Number(rank));
  return queue;
}

test('every rank has its turn: one more than itself, times ten, then the next below', () => {
  assert.equal(turnMultiplier, 10);
  assert.deepEqual(runs(filled({ 0: 100, 1: 100, 2: 100 }), 130), ['2x30', '1x20', '0x10', '2x30', '1x20', '0x10', '2x10']);
  // What is empty is passed over, and what is alone goes on.
  assert.deepEqual(runs(filled({ 0: 25, 3: 45 }), 70), ['3x40', '0x10', '3x5', '0x15']);
});

test('a flood of a higher rank does not keep a lower one waiting for ever, however much of it there is at a time', () => {
  for (const atOnce of [1, 3]) {
    const queue = filled({ 0: 30 });
    const flood = (): void => {
      while (queue.length < 30 + atOnce) queue.insert(item(1, 4, 0), 4);
    };
    const got = runs(queue, 10 * 4 * 10, flood).filter((run) => run.startsWith('0x'));
    assert.deepEqual(got, ['0x10', '0x10', '0x10'], `${atOnce} at once`);
  }
});

test('what comes with a higher rank goes first, unless those above have had their turn', () => {
  const queue = filled({ 0: 5 });
  assert.deepEqual(runs(queue, 2), ['0x2']);
  queue.insert(item(1, 1, 0), 1);
  assert.deepEqual(runs(queue, 2), ['1x1', '0x1']);
  const busy = filled({ 0: 20, 1: 30 });
  assert.deepEqual(runs(busy, 22), ['1x20', '0x2']);
  busy.insert(item(1, 2, 0), 2);
  assert.deepEqual(runs(busy, 9), ['0x8', '2x1']);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Clock } from '#env/clock.js';
import type { Connection } from '#env/net.js';
import type { OutboxClient } from './outbox.js';
import { absent, earlyBytes, Outbox, piecesKept, togetherBytes, togetherMax } from './outbox.js';

class Sink implements OutboxClient {
  readonly net: Connection;
  outHead: number = absent;
  outTail = -1;
  outBytes = 0;
  /** What was written, as it was at the end of all turns: nobody may change it after the write. */
  readonly written: Uint8Array[] = [];
  readonly flushes: [full: boolean, bytes: number][] = [];
  /** What the transport answers to a write. */
  takes = true;
  onFlushed: () => void = () => {};
  readonly #stuckAt: number;
  /** The first view that was not taken at once. */
  #keptFrom = -1;

  /** `stuckAt`: takes what is written at once, but for this write (from 1 on) and those behind it, until `drain`. 0: always. Undefined: passes on what it is given. */
  constructor(bufferedBytes: number, stuckAt?: number) {
    this.#stuckAt = stuckAt ?? 0;
    const net = { bufferedBytes, takesAtOnce: stuckAt !== undefined, write: (bytes: Uint8Array) => this.#write(bytes) };
    this.net = net as unknown as Connection;
  }

  #write(bytes: Uint8Array): boolean {
    const n = this.written.length;
    if (this.#keptFrom === -1 && n + 1 === this.#stuckAt) this.#keptFrom = n;
    const kept = this.#keptFrom !== -1;
    this.written.push(this.net.takesAtOnce === true && !kept ? bytes.slice() : bytes);
    if (kept) (this.net as { bufferedBytes: number }).bufferedBytes += bytes.length;
    return this.takes;
  }

  /** The transport takes what it has kept. */
  drain(): void {
    if (this.#keptFrom === -1) return;
    for (let i = this.#keptFrom; i < this.written.length; i++) this.written[i] = (this.written[i] as Uint8Array).slice();
    this.#keptFrom = -1;
    (this.net as { bufferedBytes: number }).bufferedBytes = 0;
  }

  flushed(full: boolean, bytes: number): void {
    this.flushes.push([full, bytes]);
    this.onFlushed();
  }

  get bytes(): number[] {
    return this.written.flatMap((b) => [...b]);
  }
}

function turns(): { clock: Clock; end: () => void } {
  const waiting: (() => void)[] = [];
  const clock = { now: () => 0, endOfTurn: (fn: () => void) => void waiting.push(fn) } as unknown as Clock;
  return { clock, end: () => waiting.splice(0).forEach((fn) => void fn()) };
}

const source = Uint8Array.from({ length: 60_000 }, (_, i) => i * 7 + (i >> 8));

const piece = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      client: fc.nat(4),
      start: fc.nat(1000),
      length: fc.integer({ min: 4, max: 300 }),
      id: fc.option(fc.nat(0xffff), { nil: undefined }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      client: fc.nat(4),
      start: fc.nat(1000),
      length: fc.integer({ min: 10_000, max: 50_000 }),
      id: fc.option(fc.nat(0xffff), { nil: undefined }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ client: fc.nat(4), start: fc.constant(-1), length: fc.integer({ min: 2, max: 5 }), id: fc.constant(undefined) }),
  },
  // What is lent.
  {
    weight: 6,
    arbitrary: fc.record({
      client: fc.nat(4),
      start: fc.constant(-3),
      length: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 5_000, max: 20_000 })),
      id: fc.constant(undefined),
    }),
  },
  // The end of a chunk of input: what is much already goes out.
  { weight: 1, arbitrary: fc.constant({ client: 0, start: -2, length: 0, id: undefined }) },
);

test('every client gets its pieces, whole and in order, whoever else writes, also when it is slow', () => {
  fc.assert(
    fc.property(fc.array(fc.array(piece, { maxLength: 30 }), { maxLength: 6 }), fc.integer({ min: 1, max: 6 }), (rounds, stuckAt) => {
      const { clock, end } = turns();
      const sent = { value: 0 };
      const outbox = new Outbox(clock, sent, { observe: () => {} });
      const sinks = [new Sink(0), new Sink(0, stuckAt), new Sink(100), new Sink(0, 0), new Sink(0, stuckAt + 2)];
      const expected: number[][] = sinks.map(() => []);
      const lent = new Uint8Array(40_000);
      let lentAt = 0;
      for (const [turn, round] of rounds.entries()) {
        if (turn % 3 === 2) for (const sink of sinks) sink.drain();
        for (const { client, start, length, id } of round) {
          const sink = sinks[client] as Sink;
          const own = expected[client] as number[];
          if (start === -2) {
            outbox.early();
            lent.fill(0xee);
            lentAt = 0;
            continue;
          }
          if (start === -3) {
            // Often without a gap, as the messages of a chunk.
            if (lentAt + length > lent.length) {
              outbox.early();
              lentAt = 0;
            }
            for (let i = 0; i < length; i++) lent[lentAt + i] = length * 3 + i;
            own.push(...lent.subarray(lentAt, lentAt + length));
            outbox.pass(sink, lent, lentAt, lentAt + length);
            lentAt += length;
            continue;
          }
          if (start === -1) {
            const at = outbox.room(sink, length);
            for (let i = 0; i < length; i++) outbox.slab[at + i] = i;
            for (let i = 0; i < length; i++) own.push(i);
            continue;
          }
          const bytes = [...source.subarray(start, start + length)];
          if (id !== undefined) bytes.splice(2, 2, id >> 8, id & 255);
          own.push(...bytes);
          // An identifier at position 0 of its array cannot be told from none; frames have a header.
          outbox.add(sink, source, start, start + length, id === undefined ? 0 : start + 2, id ?? 0);
        }
        outbox.early();
        lent.fill(0xee);
        end();
      }
      for (const [i, sink] of sinks.entries()) {
        assert.deepEqual(sink.bytes, expected[i]);
        assert.equal(
          sink.flushes.reduce((n, [, bytes]) => n + bytes, 0),
          sink.bytes.length,
        );
      }
      assert.equal(
        sent.value,
        expected.reduce((n, e) => n + e.length, 0),
      );
    }),
    { numRuns: 150 },
  );
});

test('memory serves again after its turn, unless a transport may still write from it', () => {
  const { clock, end } = turns();
  const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
  const places: { buffer: ArrayBufferLike; at: number }[] = [];
  const turn = (sink: Sink): void => {
    const at = outbox.room(sink, 3);
    places.push({ buffer: outbox.slab.buffer, at });
    outbox.slab.set([places.length, 2, 3], at);
    end();
  };
  const plain = new Sink(0, 0);
  turn(plain);
  turn(plain);
  assert.deepEqual(places[1], places[0]);
  const other = new Sink(0);
  turn(other);
  turn(plain);
  assert.deepEqual(places[2], places[0]);
  assert.equal(places[3]?.at, 3, 'the transport may pass on what it was given');
  assert.deepEqual(other.bytes, [3, 2, 3]);
  assert.deepEqual(plain.bytes, [1, 2, 3, 2, 2, 3, 4, 2, 3]);
});

test('adjacent pieces are one view of the received chunk, and a fan-out shares it', () => {
  const { clock, end } = turns();
  const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
  const sinks = [new Sink(0), new Sink(0)];
  for (const at of [0, 10, 20]) for (const sink of sinks) outbox.add(sink, source, at, at + 10, 0, 0);
  end();
  assert.equal(sinks[0]?.written.length, 1);
  assert.equal(sinks[0]?.written[0]?.buffer, source.buffer);
  assert.equal(sinks[0]?.written[0], sinks[1]?.written[0]);
  // A slow reader gets a copy: it must not keep the whole chunk.
  const slow = new Sink(1);
  outbox.add(slow, source, 0, 10, 0, 0);
  end();
  assert.equal(slow.written[0]?.buffer.byteLength, 10);
});

test('frames that follow each other in a chunk keep their packet identifiers', () => {
  const { clock, end } = turns();
  const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
  const sink = new Sink(0);
  const expected: number[] = [];
  // Short ones, long ones, one without an identifier among them, a gap, and another array at the same place.
  const pieces: readonly (readonly [from: Uint8Array, start: number, end: number, id: number])[] = [
    [source, 100, 110, 0x1234],
    [source, 110, 130, 0xfffe],
    [source, 130, 140, 0],
    [source, 140, 400, 0x0102],
    [source, 400, 420, 0x0304],
    [source, 430, 440, 0x0506],
    [source.slice(), 440, 460, 0x0708],
  ];
  for (const [from, start, stop, id] of pieces) {
    const bytes = [...from.subarray(start, stop)];
    if (id !== 0) bytes.splice(3, 2, id >> 8, id & 255);
    expected.push(...bytes);
    outbox.add(sink, from, start, stop, id === 0 ? 0 : start + 3, id);
  }
  const before = source.slice();
  end();
  assert.deepEqual(sink.bytes, expected);
  assert.deepEqual(source, before);
});

test('who has got much is written to before the turn ends, what comes later at its end, nobody twice', () => {
  const { clock, end } = turns();
  const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
  const [much, little] = [new Sink(0), new Sink(0)] as const;
  outbox.add(little, source, 0, 10, 0, 0);
  outbox.add(much, source, 0, earlyBytes - 1, 0, 0);
  outbox.early();
  assert.deepEqual([much.flushes, little.flushes], [[], []]);
  outbox.add(much, source, 20_000, 20_001, 0, 0);
  outbox.add(much, source, 30_000, 30_001, 0, 0);
  outbox.early();
  outbox.early();
  assert.deepEqual([much.flushes, little.flushes], [[[false, earlyBytes + 1]], []]);
  // All is written: nothing is left for the end.
  end();
  assert.deepEqual([much.flushes.length, little.flushes], [1, [[false, 10]]]);
  // And the same again with something behind it.
  outbox.add(much, source, 0, earlyBytes, 0, 0);
  outbox.early();
  outbox.add(much, source, 5, 8, 0, 0);
  end();
  assert.deepEqual(much.flushes.slice(1), [
    [false, earlyBytes],
    [false, 3],
  ]);
  assert.deepEqual([...(much.written.at(-1) ?? [])], [...source.subarray(5, 8)]);
  end();
  assert.equal(much.flushes.length, 3);
});

test('who has half as much is written to with who has much, while they are few', () => {
  for (const others of [togetherMax - 3, togetherMax - 2]) {
    const { clock, end } = turns();
    const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
    const [much, half, less] = [new Sink(0), new Sink(0), new Sink(0)] as const;
    outbox.add(half, source, 0, togetherBytes, 0, 0);
    outbox.add(less, source, 0, togetherBytes - 1, 0, 0);
    for (let i = 0; i < others; i++) outbox.add(new Sink(0), source, 0, 1, 0, 0);
    outbox.early();
    assert.deepEqual(half.flushes, [], 'nobody has much');
    outbox.add(much, source, 0, earlyBytes, 0, 0);
    outbox.early();
    const few = others + 3 <= togetherMax;
    assert.deepEqual([much.flushes.length, half.flushes.length, less.flushes.length], [1, few ? 1 : 0, 0]);
    end();
    assert.deepEqual([much.flushes.length, half.flushes.length, less.flushes.length], [1, 1, 1]);
  }
});

test('a client that is written to early hears of the end of the turn when it wants to, once', () => {
  const { clock, end } = turns();
  const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
  const sink = new Sink(0);
  outbox.add(sink, source, 0, earlyBytes, 0, 0);
  outbox.early();
  outbox.touch(sink);
  outbox.touch(sink);
  end();
  assert.deepEqual(sink.flushes, [
    [false, earlyBytes],
    [false, 0],
  ]);
  outbox.touch(sink);
  outbox.add(sink, source, 0, 3, 0, 0);
  outbox.touch(sink);
  end();
  assert.deepEqual(sink.flushes.slice(2), [[false, 3]]);
});

test('a transport that is full says so at once, and a client that always has more keeps nobody waiting', () => {
  const { clock, end } = turns();
  const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
  const [greedy, other] = [new Sink(0), new Sink(0)] as const;
  greedy.onFlushed = () => outbox.add(greedy, source, 0, earlyBytes, 0, 0);
  outbox.add(greedy, source, 0, earlyBytes, 0, 0);
  outbox.add(other, source, 0, earlyBytes, 0, 0);
  other.takes = false;
  outbox.early();
  assert.deepEqual([greedy.flushes.length, other.flushes], [1, [[true, earlyBytes]]]);
  end();
  assert.equal(greedy.flushes.length, 2);
  // What came in while the turn ended is the next one's.
  greedy.onFlushed = () => {};
  end();
  assert.deepEqual([greedy.flushes.length, greedy.bytes.length], [3, 3 * earlyBytes]);
});

test('room for very many pieces is given back after their turn', () => {
  const { clock, end } = turns();
  const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
  const sink = new Sink(0);
  const one = source.subarray(0, 1);
  for (let i = 0; i < 3 * piecesKept; i++) outbox.add(sink, one, 0, 1, 0, 0);
  assert.ok(outbox.capacity > piecesKept);
  end();
  assert.equal(
    sink.written.reduce((n, b) => n + b.length, 0),
    3 * piecesKept,
  );
  assert.equal(outbox.capacity, piecesKept);
  outbox.add(sink, one, 0, 1, 0, 0);
  end();
  assert.deepEqual([...(sink.written.at(-1) ?? [])], [...one]);
});

test('the time is looked at once for some chunks of a turn, and again in the next turn', () => {
  const { clock, end } = turns();
  let at = 0;
  let looks = 0;
  const now = (): number => {
    looks++;
    return at;
  };
  const outbox = new Outbox({ ...clock, now }, { value: 0 }, { observe: () => {} } as never);
  assert.equal(outbox.now(), 0);
  at = 1;
  assert.deepEqual([outbox.now(), looks], [0, 1]);
  end();
  assert.deepEqual([outbox.now(), looks], [1, 2]);
  at = 2;
  const seen = Array.from({ length: 1000 }, () => outbox.now());
  assert.equal(seen.at(-1), 2);
  assert.ok(looks < 100, `${looks}`);
});

test('room is where the answer is written, also when what was being passed needs another slab', () => {
  const { clock, end } = turns();
  const outbox = new Outbox(clock, { value: 0 }, { observe: () => {} });
  const [passing, answered] = [new Sink(0), new Sink(0)] as const;
  const lent = source.slice(0, 50_000);
  outbox.room(answered, 20_000);
  outbox.pass(passing, lent, 0, 50_000);
  const at = outbox.room(answered, 2);
  outbox.slab[at] = 0xd0;
  outbox.slab[at + 1] = 7;
  outbox.early();
  lent.fill(0xee);
  end();
  assert.deepEqual(answered.bytes.slice(-2), [0xd0, 7]);
  assert.deepEqual(passing.bytes, [...source.subarray(0, 50_000)]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Clock } from '#env/clock.js';
import type { Connection } from '#env/net.js';
import type { OutboxClient } from './outbox.js';
import { Outbox, piecesKept } from './outbox.js';

class Sink implements OutboxClient {
  readonly net: Connection;
  outHead = -1;
  outTail = -1;
  outBytes = 0;
  /** What was written, as it was at the end of all turns: nobody may change it after the write. */
  readonly written: Uint8Array[] = [];
  flushes = 0;

  constructor(bufferedBytes: number) {
    const { written } = this;
    this.net = {
      bufferedBytes,
      write: (bytes: Uint8Array) => {
        written.push(bytes);
        return true;
      },
    } as unknown as Connection;
  }

  flushed(): void {
    this.flushes++;
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
      client: fc.nat(2),
      start: fc.nat(1000),
      length: fc.integer({ min: 4, max: 300 }),
      id: fc.option(fc.nat(0xffff), { nil: undefined }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      client: fc.nat(2),
      start: fc.nat(1000),
      length: fc.integer({ min: 10_000, max: 50_000 }),
      id: fc.option(fc.nat(0xffff), { nil: undefined }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ client: fc.nat(2), start: fc.constant(-1), length: fc.integer({ min: 2, max: 5 }), id: fc.constant(undefined) }),
  },
);

test('every client gets its pieces, whole and in order, whoever else writes, also when it is slow', () => {
  fc.assert(
    fc.property(fc.array(fc.array(piece, { maxLength: 30 }), { maxLength: 4 }), (rounds) => {
      const { clock, end } = turns();
      const sent = { value: 0 };
      const outbox = new Outbox(clock, sent, { observe: () => {} });
      const sinks = [new Sink(0), new Sink(0), new Sink(100)];
      const expected: number[][] = [[], [], []];
      for (const round of rounds) {
        for (const { client, start, length, id } of round) {
          const sink = sinks[client] as Sink;
          const own = expected[client] as number[];
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
        end();
      }
      for (const [i, sink] of sinks.entries()) assert.deepEqual(sink.bytes, expected[i]);
      assert.equal(
        sent.value,
        expected.reduce((n, e) => n + e.length, 0),
      );
    }),
    { numRuns: 60 },
  );
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

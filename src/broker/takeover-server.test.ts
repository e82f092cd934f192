import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TakeoverAnswer, type TakeoverPhase, TakeoverServer } from './takeover-server.js';

test('of two takers the one with the newer epoch gets the session, also when the older one comes last', () => {
  const server = new TakeoverServer();
  let asked = 0;
  const source = { begin: () => Uint8Array.of(1), finish: () => Uint8Array.of(++asked), discard: () => {} };
  const q = (newEpoch: number) => ({ clientId: 'x', heldEpochs: [3], newEpoch, offset: 0, transfer: 0 });
  const answer = (phase: TakeoverPhase, newEpoch: number) => server.answer(phase, source, q(newEpoch), 0);
  const kind = (given: TakeoverAnswer) => (given === 'overtaken' ? given : given.kind);
  assert.equal(kind(answer('begin', 5)), 'chunk');
  assert.equal(kind(answer('begin', 7)), 'chunk');
  assert.equal(kind(answer('finish', 5)), 'overtaken');
  assert.equal(asked, 0);
  assert.equal(kind(answer('finish', 7)), 'chunk');
  assert.equal(kind(answer('finish', 7)), 'chunk', 'asked again, it gives what there is by then');
  assert.equal(kind(answer('begin', 5)), 'overtaken');
  assert.equal(kind(answer('begin', 9)), 'chunk', 'the next one gets it all');
  assert.equal(kind(answer('finish', 9)), 'chunk');
  assert.equal(asked, 3);
  server.expire(20_000);
  assert.equal(server.size, 0);
});

test('what the holder keeps is bounded, the oldest goes first', () => {
  const server = new TakeoverServer({ keptBytesMax: 250 });
  const source = { begin: () => new Uint8Array(100), finish: () => new Uint8Array(10), discard: () => {} };
  for (let i = 0; i < 10; i++) server.answer('begin', source, { clientId: `c${i}`, heldEpochs: [1], newEpoch: 2, offset: 0, transfer: 0 }, 0);
  assert.equal(server.size, 2);
  assert.equal(server.dropped, 8);
});

test('a transfer in chunks is that of one moment; who begins again gets what there is by then', () => {
  const server = new TakeoverServer({ chunkBytes: 2 });
  let queue = Uint8Array.of(1, 2, 3);
  const source = { begin: () => undefined, finish: () => queue, discard: () => {} };
  const ask = (offset: number, transfer: number): TakeoverAnswer =>
    server.answer('finish', source, { clientId: 'x', heldEpochs: [3], newEpoch: 5, offset, transfer }, 0);
  const first = ask(0, 0);
  assert.ok(first !== 'overtaken' && first.kind === 'chunk');
  queue = Uint8Array.of(1, 2, 3, 4);
  assert.deepEqual(ask(2, first.transfer), { kind: 'chunk', transfer: first.transfer, total: 3, bytes: Uint8Array.of(3) });
  const again = ask(0, 0);
  assert.ok(again !== 'overtaken' && again.kind === 'chunk');
  assert.equal(again.total, 4, 'the session went on queueing');
  assert.deepEqual(ask(2, first.transfer), { kind: 'again' });
});

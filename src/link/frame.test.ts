import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes, emptyBytes } from '#base/bytes.js';
import { Prng } from '#base/prng.js';
import { FrameDecoder, FrameWriter, frameOverheadBytes, putU32 } from './frame.js';

interface Frame {
  readonly type: number;
  readonly payload: Uint8Array;
}

function collector(seed: number, max: number): { decoder: FrameDecoder; frames: Frame[] } {
  const frames: Frame[] = [];
  return { frames, decoder: new FrameDecoder(seed, max, (type, payload) => void frames.push({ type, payload: payload.slice() })) };
}

function encode(seed: number, frames: readonly Frame[]): Uint8Array {
  const w = new FrameWriter(seed);
  for (const f of frames) w.frame(f.type, f.payload.subarray(0, f.payload.length >> 1), f.payload.subarray(f.payload.length >> 1));
  return concatBytes(w.take());
}

/** Cuts the stream at random places. */
function chunks(bytes: Uint8Array, prng: Prng): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const n = 1 + prng.int(prng.chance(0.5) ? 12 : 100_000);
    out.push(bytes.slice(at, at + n));
    at += n;
  }
  return out;
}

function someFrames(prng: Prng): Frame[] {
  const sizes = [0, 1, 7, 300, 5_000, 20_000, 90_000];
  return Array.from({ length: 1 + prng.int(30) }, () => ({ type: 1 + prng.int(7), payload: prng.bytes(prng.pick(sizes)) }));
}

test('what is written is read, however it is cut, and however often the reader is held', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const prng = new Prng(seed);
    const frames = someFrames(prng);
    const { decoder, frames: got } = collector(seed, 100_000);
    for (const chunk of chunks(encode(seed, frames), prng)) {
      if (prng.chance(0.1)) decoder.hold();
      assert.equal(decoder.push(chunk), undefined);
      if (prng.chance(0.3)) assert.equal(decoder.release(), undefined);
    }
    decoder.release();
    assert.deepEqual(got, frames);
  }
});

test('a sink that holds the decoder gets no further frame until the release', () => {
  const seen: number[] = [];
  const decoder = new FrameDecoder(0, 100, (type) => {
    seen.push(type);
    decoder.hold();
  });
  const stream = encode(
    0,
    [1, 2, 3].map((type) => ({ type, payload: emptyBytes })),
  );
  decoder.push(stream.slice(0, 25));
  assert.deepEqual(seen, [1]);
  decoder.push(stream.slice(25));
  assert.deepEqual(seen, [1]);
  decoder.release();
  assert.deepEqual(seen, [1, 2]);
  decoder.release();
  assert.deepEqual(seen, [1, 2, 3]);
});

test('taking parts in between does not disturb the order, and taken parts are never written again', () => {
  const prng = new Prng(5);
  const frames = someFrames(prng);
  const w = new FrameWriter(9);
  const parts: Uint8Array[] = [];
  const copies: Uint8Array[] = [];
  for (const f of frames) {
    w.frame(f.type, emptyBytes, f.payload);
    if (!prng.chance(0.5)) continue;
    assert.ok(w.length > 0);
    for (const part of w.take()) {
      parts.push(part);
      copies.push(part.slice());
    }
    assert.equal(w.length, 0);
  }
  const last = w.take();
  assert.deepEqual(parts, copies);
  const { decoder, frames: got } = collector(9, 100_000);
  for (const part of [...parts, ...last]) decoder.push(part);
  assert.deepEqual(got, frames);
});

test('every flipped bit, dropped frame, repeated frame and foreign stream is found', () => {
  const prng = new Prng(3);
  const frames = Array.from({ length: 4 }, (_, i) => ({ type: 1, payload: prng.bytes(3 + i) }));
  const whole = encode(1, frames);
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const damaged = whole.slice();
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    const { decoder, frames: got } = collector(1, 1_000);
    decoder.push(damaged);
    // A damaged length may leave the decoder waiting; a wrong frame never comes out.
    assert.ok(got.length < 4);
    assert.deepEqual(got, frames.slice(0, got.length));
  }
  const first = 3 + frameOverheadBytes;
  for (const bad of [whole.slice(first), concatBytes([whole.slice(0, first), whole])]) {
    const { decoder, frames: got } = collector(1, 1_000);
    assert.equal(decoder.push(bad), 'wrong checksum');
    assert.ok(got.length <= 1);
  }
  assert.equal(collector(2, 1_000).decoder.push(whole), 'wrong checksum');
});

test('a length beyond the bound is a fault before anything is kept', () => {
  const header = new Uint8Array(5);
  putU32(header, 0, 0xffffffff);
  assert.equal(collector(0, 1_000).decoder.push(header), 'frame too long');
  const { decoder } = collector(0, 1_000);
  for (const byte of header) decoder.push(Uint8Array.of(byte));
  assert.equal(decoder.fault, 'frame too long');
  assert.equal(decoder.push(new Uint8Array(100)), 'frame too long');
});

test('random bytes never throw and never make a frame', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }), fc.integer(), (stream, seed) => {
      const { decoder, frames } = collector(seed >>> 0, 50);
      for (const chunk of stream) decoder.push(chunk);
      assert.equal(frames.length, 0);
    }),
    { numRuns: 500 },
  );
});

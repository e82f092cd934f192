// Mutation fuzz of the decoder: valid frames of every kind, damaged; random bytes; chunks cut anywhere.
// Nothing is ever thrown, memory stays bounded, what is accepted can be encoded and decoded again, and
// every class of disagreement with `mqtt-packet` is listed with its reason: what is refused only here in
// `malformed-table.test.ts`, with an example for each, what is accepted only here below. A class that is not
// listed fails the test.
// STARMESH_FUZZ_PACKETS says how many damaged frames (200,000 if it does not), STARMESH_FC_SEED from which seed:
//   STARMESH_FUZZ_PACKETS=10000000 STARMESH_FC_SEED=7 node --test --test-name-pattern=damaged.frames dist/mqtt/fuzz.test.js
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { Prng } from '#base/prng.js';
import { arbitraryConnect, arbitraryPacket, clean, type Direction, fcOptions } from './arbitraries.test.js';
import { Decoder, DecoderSettings, smallPacketSize } from './decoder.js';
import { encode } from './encoder.js';
import { stricter } from './malformed-table.test.js';
import type { Packet, ProtocolVersion } from './packet.js';
import { theirVerdict, toTheirs } from './theirs.test.js';
import { varintSize, writeVarint } from './wire-writer.js';

const seed = fcOptions.seed;
const defaultRounds = 200_000;
const rounds = Number(process.env.STARMESH_FUZZ_PACKETS ?? defaultRounds);

interface Sample {
  readonly frame: Uint8Array;
  readonly version: ProtocolVersion;
  readonly direction: Direction;
}

function samples(seed: number = fcOptions.seed): Sample[] {
  const out: Sample[] = [];
  for (const version of [3, 4, 5] as const) {
    const numRuns = version === 5 ? 300 : 100;
    for (const p of fc.sample(arbitraryConnect(version), { seed, numRuns: numRuns / 4 }))
      out.push({ frame: encode(p, version), version, direction: 'fromClient' });
    for (const direction of ['fromClient', 'fromServer'] as const) {
      for (const p of fc.sample(arbitraryPacket(version, direction), { seed, numRuns })) out.push({ frame: encode(p, version), version, direction });
    }
  }
  return out.filter((s) => s.frame.length < 400);
}

const plainPublish = { type: 'publish', dup: false, qos: 0, retain: false, packetId: 0, properties: undefined } as const;

const interesting = [0, 1, 2, 3, 0x7f, 0x80, 0x81, 0xff, 0x23, 0x2b, 0x2f, 0x26, 0x0b, 0xc0, 0xed, 0xf4];

/** `other`: a frame that lends a part. */
function mutate(frame: Uint8Array, prng: Prng, other: Uint8Array = frame): Uint8Array {
  let bytes = Array.from(frame);
  for (let n = prng.range(1, 3); n > 0; n--) {
    const at = prng.int(bytes.length + 1);
    switch (prng.int(7)) {
      case 0:
        bytes[at % bytes.length] = (bytes[at % bytes.length] as number) ^ (1 << prng.int(8));
        break;
      case 1:
        bytes[at % bytes.length] = prng.pick(interesting);
        break;
      case 2:
        bytes.splice(at, 0, prng.u32() & 255);
        break;
      case 3:
        bytes.splice(at, prng.range(1, 4));
        break;
      case 4: {
        const from = prng.int(other.length);
        bytes.splice(at, prng.int(4), ...other.subarray(from, from + prng.range(1, 16)));
        break;
      }
      case 5:
        bytes.splice(at, 0, ...bytes.slice(at, at + prng.range(1, 8)));
        break;
      default:
        bytes = bytes.slice(0, Math.max(2, at));
    }
    if (bytes.length === 0) bytes = [prng.u32() & 255];
  }
  return Uint8Array.from(bytes);
}

/** The frame with the Remaining Length that its bytes have, so that damage inside is looked at. */
function fitted(frame: Uint8Array): Uint8Array {
  let body = 1;
  while (body < 5 && body < frame.length && (frame[body] as number) >= 0x80) body++;
  const rest = frame.subarray(body + 1);
  const out = new Uint8Array(1 + varintSize(rest.length) + rest.length);
  out[0] = frame[0] as number;
  out.set(rest, writeVarint(out, 1, rest.length));
  return out;
}

/** A Remaining Length of one byte takes two, if it is of one. */
function longWinded(frame: Uint8Array): Uint8Array {
  const length = frame[1] ?? 0x80;
  return length >= 0x80 ? frame : Uint8Array.from([frame[0] as number, length | 0x80, 0, ...frame.subarray(2)]);
}

interface Verdict {
  packet?: Packet;
  error?: string;
  /** How many bytes the first packet took. */
  heldBytes: number;
}

function ourVerdict(frame: Uint8Array, s: Sample): Verdict {
  const isConnect = (frame[0] as number) >> 4 === 1 && s.direction === 'fromClient';
  const role = s.direction === 'fromClient' ? 'server' : 'client';
  const decoder = new Decoder(new DecoderSettings({ role, protocolVersion: isConnect ? undefined : s.version }));
  const verdict: Verdict = { heldBytes: 0 };
  const error = decoder.push(frame, (p) => {
    verdict.packet ??= p;
    decoder.close();
  });
  if (error !== undefined) verdict.error = `${error.reasonCode} ${error.message}`;
  verdict.heldBytes = decoder.heldBytes;
  return verdict;
}

/** Accepted here, refused by mqtt-packet: why, with an example of a client. */
const milder: { readonly [error: string]: readonly [why: string, version: ProtocolVersion, hex: string] } = {
  'Cannot parse username': ['3.1 lets the Remaining Length win over the flags', 3, '100f 0006 4d5149736470 03 82 0000 0001 61'],
  'Cannot parse password': ['3.1 lets the Remaining Length win over the flags', 3, '1012 0006 4d5149736470 03 c2 0000 0001 61 0001 75'],
  'Connect flag bit 0 must be 0, but got 1': ['3.1 does not say what the reserved flag must be', 3, '100f 0006 4d5149736470 03 03 0000 0001 61'],
  'Invalid auth reason code': ['AUTH of Remaining Length 0 means success (3.15.2.1)', 5, 'f000'],
  'Invalid header flag bits, must be 0x2 for pubrel packet': ['3.1 repeats PUBREL with DUP', 3, '6a02 0001'],
  'Invalid header flag bits, must be 0x2 for subscribe packet': ['3.1 repeats SUBSCRIBE with DUP', 3, '8a06 0001 0001 61 00'],
  'Invalid header flag bits, must be 0x2 for unsubscribe packet': ['3.1 repeats UNSUBSCRIBE with DUP', 3, 'aa05 0001 0001 61'],
};

for (const [error, [why, version, hex]] of Object.entries(milder)) {
  test(`accepted here only: ${why}: ${error}`, () => {
    const frame = Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
    const sample: Sample = { frame, version, direction: 'fromClient' };
    const ours = ourVerdict(frame, sample);
    assert.ok(ours.packet !== undefined);
    assert.equal(compare(frame, ours, sample), error);
  });
}

test(`fuzz: ${rounds} damaged frames, seed ${seed}`, () => {
  const prng = new Prng(seed);
  let pool = samples();
  const unexplained = new Map<string, string>();
  let accepted = 0;
  for (let round = 0; round < rounds; round++) {
    // A long run does not live on the packets of one sample.
    if (round > 0 && round % defaultRounds === 0) pool = samples(seed + round / defaultRounds);
    const sample = prng.pick(pool);
    let frame = mutate(sample.frame, prng, prng.pick(pool).frame);
    if (prng.chance(0.8) && frame.length > 1) frame = fitted(frame);
    const ours = ourVerdict(frame, sample);
    assert.ok(ours.heldBytes <= Math.max(smallPacketSize, 2 * frame.length));
    if (ours.packet !== undefined) {
      accepted++;
      survives(ours.packet, sample);
    }
    const difference = compare(frame, ours, sample);
    if (difference === undefined || difference in milder || stricter.has(difference)) continue;
    unexplained.set(difference, `${Buffer.from(frame).toString('hex')} version ${sample.version} ${sample.direction}`);
  }
  assert.deepEqual([...unexplained], []);
  assert.ok(accepted > rounds / 20, `only ${accepted} accepted: the mutations are too coarse`);
});

/** What was accepted is a packet: it can be written, and read again as the same. */
function survives(packet: Packet, sample: Sample): void {
  const version = packet.type === 'connect' ? packet.protocolVersion : sample.version;
  const again = ourVerdict(encode(packet, version), { ...sample, version });
  assert.equal(again.error, undefined);
  assert.deepEqual(clean(again.packet), clean(packet));
}

function compare(frame: Uint8Array, ours: Verdict, sample: Sample): string | undefined {
  // Where two frames lie in a row mqtt-packet reads beyond the first: it is given one.
  const size = sizeOf(frame);
  const theirs = theirVerdict(size !== undefined && size < frame.length ? frame.subarray(0, size) : frame, sample.version);
  // Incomplete for one of them: each may refuse from the fixed header what the other waits for.
  if (ours.error !== undefined) return theirs.packet !== undefined ? ours.error : undefined;
  if (ours.packet === undefined) return theirs.packet !== undefined ? 'waits for what is complete' : undefined;
  if (theirs.error !== undefined) return theirs.error;
  const version = ours.packet.type === 'connect' ? ours.packet.protocolVersion : sample.version;
  // 3.1 has no Session Present: mqtt-packet reads the reserved bit.
  if (version === 3 && ours.packet.type === 'connack' && theirs.packet !== undefined) theirs.packet.sessionPresent = false;
  const own = clean(toTheirs(ours.packet, version));
  const other = clean(theirs.packet);
  return isDeepStrictEqual(other, own) ? undefined : `different: ${JSON.stringify(other)} ${JSON.stringify(own)}`;
}

function sizeOf(frame: Uint8Array): number | undefined {
  let remaining = 0;
  for (let i = 1; i < 5 && i < frame.length; i++) {
    const b = frame[i] as number;
    remaining += (b & 0x7f) * 2 ** (7 * (i - 1));
    if (b < 0x80) return i + 1 + remaining;
  }
  return undefined;
}

test(`fuzz: damaged streams cut anywhere end the same way as in one piece, seed ${seed}`, () => {
  const prng = new Prng(seed).fork('streams');
  const pool = samples().filter((s) => s.version === 5 && s.direction === 'fromClient');
  const connect = pool.filter((s) => (s.frame[0] as number) >> 4 === 1);
  for (let round = 0; round < 4000; round++) {
    const parts = [prng.pick(connect).frame];
    for (let n = prng.int(5); n > 0; n--) parts.push(prng.chance(0.5) ? prng.pick(pool).frame : mutate(prng.pick(pool).frame, prng));
    const stream = Buffer.concat(parts);
    const settings = new DecoderSettings({ maxPacketSize: 300 });
    const whole: unknown[] = [];
    const expected = new Decoder(settings).push(stream, (p) => whole.push(clean(p)));
    const decoder = new Decoder(settings);
    const got: unknown[] = [];
    for (let at = 0; at < stream.length; ) {
      const n = prng.range(1, 40);
      decoder.push(stream.subarray(at, at + n), (p) => got.push(clean(p)));
      assert.ok(decoder.heldBytes <= 300);
      at += n;
    }
    assert.deepEqual(got, whole);
    assert.deepEqual(decoder.error, expected);
  }
});

/** Fed from memory that is written over behind it; what `takes` says is taken where it lies. */
function lentStream(stream: Uint8Array, settings: DecoderSettings, version: ProtocolVersion, prng: Prng): [readonly unknown[], unknown] {
  const decoder = new Decoder(settings);
  const seen: (() => unknown)[] = [];
  const keep = (p: Packet): number => seen.push(() => clean(p));
  const takesShare = prng.pick([0.3, 0.9, 1]);
  const take = (topicName: string, bytes: Uint8Array, start: number, end: number): boolean => {
    if (!prng.chance(takesShare)) return false;
    const frame = bytes.slice(start, end);
    const packets: Packet[] = [];
    const error = new Decoder(new DecoderSettings({ protocolVersion: version })).push(frame, (p) => packets.push(p));
    assert.deepEqual([error, packets.length, packets[0]?.type], [undefined, 1, 'publish'], 'what is lent is one whole PUBLISH');
    const [packet] = packets;
    assert.ok(packet?.type === 'publish' && packet.topicName === topicName && packet.qos === 0 && !packet.retain);
    assert.deepEqual(encode(packet, version), frame, 'it is sent on as it is');
    keep(packet);
    return true;
  };
  for (let at = 0; at < stream.length; ) {
    const part = stream.subarray(at, at + prng.range(1, 80));
    const before = prng.int(5);
    const memory = new Uint8Array(before + part.length + prng.int(5)).fill(0x30);
    memory.set(part, before);
    decoder.pushLent(memory, before, before + part.length, take, keep, keep);
    memory.fill(0xee);
    assert.ok(decoder.heldBytes <= 300);
    at += part.length;
  }
  return [seen.map((f) => f()), decoder.error];
}

test(`fuzz: damaged streams of plain messages, lent in pieces, end as they do in one piece, seed ${seed}`, () => {
  const prng = new Prng(seed).fork('lent');
  for (const version of [3, 4, 5] as const) {
    const pool = samples().filter((s) => s.version === version && s.direction === 'fromClient' && (s.frame[0] as number) >> 4 !== 1);
    const plain = ['a', 'a/b', 'fleet/1/state', 'ä/€'].flatMap((topicName) =>
      [0, 1, 60].map((n) => encode({ ...plainPublish, topicName, payload: new Uint8Array(n).fill(0x61) }, version)),
    );
    let lent = 0;
    for (let round = 0; round < 3000; round++) {
      const parts: Uint8Array[] = [];
      for (let n = prng.range(1, 8); n > 0; n--) {
        const frame = prng.chance(0.8) ? prng.pick(plain) : prng.pick(pool).frame;
        const damaged = prng.chance(0.15) ? mutate(frame, prng) : frame;
        const fits = prng.chance(0.7) && damaged.length > 1 ? fitted(damaged) : damaged;
        parts.push(prng.chance(0.1) ? longWinded(fits) : fits);
      }
      const stream = Buffer.concat(parts);
      const settings = new DecoderSettings({ maxPacketSize: 300, protocolVersion: version });
      const whole: unknown[] = [];
      const expected = new Decoder(settings).push(stream, (p) => whole.push(clean(p)));
      assert.deepEqual(lentStream(stream, settings, version, prng), [whole, expected]);
      lent += whole.length;
    }
    assert.ok(lent > 3000, `only ${lent} packets: the streams are too broken`);
  }
});

test(`fuzz: random bytes, seed ${seed}`, () => {
  const prng = new Prng(seed).fork('random');
  for (let round = 0; round < 20_000; round++) {
    const version = prng.pick([undefined, 3, 4, 5] as const);
    const decoder = new Decoder(
      new DecoderSettings({ role: version !== undefined && prng.chance(0.5) ? 'client' : 'server', protocolVersion: version }),
    );
    for (let n = 3; n > 0; n--) decoder.push(prng.bytes(prng.int(50)), () => undefined);
    assert.ok(decoder.heldBytes <= smallPacketSize);
  }
});

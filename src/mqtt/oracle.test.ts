// Property tests of the codec: with itself, and in both directions with `mqtt-packet` as an oracle.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { arbitraryConnect, arbitraryPacket, clean, type Direction, fcOptions, propertyValues } from './arbitraries.test.js';
import { Decoder, DecoderSettings } from './decoder.js';
import { encode, encodedSize, encodeWithin, writePacket } from './encoder.js';
import { type Packet, type ProtocolVersion, packetTypes } from './packet.js';
import { asTheirsKeepIt, theirBytes, theirVerdict, throughMap, toTheirs } from './theirs.test.js';

const versions = [3, 4, 5] as const;
const directions = ['fromClient', 'fromServer'] as const;

function settingsFor(version: ProtocolVersion, direction: Direction): DecoderSettings {
  return new DecoderSettings({ role: direction === 'fromClient' ? 'server' : 'client', protocolVersion: version });
}

function decodeOne(frame: Uint8Array, decoder: Decoder): Packet {
  const packets: Packet[] = [];
  const error = decoder.push(frame, (p) => packets.push(p));
  assert.equal(error, undefined);
  assert.equal(packets.length, 1);
  assert.equal(decoder.heldBytes, 0);
  return packets[0] as Packet;
}

for (const version of versions) {
  test(`oracle: a conversation in version ${version}, cut anywhere, arrives as it was sent`, () => {
    for (const direction of directions) {
      const conversation = fc.tuple(arbitraryConnect(version), fc.array(arbitraryPacket(version, direction), { maxLength: 8 }), fc.array(fc.nat()));
      fc.assert(
        fc.property(conversation, ([connect, others, cuts]) => {
          const packets = direction === 'fromClient' ? [connect, ...others] : others;
          const stream = Buffer.concat(packets.map((p) => encode(p, version)));
          const decoder = new Decoder(direction === 'fromClient' ? new DecoderSettings() : settingsFor(version, direction));
          const got: Packet[] = [];
          const edges = [0, ...cuts.map((c) => c % (stream.length + 1)), stream.length].sort((a, b) => a - b);
          for (let i = 1; i < edges.length; i++) {
            // A chunk of its own: nothing may be read from it later.
            const chunk = Uint8Array.from(stream.subarray(edges[i - 1], edges[i]));
            assert.equal(
              decoder.push(chunk, (p) => got.push(copied(p))),
              undefined,
            );
            chunk.fill(0xff);
          }
          assert.equal(decoder.heldBytes, 0);
          assert.deepEqual(got.map(clean), packets.map(clean));
        }),
        { ...fcOptions, numRuns: 250 },
      );
    }
  });

  test(`oracle: mqtt-packet reads in version ${version} what is encoded`, () => {
    for (const direction of directions) {
      const any =
        direction === 'fromClient' ? fc.oneof(arbitraryConnect(version), arbitraryPacket(version, direction)) : arbitraryPacket(version, direction);
      fc.assert(
        fc.property(any, (packet) => {
          const bytes = encode(packet, version);
          assert.equal(bytes.length, encodedSize(packet, version));
          // It does not know the short form of AUTH (3.15.2.1).
          if (packet.type === 'auth' && bytes.length === 2) return;
          const verdict = theirVerdict(bytes, version);
          assert.equal(verdict.error, undefined);
          assert.deepEqual(clean(verdict.packet), clean(toTheirs(packet, version)));
        }),
        { ...fcOptions, numRuns: 600 },
      );
    }
  });

  test(`oracle: what mqtt-packet generates in version ${version} is decoded`, () => {
    for (const direction of directions) {
      const decoder = new Decoder(settingsFor(version, direction));
      const any =
        direction === 'fromClient' ? fc.oneof(arbitraryConnect(version), arbitraryPacket(version, direction)) : arbitraryPacket(version, direction);
      fc.assert(
        fc.property(any, (packet) => {
          const bytes = theirBytes(packet, version);
          const got = decodeOne(bytes, packet.type === 'connect' ? new Decoder(new DecoderSettings()) : decoder);
          assert.deepEqual(clean(got), clean(asTheirsKeepIt(packet)));
        }),
        { ...fcOptions, numRuns: 600 },
      );
    }
  });
}

test('oracle: encodeWithin keeps the limit, and gives up only what it may', () => {
  fc.assert(
    fc.property(arbitraryPacket(5, 'fromServer'), fc.integer({ min: 2, max: 80 }), (packet, limit) => {
      const bytes = encodeWithin(packet, 5, limit);
      if (bytes === undefined) {
        const bare = 'properties' in packet && packet.type !== 'publish' ? { ...packet, properties: { ...packet.properties } } : packet;
        if ('properties' in bare && bare.type !== 'publish') {
          delete bare.properties?.userProperties;
          delete bare.properties?.reasonString;
        }
        assert.ok(encodedSize(bare as Packet, 5) > limit);
        return;
      }
      assert.ok(bytes.length <= limit);
      if (encodedSize(packet, 5) <= limit) assert.deepEqual(bytes, encode(packet, 5));
      else assert.equal(decodeOne(bytes, new Decoder(settingsFor(5, 'fromServer'))).type, packet.type);
    }),
    { ...fcOptions, numRuns: 1500 },
  );
});

test('oracle: writing into a buffer touches nothing around the packet', () => {
  fc.assert(
    fc.property(arbitraryPacket(5, 'fromClient'), fc.integer({ min: 0, max: 9 }), (packet, at) => {
      const size = encodedSize(packet, 5);
      const out = new Uint8Array(at + size + 5).fill(0xee);
      assert.equal(writePacket(out, at, packet, 5), at + size);
      assert.deepEqual(out.slice(at, at + size), encode(packet, 5));
      assert.ok([...out.subarray(0, at), ...out.subarray(at + size)].every((b) => b === 0xee));
    }),
    { ...fcOptions, numRuns: 300 },
  );
});

test('arbitraries: every packet type and every property occurs', () => {
  const types = new Set<string>();
  const properties = new Set<string>();
  for (const version of [3, 4, 5] as const) {
    const packets = fc.sample(arbitraryConnect(version), { ...fcOptions, numRuns: 100 });
    for (const direction of ['fromClient', 'fromServer'] as const) {
      packets.push(...fc.sample(arbitraryPacket(version, direction), { ...fcOptions, numRuns: 300 }));
    }
    for (const p of packets) {
      types.add(p.type);
      const own = 'properties' in p ? p.properties : undefined;
      const will = p.type === 'connect' ? p.will?.properties : undefined;
      assert.ok(version === 5 || (own === undefined && will === undefined));
      for (const name of [...Object.keys(own ?? {}), ...Object.keys(will ?? {})]) properties.add(name);
    }
  }
  assert.deepEqual([...types].sort(), packetTypes.filter((t) => t !== undefined).sort());
  assert.deepEqual([...properties].sort(), Object.keys(propertyValues).sort());
});

test('theirs: user properties lose what a map cannot keep', () => {
  assert.deepEqual(
    throughMap([
      ['a', ''],
      ['b', '2'],
      ['a', 'x'],
      ['a', 'y'],
    ]),
    [
      ['a', 'x'],
      ['a', 'y'],
      ['b', '2'],
    ],
  );
});

/** The packet with bytes of its own, so that overwriting the chunk cannot change it. */
function copied(packet: Packet): Packet {
  return structuredClone({ ...packet }) as Packet;
}

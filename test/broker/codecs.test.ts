import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import { readMessage, writeMessage } from '#broker/forward-frame.js';
import { decodeEpoch, decodeEpochReply, decodeLookup, decodeRegister, decodeRegisterReply, decodeRow, encodeRow } from '#broker/registry-row.js';
import { decodeRetainedBody, decodeRetainedRow, decodeRetainPut, encodeRetainedBody } from '#broker/retained-row.js';
import { brokerSchema, registryShards, registryTableOf } from '#broker/schema.js';
import { decodeDiscard, decodeTakeover, decodeTakeoverReply, encodeTakeover } from '#broker/takeover-frame.js';
import { decodeKeys } from '#db/command-body.js';
import type { Message } from '#session/message.js';

const decoders: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  decodeRow,
  decodeLookup,
  decodeRegister,
  decodeRegisterReply,
  decodeEpoch,
  decodeEpochReply,
  decodeTakeover,
  decodeTakeoverReply,
  decodeDiscard,
  decodeRetainedRow,
  decodeRetainedBody,
  decodeRetainPut,
  decodeKeys,
  readMessage: (bytes) => readMessage(new ByteReader(bytes), 0),
};

for (const [name, decode] of Object.entries(decoders)) {
  test(`${name}: any bytes are decoded or malformed, nothing else`, () => {
    const prng = new Prng(name.length);
    let malformed = 0;
    for (let i = 0; i < 5_000; i++) {
      const bytes = prng.bytes(prng.int(120));
      for (let k = 0; k < 8 && k < bytes.length; k++) if (prng.chance(0.6)) bytes[k] = prng.int(4);
      try {
        decode(bytes);
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error;
        malformed++;
      }
    }
    assert.ok(malformed > 0);
  });
}

const claim = (n: number, also: number[] = []) => ({ nodeId: n.toString(16).padStart(32, '0'), incarnation: n, epoch: 2 ** 40 + n, also });

test('registry rows, takeover requests, messages come back as they were', () => {
  const row = {
    owner: claim(3),
    holder: claim(4, [1, 2]),
    sessionExpiryInterval: 0xffff_ffff,
    disconnectedAtMs: 1_700_000_000_000,
    displaced: [claim(5), claim(6, [9])],
    will: Uint8Array.of(1, 2),
    durable: false,
  };
  assert.deepEqual(decodeRow(encodeRow(row)), row);
  assert.deepEqual(decodeRow(encodeRow({ ...row, owner: undefined, displaced: [] })).owner, undefined);
  const request = { clientId: 'é', heldEpochs: [7, 5], newEpoch: 9, offset: 2 ** 33, transfer: 1 };
  assert.deepEqual(decodeTakeover(encodeTakeover(request)), request);
  const message: Message = {
    topicName: 'a/é',
    payload: utf8Encode('x'),
    qos: 2,
    retain: true,
    properties: { payloadFormatIndicator: 0, responseTopic: '', userProperties: [] },
    expiresAt: 1_500.5,
    publisherId: '',
    originIncarnation: 2 ** 50,
    originNumber: 0,
    kept: false,
    journalNumber: 0,
  };
  const w = new ByteWriter();
  writeMessage(w, message, 1_000);
  assert.deepEqual(readMessage(new ByteReader(w.finish()), 3_000), { ...message, expiresAt: 3_501 });
  assert.deepEqual(decodeRetainedBody(encodeRetainedBody(message)), {
    payload: message.payload,
    qos: 2,
    publisherId: '',
    originIncarnation: 2 ** 50,
    originNumber: 0,
    properties: message.properties,
  });
});

test('the schema: own ids, each table in its shard, client ids spread over all registry shards', () => {
  const tables = brokerSchema.flatMap((s) => s.tables);
  assert.equal(new Set(tables.map((t) => t.id)).size, tables.length);
  for (const s of brokerSchema) for (const t of s.tables) assert.equal(t.shard, s.name);
  const seen = new Map<string, number>();
  for (let i = 0; i < 4_000; i++) {
    const { shard } = registryTableOf(utf8Encode(`device-${i}`));
    seen.set(shard, (seen.get(shard) ?? 0) + 1);
  }
  assert.equal(seen.size, registryShards);
  for (const n of seen.values()) assert.ok(n > 700);
});

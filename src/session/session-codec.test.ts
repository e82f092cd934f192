import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MalformedError } from '#base/byte-reader.js';
import type { Message, MessageProperties, Qos } from './message.js';
import { makeMessage } from './message.js';
import { OneSession } from './recorder.test.js';
import { type DeferredAck, Session, Subscription } from './session.js';
import { decodeRest, decodeSession, encodeRest, encodeSession } from './session-codec.js';

const qos = fc.constantFrom<Qos>(0, 1, 2);
const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const bytes = fc.uint8Array({ maxLength: 40 });

const properties: fc.Arbitrary<MessageProperties> = fc.record(
  {
    payloadFormatIndicator: fc.constantFrom(0, 1),
    contentType: text,
    responseTopic: text,
    correlationData: bytes,
    userProperties: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 3 }),
  },
  { requiredKeys: [], noNullPrototype: true },
);

const messages: fc.Arbitrary<Message> = fc
  .tuple(
    text,
    bytes,
    qos,
    fc.boolean(),
    fc.option(properties, { nil: undefined }),
    fc.option(fc.integer({ min: -1000, max: 1e9 })),
    text,
    fc.nat(),
    fc.nat(),
  )
  .map(([topicName, payload, q, retain, p, left, publisherId, incarnation, number]) => {
    const m = makeMessage(topicName, payload, q, retain, p, left === null ? Number.POSITIVE_INFINITY : 5000 + left, publisherId);
    m.originIncarnation = incarnation;
    m.originNumber = number;
    m.kept = true;
    return m;
  });

const identifiers = fc.option(fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 3 }), { nil: undefined });

const group = fc.constantFrom(undefined, '$share/g/a');

const owed = (session: Session, packetId: number): DeferredAck => ({
  channel: { flushAcks: () => {} },
  session,
  packetId,
  qos: 2,
  reasonCode: -1,
});

const filled: fc.Arbitrary<Session> = fc
  .record({
    expiry: fc.constantFrom(0, 1, 7200, 0xffffffff),
    username: fc.option(text, { nil: undefined }),
    lastPacketId: fc.nat(65_535),
    filters: fc.uniqueArray(
      fc.tuple(
        text,
        qos,
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom<0 | 1 | 2>(0, 1, 2),
        fc.option(fc.integer({ min: 1, max: 999 }), { nil: undefined }),
      ),
      {
        selector: (f) => f[0],
        maxLength: 5,
      },
    ),
    inflight: fc.uniqueArray(
      fc.tuple(fc.integer({ min: 1, max: 65_535 }), messages, fc.constantFrom<1 | 2>(1, 2), fc.boolean(), identifiers, group),
      {
        selector: (f) => f[0],
        maxLength: 4,
      },
    ),
    awaitingRel: fc.uniqueArray(fc.integer({ min: 1, max: 65_535 }), { maxLength: 4 }),
    queueDropped: fc.nat(),
    queue: fc.array(fc.tuple(messages, qos, fc.boolean(), identifiers, group), { maxLength: 5 }),
  })
  .map((f) => {
    const session = new Session(new OneSession(), 'c', 3, f.expiry, 0);
    session.username = f.username;
    session.lastPacketId = f.lastPacketId;
    for (const [topicFilter, q, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier] of f.filters) {
      session.addSubscription(new Subscription(session, topicFilter, { qos: q, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }));
    }
    for (const [packetId, message, q, released, subscriptionIdentifiers, of] of f.inflight) {
      session.needInflight().add({
        packetId,
        qos: q,
        message: released ? undefined : message,
        retain: released,
        subscriptionIdentifiers,
        group: of,
        released,
        sent: false,
      });
    }
    if (f.awaitingRel.length > 0) session.awaitingRel = new Map(f.awaitingRel.map((id) => [id, id % 2 === 0 ? undefined : owed(session, id)]));
    session.queueDropped = f.queueDropped;
    for (const [message, q, retain, ids, of] of f.queue) session.enqueue(message, q, retain, ids, of);
    return session;
  });

test('a session and its queue come back as they were, on a clock that shows another time', () => {
  fc.assert(
    fc.property(filled, (session) => {
      const now = 5000;
      const later = 77_000;
      const shift = (m: Message | undefined): unknown => (m === undefined ? undefined : { ...m, expiresAt: m.expiresAt + later - now });
      const state = decodeSession(encodeSession(session, now), later);
      assert.equal(state.expiryIntervalS, session.expiryIntervalS);
      assert.equal(state.username, session.username);
      assert.equal(state.lastPacketId, session.lastPacketId);
      assert.deepEqual(
        state.subscriptions,
        [...session.subscriptions.values()].map((s) => ({ topicFilter: s.topicFilter, options: s.options })),
      );
      assert.deepEqual(
        state.inflight.map((e) => ({ ...e })),
        [...(session.inflight?.entries() ?? [])].map((e) => ({ ...e, message: shift(e.message) })),
      );
      assert.deepEqual(state.awaitingRel, [...(session.awaitingRel?.keys() ?? [])]);
      const { queue, ...rest } = decodeRest(encodeRest(session, now, 'ticket'), later);
      const ids = [...(session.awaitingRel?.keys() ?? [])];
      assert.deepEqual(rest, {
        awaitingRel: ids,
        unsettled: ids.filter((packetId) => session.awaitingRel?.get(packetId) !== undefined),
        ticket: 'ticket',
        queueDropped: session.queueDropped,
      });
      assert.equal(queue.length, session.queuedCount);
      for (const [i, item] of queue.entries()) {
        const original = session.queue?.at(i);
        assert.deepEqual({ ...item, message: { ...item.message } }, { ...original, message: shift(original?.message) });
      }
    }),
    { numRuns: 200 },
  );
});

test('damaged bytes are refused, never misread past their end', () => {
  fc.assert(
    fc.property(filled, fc.nat(), fc.nat(255), (session, where, value) => {
      const encodings = [
        { good: encodeSession(session, 0), decodeOwn: decodeSession },
        { good: encodeRest(session, 0, 't'), decodeOwn: decodeRest },
      ];
      for (const { good, decodeOwn } of encodings) {
        const cut = good.slice(0, where % good.length);
        assert.throws(() => decodeOwn(cut, 0), MalformedError);
        const bad = good.slice();
        bad[where % bad.length] = value;
        for (const decode of [decodeSession, decodeRest]) {
          try {
            decode(bad, 0);
          } catch (error) {
            assert.ok(error instanceof MalformedError);
          }
        }
      }
    }),
    { numRuns: 200 },
  );
});

// Valid packets of every kind for the property tests, and how two packets are compared. `oracle.test.ts`
// and `fuzz.test.ts` draw from here; the former checks that nothing is left out. No test of its own.
import fc from 'fast-check';
import type { Packet, Properties, ProtocolVersion } from './packet.js';
import { reasonCodesOf } from './reason-code.js';

/** One seed for all runs; fast-check prints it, and the path to the counterexample, when a property fails. */
const defaultSeed = 20251;
export const fcOptions: { readonly seed: number } = { seed: Number(process.env.STARMESH_FC_SEED ?? defaultSeed) };

export type Direction = 'fromClient' | 'fromServer';

const text = (maxLength = 12): fc.Arbitrary<string> => fc.string({ unit: 'binary', maxLength }).map((s) => s.replaceAll('\0', ''));
const names = ['__proto__', 'constructor', 'toString', 'a', '1', ''];
const bytes = (max = 20): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: max });
const u16 = (min = 0): fc.Arbitrary<number> => fc.integer({ min, max: 0xffff });
const u32 = (min = 0): fc.Arbitrary<number> => fc.integer({ min, max: 0xffffffff });
const qos = fc.constantFrom(0 as const, 1 as const, 2 as const);
const packetId = u16(1);
const topicName = fc
  .array(
    text(6).map((s) => s.replace(/[+#]/g, '')),
    { minLength: 1, maxLength: 5 },
  )
  .map((levels) => levels.join('/'))
  .map((s) => (s === '' ? 'a' : s));
const topicFilter = fc.oneof(topicName, fc.constantFrom('#', '+', 'a/+/b', '+/#', '$share/g/a/#', '/'));
const payload = fc.oneof(
  { weight: 9, arbitrary: bytes(60) },
  { weight: 1, arbitrary: fc.integer({ min: 100, max: 20_000 }).map((n) => new Uint8Array(n).fill(n)) },
);

const userProperties = fc.array(fc.tuple(fc.oneof(text(), fc.constantFrom(...names)), text()), { minLength: 1, maxLength: 4 });
const subscriptionIdentifier = fc.integer({ min: 1, max: 268_435_455 });

/** Each property's values; a packet's are a part of these. */
export const propertyValues: { readonly [K in keyof Properties]-?: fc.Arbitrary<Exclude<Properties[K], undefined>> } = {
  payloadFormatIndicator: fc.constantFrom(0 as const, 1 as const),
  messageExpiryInterval: u32(),
  contentType: text(),
  responseTopic: topicName,
  correlationData: bytes(),
  subscriptionIdentifiers: fc.array(subscriptionIdentifier, { minLength: 1, maxLength: 3 }),
  sessionExpiryInterval: u32(),
  assignedClientIdentifier: text(),
  serverKeepAlive: u16(),
  authenticationMethod: text(),
  authenticationData: bytes(),
  requestProblemInformation: fc.boolean(),
  willDelayInterval: u32(),
  requestResponseInformation: fc.boolean(),
  responseInformation: text(),
  serverReference: text(),
  reasonString: text(),
  receiveMaximum: u16(1),
  topicAliasMaximum: u16(),
  topicAlias: u16(1),
  maximumQoS: fc.constantFrom(0 as const, 1 as const),
  retainAvailable: fc.boolean(),
  userProperties,
  maximumPacketSize: u32(1),
  wildcardSubscriptionAvailable: fc.boolean(),
  subscriptionIdentifiersAvailable: fc.boolean(),
  sharedSubscriptionAvailable: fc.boolean(),
};

const messageProperties = [
  'payloadFormatIndicator',
  'messageExpiryInterval',
  'contentType',
  'responseTopic',
  'correlationData',
  'userProperties',
] as const;
const ackProperties = ['reasonString', 'userProperties'] as const;
const connackProperties = [
  'sessionExpiryInterval',
  'receiveMaximum',
  'maximumQoS',
  'retainAvailable',
  'maximumPacketSize',
  'assignedClientIdentifier',
  'topicAliasMaximum',
  'reasonString',
  'userProperties',
  'wildcardSubscriptionAvailable',
  'subscriptionIdentifiersAvailable',
  'sharedSubscriptionAvailable',
  'serverKeepAlive',
  'responseInformation',
  'serverReference',
  'authenticationMethod',
  'authenticationData',
] as const;

/** Some of the named properties; undefined when it would be none, or before 5.0. */
function some(version: ProtocolVersion, names: readonly (keyof Properties)[]): fc.Arbitrary<Properties | undefined> {
  if (version !== 5) return fc.constant(undefined);
  const model: Record<string, fc.Arbitrary<unknown>> = {};
  for (const name of names) model[name] = propertyValues[name];
  const record = fc.record(model, { requiredKeys: [] }).map((p) => (Object.keys(p).length === 0 ? undefined : (p as Properties)));
  return fc.oneof({ weight: 1, arbitrary: fc.constant(undefined) }, { weight: 3, arbitrary: record });
}

function connect(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const will = fc.record({
    topicName,
    payload: bytes(),
    qos,
    retain: fc.boolean(),
    properties: some(version, [...messageProperties, 'willDelayInterval']),
  });
  const plain = ['sessionExpiryInterval', 'receiveMaximum', 'maximumPacketSize', 'topicAliasMaximum', 'requestResponseInformation'] as const;
  const properties = some(version, [...plain, 'requestProblemInformation', 'userProperties', 'authenticationMethod', 'authenticationData']);
  return fc
    .record({
      type: fc.constant('connect' as const),
      protocolVersion: fc.constant(version),
      clientId: text().map((s) => `c${s}`),
      cleanStart: fc.boolean(),
      keepAlive: u16(),
      will: fc.option(will, { nil: undefined }),
      username: fc.option(text(), { nil: undefined }),
      password: fc.option(bytes(), { nil: undefined }),
      properties,
    })
    .map((p) => {
      if (p.properties?.authenticationMethod === undefined) delete p.properties?.authenticationData;
      if (p.properties !== undefined && Object.keys(p.properties).length === 0) p.properties = undefined;
      return p.username === undefined ? { ...p, password: undefined } : p;
    });
}

function publish(version: ProtocolVersion, direction: Direction): fc.Arbitrary<Packet> {
  const ids = direction === 'fromServer' ? (['subscriptionIdentifiers'] as const) : [];
  return fc
    .record({
      type: fc.constant('publish' as const),
      topicName,
      payload,
      qos,
      retain: fc.boolean(),
      dup: fc.boolean(),
      packetId,
      properties: some(version, [...messageProperties, 'topicAlias', ...ids]),
    })
    .map((p) => (p.qos === 0 ? { ...p, dup: false, packetId: 0 } : p))
    .chain((p) => fc.boolean().map((nameless) => (nameless && p.properties?.topicAlias !== undefined ? { ...p, topicName: '' } : p)));
}

function ack(type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp', version: ProtocolVersion): fc.Arbitrary<Packet> {
  const reasonCode = version === 5 ? fc.constantFrom(...reasonCodesOf[type]) : fc.constant(0);
  return fc.record({ type: fc.constant(type), packetId, reasonCode, properties: some(version, ackProperties) });
}

function fromClient(version: ProtocolVersion): fc.Arbitrary<Packet>[] {
  const subscription = fc.record({
    topicFilter,
    qos,
    noLocal: version === 5 ? fc.boolean() : fc.constant(false),
    retainAsPublished: version === 5 ? fc.boolean() : fc.constant(false),
    retainHandling: version === 5 ? fc.constantFrom(0 as const, 1 as const, 2 as const) : fc.constant(0 as const),
  });
  const lawful = subscription.map((s) => (s.topicFilter.startsWith('$share/') ? { ...s, noLocal: false } : s));
  const one = some(version, ['subscriptionIdentifiers', 'userProperties']).map((p) =>
    p?.subscriptionIdentifiers === undefined ? p : { ...p, subscriptionIdentifiers: p.subscriptionIdentifiers.slice(0, 1) },
  );
  return [
    fc.record({
      type: fc.constant('subscribe' as const),
      packetId,
      subscriptions: fc.array(lawful, { minLength: 1, maxLength: 4 }),
      properties: one,
    }),
    fc.record({
      type: fc.constant('unsubscribe' as const),
      packetId,
      topicFilters: fc.array(topicFilter, { minLength: 1, maxLength: 4 }),
      properties: some(version, ['userProperties']),
    }),
    fc.constant({ type: 'pingreq' as const }),
  ];
}

function fromServer(version: ProtocolVersion): fc.Arbitrary<Packet>[] {
  const v5 = version === 5;
  const packets: fc.Arbitrary<Packet>[] = [
    fc
      .record({
        type: fc.constant('connack' as const),
        sessionPresent: version === 3 ? fc.constant(false) : fc.boolean(),
        reasonCode: v5 ? fc.constantFrom(...reasonCodesOf.connack) : fc.integer({ min: 0, max: 5 }),
        properties: some(version, connackProperties),
      })
      .map((p) => (p.reasonCode === 0 ? p : { ...p, sessionPresent: false })),
    fc.record({
      type: fc.constant('suback' as const),
      packetId,
      reasonCodes: fc.array(v5 ? fc.constantFrom(...reasonCodesOf.suback) : fc.constantFrom(0, 1, 2, 0x80), { minLength: 1, maxLength: 4 }),
      properties: some(version, ackProperties),
    }),
    fc.record({
      type: fc.constant('unsuback' as const),
      packetId,
      reasonCodes: v5 ? fc.array(fc.constantFrom(...reasonCodesOf.unsuback), { minLength: 1, maxLength: 4 }) : fc.constant<number[]>([]),
      properties: some(version, ackProperties),
    }),
    fc.constant({ type: 'pingresp' as const }),
  ];
  return packets;
}

function closing(version: ProtocolVersion, direction: Direction): fc.Arbitrary<Packet>[] {
  const packets: fc.Arbitrary<Packet>[] = [];
  if (version === 5 || direction === 'fromClient') {
    const own = direction === 'fromClient' ? (['sessionExpiryInterval'] as const) : (['serverReference'] as const);
    packets.push(
      fc.record({
        type: fc.constant('disconnect' as const),
        reasonCode: version === 5 ? fc.constantFrom(...reasonCodesOf.disconnect) : fc.constant(0),
        properties: some(version, [...ackProperties, ...own]),
      }),
    );
  }
  if (version === 5) {
    packets.push(
      fc.record({
        type: fc.constant('auth' as const),
        reasonCode: fc.constantFrom(...reasonCodesOf.auth),
        properties: some(version, [...ackProperties, 'authenticationMethod', 'authenticationData']),
      }),
    );
  }
  return packets;
}

/** Any packet that one side may send after CONNECT, or instead of it: CONNECT itself is {@link arbitraryConnect}. */
export function arbitraryPacket(version: ProtocolVersion, direction: Direction): fc.Arbitrary<Packet> {
  const acks = (['puback', 'pubrec', 'pubrel', 'pubcomp'] as const).map((type) => ack(type, version));
  const own = direction === 'fromClient' ? fromClient(version) : fromServer(version);
  return fc.oneof({ weight: 4, arbitrary: publish(version, direction) }, ...[...acks, ...own, ...closing(version, direction)]);
}

export function arbitraryConnect(version: ProtocolVersion): fc.Arbitrary<Packet> {
  return connect(version);
}

/** A value as plain data without absent fields, bytes as hexadecimal: equal packets become deeply equal. */
export function clean(value: unknown): unknown {
  if (value instanceof Uint8Array) return `bytes:${Buffer.from(value).toString('hex')}`;
  if (Array.isArray(value)) return value.map(clean);
  if (typeof value !== 'object' || value === null) return value;
  const out: [string, unknown][] = [];
  for (const [k, v] of Object.entries(value)) if (v !== undefined) out.push([k, clean(v)]);
  return Object.fromEntries(out);
}

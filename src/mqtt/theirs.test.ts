// Between the packets of Starmesh and those of `mqtt-packet` 9, which serves as an oracle. No
// test of its own. What that library cannot say is said here once:
// - it keeps User Properties in a map: the order among different names is lost, and an empty value is
//   overwritten by the next one of the same name;
// - flags that are a byte are booleans, Payload Format Indicator too;
// - a SUBSCRIBE before 5.0 has no options but the QoS.
import mqttPacket from 'mqtt-packet';
import type { Packet, Properties, ProtocolVersion, UserProperty } from './packet.js';

type Their = { [name: string]: unknown };

function userMap(pairs: readonly UserProperty[]): { [name: string]: string | string[] } {
  const map: { [name: string]: string | string[] } = Object.create(null);
  for (const [name, value] of pairs) {
    const known = map[name];
    if (!known) map[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else map[name] = [known, value];
  }
  return map;
}

/** What is left of user properties, and in which order, once they have been in a map. */
export function throughMap(pairs: readonly UserProperty[]): UserProperty[] {
  const out: UserProperty[] = [];
  for (const [name, value] of Object.entries(userMap(pairs))) for (const v of Array.isArray(value) ? value : [value]) out.push([name, v]);
  return out;
}

function theirProperties(p: Properties | undefined): Their | undefined {
  if (p === undefined) return undefined;
  const { payloadFormatIndicator, subscriptionIdentifiers: ids, userProperties, ...rest } = p;
  const out: Their = { ...rest };
  for (const [name, value] of Object.entries(out)) if (value instanceof Uint8Array) out[name] = Buffer.from(value);
  if (payloadFormatIndicator !== undefined) out.payloadFormatIndicator = payloadFormatIndicator === 1;
  if (ids !== undefined) out.subscriptionIdentifier = ids.length === 1 ? ids[0] : ids;
  if (userProperties !== undefined) out.userProperties = userMap(userProperties);
  return out;
}

/** The packet as `mqtt-packet` has it after parsing, and takes it for generating. */
export function toTheirs(packet: Packet, version: ProtocolVersion): Their {
  const properties = 'properties' in packet ? theirProperties(packet.properties) : undefined;
  const v5 = version === 5;
  switch (packet.type) {
    case 'connect': {
      const { will } = packet;
      return {
        cmd: 'connect',
        protocolId: packet.protocolVersion === 3 ? 'MQIsdp' : 'MQTT',
        protocolVersion: packet.protocolVersion,
        bridgeMode: packet.bridgeMode,
        clean: packet.cleanStart,
        clientId: packet.clientId,
        keepalive: packet.keepAlive,
        username: packet.username,
        password: packet.password && Buffer.from(packet.password),
        will: will && {
          topic: will.topicName,
          payload: Buffer.from(will.payload),
          qos: will.qos,
          retain: will.retain,
          properties: theirProperties(will.properties),
        },
        properties,
      };
    }
    case 'connack':
      return { cmd: 'connack', sessionPresent: packet.sessionPresent, [v5 ? 'reasonCode' : 'returnCode']: packet.reasonCode, properties };
    case 'publish':
      return {
        cmd: 'publish',
        topic: packet.topicName,
        payload: Buffer.from(packet.payload),
        qos: packet.qos,
        retain: packet.retain,
        dup: packet.dup,
        messageId: packet.qos === 0 ? undefined : packet.packetId,
        properties,
      };
    case 'subscribe':
      return {
        cmd: 'subscribe',
        messageId: packet.packetId,
        subscriptions: packet.subscriptions.map((s) =>
          v5
            ? { topic: s.topicFilter, qos: s.qos, nl: s.noLocal, rap: s.retainAsPublished, rh: s.retainHandling }
            : { topic: s.topicFilter, qos: s.qos },
        ),
        properties,
      };
    case 'unsubscribe':
      return { cmd: 'unsubscribe', messageId: packet.packetId, unsubscriptions: packet.topicFilters, properties };
    case 'suback':
      return { cmd: 'suback', messageId: packet.packetId, granted: packet.reasonCodes, properties };
    case 'unsuback':
      return { cmd: 'unsuback', messageId: packet.packetId, granted: v5 ? packet.reasonCodes : undefined, properties };
    case 'pingreq':
    case 'pingresp':
      return { cmd: packet.type };
    case 'disconnect':
    case 'auth':
      return { cmd: packet.type, reasonCode: v5 ? packet.reasonCode : undefined, properties };
    default:
      return { cmd: packet.type, messageId: packet.packetId, reasonCode: v5 ? packet.reasonCode : undefined, properties };
  }
}

/** The packet after its user properties have been in a map. */
export function asTheirsKeepIt<P extends Packet>(packet: P): P {
  const out: { properties?: Properties | undefined; will?: { properties?: Properties | undefined } | undefined } = { ...packet } as never;
  const mend = (p: Properties | undefined): Properties | undefined =>
    p?.userProperties === undefined ? p : { ...p, userProperties: throughMap(p.userProperties) };
  if (out.properties !== undefined) out.properties = mend(out.properties);
  if (out.will !== undefined) out.will = { ...out.will, properties: mend(out.will.properties) };
  return out as P;
}

/** What `mqtt-packet` makes of one frame: its packet without the fields of the fixed header that are not the packet's, or why not. */
export function theirVerdict(frame: Uint8Array, version: ProtocolVersion): { packet?: Their; error?: string } {
  const parser = mqttPacket.parser({ protocolVersion: version });
  const verdict: { packet?: Their; error?: string } = {};
  parser.on('packet', (p) => {
    verdict.packet ??= p as unknown as Their;
  });
  parser.on('error', (e: Error) => {
    verdict.error ??= e.message;
  });
  try {
    parser.parse(Buffer.from(frame));
  } catch (e) {
    verdict.error ??= `throws ${String(e)}`;
  }
  if (verdict.error !== undefined) return { error: verdict.error };
  const { packet } = verdict;
  if (packet !== undefined) {
    delete packet.length;
    if (packet.cmd !== 'publish') for (const name of ['qos', 'dup', 'retain', 'topic', 'payload']) delete packet[name];
  }
  return verdict;
}

export function theirBytes(packet: Packet, version: ProtocolVersion): Uint8Array {
  return mqttPacket.generate(toTheirs(packet, version) as never, { protocolVersion: version });
}

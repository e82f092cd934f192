// CONNECT (3.1) and CONNACK (3.2): checks what the packet alone can tell, then asks the broker, which
// answers with `accept` or `refuse`.
import { copyBytes } from '#base/bytes.js';
import { fitsWithin } from '#mqtt/encoder.js';
import type { ConnackPacket, ConnectPacket, Properties, Will } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { isOfFormat } from '#mqtt/text.js';
import type { Channel } from './channel.js';
import { noMaximum } from './channel.js';
import { neverExpires } from './limits.js';
import { OutAliases } from './out-aliases.js';
import type { Session } from './session.js';

/** Called by the channel in state `idle`. */
export function onConnect(channel: Channel, packet: ConnectPacket, now: number): void {
  const { limits } = channel;
  const p = packet.properties;
  channel.state = 'connecting';
  channel.version = packet.protocolVersion;
  channel.clientId = packet.clientId;
  channel.username = packet.username;
  channel.cleanStart = packet.cleanStart;
  channel.bridgeMode = packet.bridgeMode === true;
  channel.authMethod = p?.authenticationMethod;
  const aliases = Math.min(p?.topicAliasMaximum ?? 0, limits.maxTopicAliasOut);
  if (aliases > 0) channel.outAliases = new OutAliases(aliases);
  if (p?.maximumPacketSize !== undefined) channel.maximumPacketSize = Math.min(p.maximumPacketSize, noMaximum);
  const refused = reasonToRefuse(channel, packet);
  if (refused !== 0) {
    refuse(channel, refused, now);
    return;
  }
  channel.window = Math.min(limits.maxInflight, p?.receiveMaximum ?? 65_535); // [MQTT-4.9.0-1]
  channel.keepAliveS = limits.serverKeepAliveS > 0 ? limits.serverKeepAliveS : packet.keepAlive; // [MQTT-3.2.2-21] [MQTT-3.2.2-22]
  if (packet.will !== undefined) channel.will = keepWill(packet.will);
  channel.effects.connect(channel, packet, now);
}

/** 0, or the code of CONNACK. */
function reasonToRefuse(channel: Channel, packet: ConnectPacket): number {
  const { limits } = channel;
  // Without `auth` enhanced authentication is not offered. [MQTT-4.12.0-1]
  if (channel.authMethod !== undefined && channel.effects.auth === undefined) return ReasonCode.badAuthenticationMethod;
  // `mqtt.max_clientid_len` is at least 23 [MQTT-3.1.3-5]; refused is closed [MQTT-3.1.3-8].
  if (packet.clientId.length > limits.maxClientIdLength) return ReasonCode.clientIdentifierNotValid;
  if (packet.clientId.length === 0) {
    // 3.1 has no empty client identifiers; 3.1.1 only with Clean Session. [MQTT-3.1.3-8] of 3.1.1
    if (packet.protocolVersion === 3 || (packet.protocolVersion === 4 && !packet.cleanStart)) return ReasonCode.clientIdentifierNotValid;
  }
  const will = packet.will;
  if (will !== undefined) {
    if (will.qos > limits.maxQos) return ReasonCode.qosNotSupported; // [MQTT-3.2.2-12]
    if (will.retain && !limits.retainAvailable) return ReasonCode.retainNotSupported; // [MQTT-3.2.2-13]
    if (limits.payloadFormatCheck && !isOfFormat(will.payload, will.properties)) return ReasonCode.payloadFormatInvalid; // section 3.1.3.2.3
  }
  return 0;
}

/** The will outlives the packet: it stands with the connection, and later with the session. [MQTT-3.1.2-7] */
function keepWill(will: Will): Will {
  const properties = will.properties;
  const kept: Will = { topicName: will.topicName, payload: copyBytes(will.payload), qos: will.qos, retain: will.retain };
  if (properties === undefined) return kept;
  kept.properties = properties.correlationData === undefined ? properties : { ...properties, correlationData: copyBytes(properties.correlationData) };
  return kept;
}

/** Session Expiry Interval in seconds that the CONNECT asks for. */
export function sessionExpiryOf(channel: Channel, packet: ConnectPacket): number {
  if (packet.protocolVersion === 5) return packet.properties?.sessionExpiryInterval ?? 0;
  return packet.cleanStart ? 0 : Math.min(channel.limits.sessionExpiryIntervalS, neverExpires);
}

/** The broker has a session for the client: binds it and answers CONNACK, once. The broker then calls `channel.start`. [MQTT-3.2.0-2] */
export function accept(
  channel: Channel,
  session: Session,
  sessionPresent: boolean,
  packet: ConnectPacket,
  wallNow: number,
  reasonString?: string,
): void {
  channel.state = 'connected';
  channel.session = session;
  channel.connectedAt = wallNow;
  session.channel = channel;
  session.inflight?.restart();
  channel.out.setKeepAlive(channel.keepAliveS);
  const properties = channel.version === 5 ? offers(channel, packet, reasonString) : undefined;
  const connack: ConnackPacket = { type: 'connack', sessionPresent, reasonCode: 0, properties };
  if (channel.maximumPacketSize < noMaximum && !fitsWithin(connack, channel.version, channel.maximumPacketSize)) {
    // Nothing may come before CONNACK, which the client does not take: there is nothing to talk about.
    channel.end({ by: 'server', reasonCode: ReasonCode.packetTooLarge, normal: false }, session.home.now());
    return;
  }
  channel.effects.connack?.(channel, 0);
  channel.out.send(connack, channel.version, channel.maximumPacketSize); // [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
}

/** What a 5.0 client must know of our limits. */
function offers(channel: Channel, packet: ConnectPacket, reasonString: string | undefined): Properties {
  const { limits } = channel;
  const out: Properties = { receiveMaximum: limits.receiveMaximum, maximumPacketSize: limits.maxPacketSizeBytes };
  if (limits.maxTopicAlias > 0) out.topicAliasMaximum = limits.maxTopicAlias;
  if (limits.maxQos < 2) out.maximumQoS = limits.maxQos === 1 ? 1 : 0; // [MQTT-3.2.2-9]
  if (!limits.retainAvailable) out.retainAvailable = false;
  if (!limits.wildcardSubscription) out.wildcardSubscriptionAvailable = false;
  if (!limits.sharedSubscription) out.sharedSubscriptionAvailable = false;
  if (packet.clientId === '' || packet.clientIdAssigned === true) out.assignedClientIdentifier = channel.clientId; // [MQTT-3.2.2-16]
  if (limits.serverKeepAliveS > 0) out.serverKeepAlive = limits.serverKeepAliveS;
  // [MQTT-3.1.2-28]
  if (packet.properties?.requestResponseInformation === true && limits.responseInformation !== '') {
    out.responseInformation = limits.responseInformation;
  }
  if (channel.authMethod !== undefined) out.authenticationMethod = channel.authMethod; // [MQTT-4.12.0-5] [MQTT-4.12.0-6]
  if (channel.authData !== undefined) out.authenticationData = channel.authData;
  if (reasonString !== undefined && packet.properties?.requestProblemInformation !== false) out.reasonString = reasonString;
  return out;
}

/** CONNACK with a code of 0x80 and above, then the end. [MQTT-3.2.2-7] */
export function refuse(channel: Channel, reasonCode: number, now: number, properties?: Properties): void {
  if (channel.state !== 'connecting') return;
  channel.effects.connack?.(channel, reasonCode);
  channel.out.send({ type: 'connack', sessionPresent: false, reasonCode, properties }, channel.version, channel.maximumPacketSize); // [MQTT-3.2.2-6]
  channel.end({ by: 'server', reasonCode, normal: false }, now);
}

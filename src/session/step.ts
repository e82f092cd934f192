// What a channel does with a packet, by state and type. `listener/connection` calls `step` for each
// packet, the broker calls `start` once it has accepted a CONNECT.
import type { AuthPacket, Packet, PublishPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { TopicEntry } from '#mqtt/topic-cache.js';
import type { Channel, ClientShortcut } from './channel.js';
import { noMaximum } from './channel.js';
import { pump } from './deliver.js';
import { onConnect } from './on-connect.js';
import { onDisconnect } from './on-disconnect.js';
import { onPuback } from './on-puback.js';
import { onPubcomp } from './on-pubcomp.js';
import { onPublish } from './on-publish.js';
import { onPubrec } from './on-pubrec.js';
import { onPubrel } from './on-pubrel.js';
import { onSubscribe } from './on-subscribe.js';
import { onUnsubscribe } from './on-unsubscribe.js';

/** `step` for a PUBLISH. */
export function stepPublish(channel: Channel, packet: PublishPacket, now: number): void {
  const session = channel.session;
  if (session === undefined) stepUnbound(channel, packet, now);
  else onPublish(channel, session, packet, now);
}

/** A plain PUBLISH of QoS 0 in `bytes[start, end)`, which are good for the time of the call alone. False: it is to be decoded and stepped. */
export function stepLent(channel: Channel, topicName: string, bytes: Uint8Array, start: number, end: number, now: number): boolean {
  const { effects, limits } = channel;
  if (channel.state !== 'connected' || effects.pass === undefined || limits.messageExpiryMs !== Number.POSITIVE_INFINITY) return false;
  return effects.pass(channel, topicName, bytes, start, end, now);
}

/** For plain PUBLISHes of QoS 0 to a name, of which {@link stepLent} has just taken one. */
export function shortcutOf(channel: Channel, topic: TopicEntry, before: ClientShortcut | undefined, now: number): ClientShortcut | undefined {
  return channel.state === 'connected' ? channel.effects.shortcut?.(channel, topic, before, now) : undefined;
}

/** Handles one packet of the client. */
export function step(channel: Channel, packet: Packet, now: number): void {
  const session = channel.session;
  if (session === undefined) {
    stepUnbound(channel, packet, now);
    return;
  }
  switch (packet.type) {
    case 'publish':
      onPublish(channel, session, packet, now);
      return;
    case 'puback':
      onPuback(channel, session, packet, now);
      return;
    case 'pubrec':
      onPubrec(channel, session, packet, now);
      return;
    case 'pubrel':
      onPubrel(channel, session, packet);
      return;
    case 'pubcomp':
      onPubcomp(channel, session, packet, now);
      return;
    case 'subscribe':
      onSubscribe(channel, session, packet, now);
      return;
    case 'unsubscribe':
      onUnsubscribe(channel, session, packet, now);
      return;
    case 'pingreq':
      channel.out.send(pingresp, channel.version, noMaximum); // [MQTT-3.12.4-1]
      session.home.hooks?.pinged?.(session);
      return;
    case 'disconnect':
      onDisconnect(channel, session, packet, now);
      return;
    case 'auth':
      onAuth(channel, packet, now);
      return;
    default:
      // A second CONNECT [MQTT-3.1.0-2], or what only servers send.
      channel.fail(ReasonCode.protocolError, now);
      return;
  }
}

/** [MQTT-4.12.0-7]: only who named a method in CONNECT may send it. */
function onAuth(channel: Channel, packet: AuthPacket, now: number): void {
  if (channel.authMethod === undefined || channel.effects.auth === undefined) channel.fail(ReasonCode.protocolError, now);
  else channel.effects.auth(channel, packet, now);
}

const pingresp: Packet = { type: 'pingresp' };

function stepUnbound(channel: Channel, packet: Packet, now: number): void {
  if (channel.state === 'closed') return;
  if (channel.state === 'idle' && packet.type === 'connect') {
    onConnect(channel, packet, now);
    return;
  }
  if (channel.state === 'idle' || packet.type === 'connect') {
    // [MQTT-3.1.0-1] [MQTT-3.1.0-2]
    channel.fail(ReasonCode.protocolError, now);
    return;
  }
  if (channel.authMethod !== undefined) {
    // Until CONNACK nothing but AUTH and DISCONNECT may come. [MQTT-3.1.2-30]
    if (packet.type === 'auth') onAuth(channel, packet, now);
    else if (packet.type === 'disconnect') channel.end({ by: 'client', reasonCode: packet.reasonCode, normal: true }, now);
    else channel.fail(ReasonCode.protocolError, now);
    return;
  }
  channel.early ??= [];
  if (channel.early.length >= channel.limits.maxHeldPackets) {
    channel.fail(ReasonCode.quotaExceeded, now);
    return;
  }
  channel.early.push(packet);
  channel.holdUntilConnected();
}

/** The broker has bound the session and sent CONNACK: what waits is sent, and what came early is handled. */
export function start(channel: Channel, now: number): void {
  const early = channel.early;
  channel.early = undefined;
  if (channel.session !== undefined) pump(channel.session);
  if (early !== undefined) for (const packet of early) step(channel, packet, now);
  if (channel.state === 'connected') channel.release();
}

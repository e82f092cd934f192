// What an embedding program may have itself told, or asked, while the broker works. One slot per point,
// named after EMQX's hook points; undefined while nobody hooked it, which is all that a hot path looks at.
// The parts of the broker call the slots; `node` fills them and keeps lists and priorities. A slot that
// is given `answer` decides: it answers once, now or later.
// Invariants: slots do not throw; what they are given is not changed by them.
import { copyBytes } from '#base/bytes.js';
import type { ConnectPacket } from '#mqtt/packet.js';
import type { Channel, ChannelEnd, SubscribeRequest } from '#session/channel.js';
import type { Message } from '#session/message.js';
import type { DeliveryHooks, Session, SubscriptionOptions } from '#session/session.js';
import type { AccessAction, AccessClient, AccessRequest } from './access.js';

/** `terminated` is the last of every session. */
export type SessionMoment = 'created' | 'resumed' | 'discarded' | 'takenover' | 'terminated';

/** The message that goes on, or the reason code with which it is refused: 0 and 0x10 take it in without a word. */
export type PublishVerdict = Message | number;

type Slot<F> = F | undefined;

export class BrokerHooks implements DeliveryHooks {
  /** `client.connect`. `answer`: 0, or the code of CONNACK. The packet is the slot's own. */
  connect: Slot<(channel: Channel, packet: ConnectPacket, answer: (reasonCode: number) => void) => void> = undefined;
  /** `client.connack`: it is about to be sent. */
  connack: Slot<(channel: Channel, reasonCode: number) => void> = undefined;
  /** `client.check_authn_complete`: 0, or why not. Also of a connected client that proved itself once more. */
  authenticated: Slot<(channel: Channel, reasonCode: number) => void> = undefined;
  /** `client.check_authz_complete`, see `HookedAccess`. */
  authorized: Slot<(client: AccessClient, action: AccessAction, topic: string, qos: 0 | 1 | 2, retain: boolean, allowed: boolean) => void> =
    undefined;
  /** `client.authenticate`, see `HookedAccess`. */
  authenticate: Slot<(request: AccessRequest, answer: (reasonCode: number) => void) => void> = undefined;
  /** `client.authorize`. undefined: the rules decide. */
  authorize: Slot<
    (
      client: AccessClient,
      action: AccessAction,
      topic: string,
      qos: 0 | 1 | 2,
      retain: boolean,
      answer: (allowed: boolean | undefined) => void,
    ) => void
  > = undefined;
  /** `client.connected`: CONNACK is out. */
  connected: Slot<(channel: Channel, sessionPresent: boolean) => void> = undefined;
  /** `client.disconnected`: of a client that was connected. */
  disconnected: Slot<(channel: Channel, session: Session, end: ChannelEnd) => void> = undefined;
  /** A connection ended before its client was connected. */
  refused: Slot<(channel: Channel, end: ChannelEnd) => void> = undefined;
  /** `client.subscribe`, per filter that is allowed. `answer`: the granted QoS, or a code from 0x80 on. */
  subscribe: Slot<(channel: Channel, request: SubscribeRequest, answer: (reasonCode: number) => void) => void> = undefined;
  /** `client.unsubscribe`. */
  unsubscribe: Slot<(channel: Channel, topicFilters: readonly string[]) => void> = undefined;
  /** `session.subscribed`: the route is effective; SUBACK follows. */
  subscribed: Slot<(session: Session, topicFilter: string, options: SubscriptionOptions) => void> = undefined;
  /** `session.unsubscribed`: by its client, an operator, or because it lost an exclusive one to another client. */
  unsubscribed: Slot<(session: Session, topicFilter: string) => void> = undefined;
  session: Slot<(moment: SessionMoment, session: Session) => void> = undefined;
  /** `message.publish`: of a client (allowed already), or the broker's own. The message is kept. */
  publish: Slot<(message: Message, channel: Channel | undefined, answer: (verdict: PublishVerdict) => void) => void> = undefined;
  /** `message.dropped`: nobody subscribed to it. */
  dropped: Slot<(message: Message) => void> = undefined;
  delivered: DeliveryHooks['delivered'] = undefined;
  /** `delivery.dropped`. */
  undelivered: DeliveryHooks['undelivered'] = undefined;
  acked: DeliveryHooks['acked'] = undefined;
  /** `delivery.completed`. */
  completed: DeliveryHooks['completed'] = undefined;
  /** `message.puback`. */
  answered: DeliveryHooks['answered'] = undefined;
  answering: DeliveryHooks['answering'] = undefined;
  pinged: DeliveryHooks['pinged'] = undefined;
}

/** A CONNECT that may be held past the turn it came in. */
export function keepConnect(packet: ConnectPacket): ConnectPacket {
  const kept = { ...packet };
  if (packet.password !== undefined) kept.password = copyBytes(packet.password);
  const data = packet.properties?.authenticationData;
  if (data !== undefined) kept.properties = { ...packet.properties, authenticationData: copyBytes(data) };
  return kept;
}

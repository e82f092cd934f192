// The hooks of an embedded broker, by EMQX's names: what each is given and what it may answer.
import type { Duplex } from 'node:stream';
import type { MessageProperties } from '#session/message.js';
import type { DropReason } from '#session/session.js';

/** A connection of a client, the same object at every hook. */
export interface HookClient {
  /** '' until `client.connect`, unless the client named itself. */
  readonly clientId: string;
  readonly username: string | undefined;
  /** `1.2.3.4:56789`. */
  readonly peer: string;
  /** 3: MQTT 3.1, 4: 3.1.1, 5: 5.0. */
  readonly protocolVersion: 3 | 4 | 5;
  readonly cleanStart: boolean;
  /** Seconds; 0: none. */
  readonly keepAlive: number;
  readonly connected: boolean;
  /** What was given to `Broker.handle`; undefined: it came by a listener. */
  readonly stream: Duplex | undefined;
  /** Closes the connection, with a reason code for MQTT 5.0 (default 0x98). */
  disconnect(reasonCode?: number): void;
}

export interface HookWill {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
}

export interface HookConnect {
  readonly username: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly will: HookWill | undefined;
}

export interface HookWish {
  readonly action: 'publish' | 'subscribe';
  /** As the client says it. */
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
}

export interface HookMessage {
  readonly topic: string;
  /** Shared with all receivers: do not change it. */
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly properties: MessageProperties | undefined;
  /** Client id; undefined: a broker's own message. */
  readonly publisherId: string | undefined;
}

export interface HookSession {
  readonly clientId: string;
  readonly username: string | undefined;
  /** Wall clock ms. */
  readonly createdAt: number;
}

export interface HookSubscription {
  readonly topicFilter: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
}

export interface HookEnd {
  readonly by: 'client' | 'server' | 'transport';
  /** Of MQTT 5.0. */
  readonly reasonCode: number;
}

/** EMQX's words, and `unkept`: a persistent session cannot be written to disk. */
export type HookDropReason = DropReason;

type Maybe<T> = T | Promise<T>;

/**
 * Deciding hooks (those that may return something) are asked one after the other, the highest priority first; the first
 * that returns something decides. They may answer by a promise; one that throws, rejects or takes longer than
 * `hookDeadlineMs` has refused. The others are told; what they return is ignored, what they throw is logged and counted.
 */
export interface Hooks {
  /** CONNECT came. false or a reason code from 0x80 on refuses it (false: 0x87). */
  'client.connect': (client: HookClient, connect: HookConnect) => Maybe<boolean | number | undefined>;
  /** false or a reason code from 0x80 on refuses it (false: 0x86); true ends the asking of hooks. Bans stay in force. */
  'client.authenticate': (client: HookClient, proof: HookConnect) => Maybe<boolean | number | undefined>;
  /** true allows, false denies; nothing: the next hook, in the end the cluster's rules. Wills are asked about too. */
  'client.authorize': (client: HookClient, wish: HookWish) => Maybe<boolean | undefined>;
  /** Who the client is was decided: 0, or why it is refused. Also of a connected client that proves itself once more. */
  'client.check_authn_complete': (client: HookClient, reasonCode: number) => void;
  /** A wish to publish or subscribe was decided: by hooks, the cluster's rules, or what is remembered of them. */
  'client.check_authz_complete': (client: HookClient, wish: HookWish, allowed: boolean) => void;
  /** CONNACK is about to be sent; 0, or the code that refuses. Not of a CONNECT that cannot be read. */
  'client.connack': (client: HookClient, reasonCode: number) => void;
  /** CONNACK is out. */
  'client.connected': (client: HookClient, sessionPresent: boolean) => void;
  'client.disconnected': (client: HookClient, end: HookEnd) => void;
  /** Per topic filter that authorization allows. false (0x87) or a code from 0x80 on refuses it, 0, 1, 2 is the QoS granted at most. */
  'client.subscribe': (client: HookClient, subscription: HookSubscription) => Maybe<boolean | 0 | 1 | 2 | number | undefined>;
  'client.unsubscribe': (client: HookClient, topicFilters: readonly string[]) => void;
  'session.created': (session: HookSession) => void;
  'session.subscribed': (session: HookSession, subscription: HookSubscription) => void;
  'session.unsubscribed': (session: HookSession, topicFilter: string) => void;
  'session.resumed': (session: HookSession) => void;
  'session.discarded': (session: HookSession) => void;
  'session.takenover': (session: HookSession) => void;
  'session.terminated': (session: HookSession) => void;
  /**
   * A PUBLISH that authorization allows (`client`), or a message of this broker's own, wills included (no `client`). false
   * (0x87) or a reason code from 0x80 on refuses it: MQTT 5.0 clients see it in the acknowledgement. An object is what is
   * changed; all hooks are asked, each sees what those before it changed. What would be no PUBLISH refuses it, as a failure.
   */
  'message.publish': (message: HookMessage, client: HookClient | undefined) => Maybe<boolean | number | Partial<HookMessage> | undefined>;
  /**
   * PUBACK or PUBREC is about to be sent for what this client published (the message is as it came, before `message.publish`
   * changed it): 0, 0x10 (nobody is subscribed), or the code that refuses, which clients before MQTT 5.0 do not see.
   */
  'message.puback': (client: HookClient, message: HookMessage, reasonCode: number) => void;
  /** A PUBLISH was sent to the client. */
  'message.delivered': (client: HookClient, message: HookMessage) => void;
  /** The client has acknowledged it (PUBACK, PUBREC). */
  'message.acked': (client: HookClient, message: HookMessage) => void;
  /**
   * The client has acknowledged the whole of a delivery of QoS 1 or 2 (PUBACK, PUBCOMP). `latencyMs`: since it was first sent;
   * undefined: that was on another node, or before somebody hooked this.
   */
  'delivery.completed': (session: HookSession, message: HookMessage, latencyMs: number | undefined) => void;
  /** Nobody is subscribed. */
  'message.dropped': (message: HookMessage) => void;
  /** A message was not delivered to the session, whose client may be away: `metrics()` counts them by the same reasons. */
  'delivery.dropped': (session: HookSession, message: HookMessage, reason: HookDropReason) => void;
  /** Not among EMQX's: a connection ended before its client was connected. */
  'client.refused': (client: HookClient, end: HookEnd) => void;
  /** Not among EMQX's: PINGREQ. */
  'client.ping': (client: HookClient) => void;
}

export type HookName = keyof Hooks;

// Every bound and offer of a session and its channels, with EMQX's names where it has one. Made once
// from the configuration (zone `mqtt`), shared by all sessions, never changed.
import type { QoS } from '#mqtt/packet.js';
import type { QueuePriorities } from './queue.js';

export interface SessionLimits {
  /** `mqtt.max_inflight`: QoS 1/2 messages sent and not yet completed; a smaller Receive Maximum of the client counts. */
  readonly maxInflight: number;
  /** `mqtt.max_mqueue_len`: messages queued per session. */
  readonly maxQueuedMessages: number;
  /** Bytes queued per session: topic names, payloads and a fixed overhead for each message. */
  readonly maxQueuedBytes: number;
  /** `mqtt.mqueue_store_qos0`: whether QoS 0 messages wait for an absent client whose session lives. */
  readonly queueQos0: boolean;
  /** `mqtt.mqueue_priorities`, `mqtt.mqueue_default_priority`; undefined: what waits leaves as it came. */
  readonly priorities: QueuePriorities | undefined;
  /** `mqtt.upgrade_qos`: deliveries have the QoS of the subscription where that is higher than the publisher's. */
  readonly upgradeQos: boolean;
  /** Our Receive Maximum: QoS 1/2 messages of a client that are not yet completed; not above `maxAwaitingRel`, or messages within it would be refused. */
  readonly receiveMaximum: number;
  /** `mqtt.max_awaiting_rel`: QoS 2 messages of a client that wait for its PUBREL. */
  readonly maxAwaitingRel: number;
  /** `mqtt.max_packet_size`: bytes of a packet from a client. */
  readonly maxPacketSizeBytes: number;
  /** `mqtt.max_clientid_len`: characters. */
  readonly maxClientIdLength: number;
  /** `mqtt.max_topic_levels`. */
  readonly maxTopicLevels: number;
  /** `mqtt.max_topic_alias`: aliases a client may set on one connection. Each may hold a name of 64 KiB. */
  readonly maxTopicAlias: number;
  /** `mqtt.max_topic_alias_out`: aliases that we set on one connection; a smaller Topic Alias Maximum of the client counts. */
  readonly maxTopicAliasOut: number;
  /** `mqtt.payload_format_check`: whether a payload that is said to be UTF-8 has to be. */
  readonly payloadFormatCheck: boolean;
  /** `mqtt.max_qos_allowed`. */
  readonly maxQos: QoS;
  /** `mqtt.retain_available`. */
  readonly retainAvailable: boolean;
  /** `mqtt.wildcard_subscription`. */
  readonly wildcardSubscription: boolean;
  /** `mqtt.shared_subscription`. */
  readonly sharedSubscription: boolean;
  /** `mqtt.exclusive_subscription`. */
  readonly exclusiveSubscription: boolean;
  /** `mqtt.ignore_loop_deliver`: clients before MQTT 5.0 do not get what they publish themselves. */
  readonly ignoreLoopDeliver: boolean;
  /** `mqtt.message_expiry_interval`, in ms: of messages that have none; Infinity: they do not expire. */
  readonly messageExpiryMs: number;
  /** Subscriptions of one session. */
  readonly maxSubscriptions: number;
  /** `mqtt.session_expiry_interval` in seconds: for clients before MQTT 5.0 that ask for a lasting session. */
  readonly sessionExpiryIntervalS: number;
  /** `mqtt.server_keepalive` in seconds; 0: the client's own counts. */
  readonly serverKeepAliveS: number;
  /** `mqtt.response_information`; empty: none. */
  readonly responseInformation: string;
  /** Packets held while a CONNECT is being decided or a publisher is held back; reading stops long before. */
  readonly maxHeldPackets: number;
}

export const defaultLimits: SessionLimits = {
  maxInflight: 32,
  maxQueuedMessages: 1000,
  maxQueuedBytes: 8 * 1024 * 1024,
  queueQos0: true,
  priorities: undefined,
  upgradeQos: false,
  receiveMaximum: 100,
  maxAwaitingRel: 100,
  maxPacketSizeBytes: 1024 * 1024,
  maxClientIdLength: 65_535,
  maxTopicLevels: 128,
  maxTopicAlias: 64,
  maxTopicAliasOut: 64,
  payloadFormatCheck: false,
  maxQos: 2,
  retainAvailable: true,
  wildcardSubscription: true,
  sharedSubscription: true,
  exclusiveSubscription: false,
  ignoreLoopDeliver: false,
  messageExpiryMs: Number.POSITIVE_INFINITY,
  maxSubscriptions: Number.POSITIVE_INFINITY,
  sessionExpiryIntervalS: 7200,
  serverKeepAliveS: 0,
  responseInformation: '',
  maxHeldPackets: 100_000,
};

/** A Session Expiry Interval that never ends. */
export const neverExpires = 0xffffffff;

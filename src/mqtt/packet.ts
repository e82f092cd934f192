// The control packets of MQTT 3.1, 3.1.1 and 5.0 as values: a tagged union on `type`, named as the
// specification names things. The decoder makes them, the encoder writes them, `session` and `broker`
// speak in them. Fields that only MQTT 5.0 has are absent or at their default in older versions.
// Byte fields of decoded packets are views of the received chunk: copy what outlives the turn.

/** 3 = MQTT 3.1, 4 = MQTT 3.1.1, 5 = MQTT 5.0 (the number on the wire). */
export type ProtocolVersion = 3 | 4 | 5;

export type QoS = 0 | 1 | 2;

/** 0 send retained messages on SUBSCRIBE, 1 only if the subscription is new, 2 never. */
export type RetainHandling = 0 | 1 | 2;

export type UserProperty = [name: string, value: string];

/**
 * The properties of MQTT 5.0. Which packet may carry which is checked by the decoder. Undefined means
 * absent; the specification's default for an absent one is the reader's business.
 */
export interface Properties {
  payloadFormatIndicator?: 0 | 1 | undefined;
  /** Seconds. */
  messageExpiryInterval?: number | undefined;
  contentType?: string | undefined;
  responseTopic?: string | undefined;
  correlationData?: Uint8Array | undefined;
  /** At most one in SUBSCRIBE; one per matching subscription in a PUBLISH to a client. */
  subscriptionIdentifiers?: number[] | undefined;
  /** Seconds; 0xFFFFFFFF = never. */
  sessionExpiryInterval?: number | undefined;
  assignedClientIdentifier?: string | undefined;
  /** Seconds. */
  serverKeepAlive?: number | undefined;
  authenticationMethod?: string | undefined;
  authenticationData?: Uint8Array | undefined;
  requestProblemInformation?: boolean | undefined;
  /** Seconds. */
  willDelayInterval?: number | undefined;
  requestResponseInformation?: boolean | undefined;
  responseInformation?: string | undefined;
  serverReference?: string | undefined;
  reasonString?: string | undefined;
  receiveMaximum?: number | undefined;
  topicAliasMaximum?: number | undefined;
  topicAlias?: number | undefined;
  maximumQoS?: 0 | 1 | undefined;
  retainAvailable?: boolean | undefined;
  /** In the order received; a name may occur more than once. */
  userProperties?: UserProperty[] | undefined;
  /** Bytes, the fixed header included. */
  maximumPacketSize?: number | undefined;
  wildcardSubscriptionAvailable?: boolean | undefined;
  subscriptionIdentifiersAvailable?: boolean | undefined;
  sharedSubscriptionAvailable?: boolean | undefined;
}

export interface Will {
  topicName: string;
  payload: Uint8Array;
  qos: QoS;
  retain: boolean;
  properties?: Properties | undefined;
}

export interface ConnectPacket {
  readonly type: 'connect';
  protocolVersion: ProtocolVersion;
  /** The top bit of the version of a 3.1 or 3.1.1 CONNECT: a bridge that asks not to get its own messages back and to keep RETAIN as published. */
  bridgeMode?: boolean | undefined;
  clientId: string;
  /** Set by the server: the client identifier is not the client's own, and CONNACK says so. */
  clientIdAssigned?: boolean | undefined;
  /** Clean Session before 5.0. */
  cleanStart: boolean;
  /** Seconds; 0 = off. */
  keepAlive: number;
  will?: Will | undefined;
  username?: string | undefined;
  password?: Uint8Array | undefined;
  properties?: Properties | undefined;
}

export interface ConnackPacket {
  readonly type: 'connack';
  sessionPresent: boolean;
  /** Decoded from 3.1 and 3.1.1: the return code 0–5. The encoder maps 5.0 codes to return codes for those versions. */
  reasonCode: number;
  properties?: Properties | undefined;
}

export interface PublishPacket {
  readonly type: 'publish';
  /** Empty only with a Topic Alias (5.0). */
  topicName: string;
  payload: Uint8Array;
  qos: QoS;
  retain: boolean;
  dup: boolean;
  /** 0 when `qos` is 0. */
  packetId: number;
  properties?: Properties | undefined;
  /**
   * Only on decoded packets that can be sent on as they are: the whole frame, fixed header included, as a
   * view of the received bytes. It says what was received: change a copy (`{ ...packet }` has no frame).
   */
  readonly raw?: Uint8Array | undefined;
  /** Only with `raw`: where in it the bytes of the Topic Name begin. */
  readonly rawTopicNameAt?: number | undefined;
  /** Only with `raw`: where in it the two bytes of the Packet Identifier are; 0 when `qos` is 0. */
  readonly rawPacketIdAt?: number | undefined;
  /** Only with `raw`, and without making its view: the received bytes, and where in them the frame begins and ends. */
  readonly rawChunk?: Uint8Array | undefined;
  readonly rawStart?: number | undefined;
  readonly rawEnd?: number | undefined;
}

/** What the four acknowledgements of a PUBLISH share. */
interface AckFields {
  packetId: number;
  /** 0 (success) before 5.0. */
  reasonCode: number;
  properties?: Properties | undefined;
}

export interface PubackPacket extends AckFields {
  readonly type: 'puback';
}

export interface PubrecPacket extends AckFields {
  readonly type: 'pubrec';
}

export interface PubrelPacket extends AckFields {
  readonly type: 'pubrel';
}

export interface PubcompPacket extends AckFields {
  readonly type: 'pubcomp';
}

export type AckPacket = PubackPacket | PubrecPacket | PubrelPacket | PubcompPacket;

export interface Subscription {
  topicFilter: string;
  qos: QoS;
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: RetainHandling;
}

export interface SubscribePacket {
  readonly type: 'subscribe';
  packetId: number;
  /** At least one. The decoder checks that each filter is UTF-8, `topic.ts` whether it is a filter. */
  subscriptions: Subscription[];
  properties?: Properties | undefined;
}

export interface SubackPacket {
  readonly type: 'suback';
  packetId: number;
  /** One per subscription, in order: the granted QoS, or a code of 0x80 and above (written as 0x80 before 5.0). */
  reasonCodes: number[];
  properties?: Properties | undefined;
}

export interface UnsubscribePacket {
  readonly type: 'unsubscribe';
  packetId: number;
  /** At least one. */
  topicFilters: string[];
  properties?: Properties | undefined;
}

export interface UnsubackPacket {
  readonly type: 'unsuback';
  packetId: number;
  /** One per topic filter, in order; empty before 5.0. */
  reasonCodes: number[];
  properties?: Properties | undefined;
}

export interface PingreqPacket {
  readonly type: 'pingreq';
}

export interface PingrespPacket {
  readonly type: 'pingresp';
}

export interface DisconnectPacket {
  readonly type: 'disconnect';
  /** 0 (normal disconnection) before 5.0. */
  reasonCode: number;
  properties?: Properties | undefined;
}

/** MQTT 5.0 only. */
export interface AuthPacket {
  readonly type: 'auth';
  reasonCode: number;
  properties?: Properties | undefined;
}

export type Packet =
  | ConnectPacket
  | ConnackPacket
  | PublishPacket
  | PubackPacket
  | PubrecPacket
  | PubrelPacket
  | PubcompPacket
  | SubscribePacket
  | SubackPacket
  | UnsubscribePacket
  | UnsubackPacket
  | PingreqPacket
  | PingrespPacket
  | DisconnectPacket
  | AuthPacket;

export type PacketType = Packet['type'];

/** The type's number on the wire (the high four bits of the first byte); index 0 is reserved. */
export const packetTypes: readonly (PacketType | undefined)[] = [
  undefined,
  'connect',
  'connack',
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'suback',
  'unsubscribe',
  'unsuback',
  'pingreq',
  'pingresp',
  'disconnect',
  'auth',
];

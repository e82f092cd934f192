// An application message on its way through a node: made from a PUBLISH (or a will, or a forwarded
// frame), delivered to sessions. One object per message, shared by all its receivers: never changed
// after it was routed.
import { copyBytes } from '#base/bytes.js';
import type { Properties } from '#mqtt/packet.js';

export type Qos = 0 | 1 | 2;

/**
 * The PUBLISH properties that travel with the message to its receivers (MQTT 5.0, 3.3.2.3). They never
 * refer to a received chunk: {@link messageProperties} has copied what did.
 */
export interface MessageProperties {
  readonly payloadFormatIndicator?: number;
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: Uint8Array;
  readonly userProperties?: readonly (readonly [string, string])[];
}

export function lowerQos(a: Qos, b: Qos): Qos {
  if (a < b) return a;
  return b;
}

/** Of a delivery: at most what its subscription grants and its publisher gave it; `upgrade`: what the higher of the two says. */
export function deliveryQos(message: Qos, granted: Qos, upgrade: boolean): Qos {
  if (message === granted) return message;
  return message < granted === upgrade ? granted : message;
}

export interface Message {
  readonly topicName: string;
  /** A view of the received chunk during the turn it arrived in; `keep()` it to hold it longer. */
  payload: Uint8Array;
  readonly qos: Qos;
  /** The RETAIN flag as the publisher set it. */
  readonly retain: boolean;
  readonly properties: MessageProperties | undefined;
  /** Monotonic ms of this node after which it must not be sent any more; Infinity: never. */
  readonly expiresAt: number;
  /** Client id of the publisher, for no-local; empty for the broker's own messages. */
  readonly publisherId: string;
  /** Incarnation of the node where the message entered the cluster, and its number there; 0, 0 until it is routed. */
  originIncarnation: number;
  originNumber: number;
  /** Whether `payload` already has memory of its own. */
  kept: boolean;
  /** Its number in this node's journal of sessions, 0 while it is not there. */
  journalNumber: number;
}

/** Makes every message, so that all have one hidden class on the hot paths. */
export function makeMessage(
  topicName: string,
  payload: Uint8Array,
  qos: Qos,
  retain: boolean,
  properties: MessageProperties | undefined,
  expiresAt: number,
  publisherId: string,
): Message {
  return {
    topicName,
    payload,
    qos,
    retain,
    properties,
    expiresAt,
    publisherId,
    originIncarnation: 0,
    originNumber: 0,
    kept: false,
    journalNumber: 0,
  };
}

/** Gives the payload memory of its own, once, for whoever holds the message past the turn. */
export function keep(message: Message): void {
  if (message.kept) return;
  message.payload = copyBytes(message.payload);
  message.kept = true;
}

/** What of a PUBLISH's or will's properties travels on. Undefined when nothing does. */
export function messageProperties(p: Properties | undefined): MessageProperties | undefined {
  if (p === undefined) return undefined;
  const out: { -readonly [K in keyof MessageProperties]: MessageProperties[K] } = {};
  let any = false;
  if (p.payloadFormatIndicator !== undefined) {
    out.payloadFormatIndicator = p.payloadFormatIndicator; // [MQTT-3.3.2-4]
    any = true;
  }
  if (p.contentType !== undefined) {
    out.contentType = p.contentType; // [MQTT-3.3.2-20]
    any = true;
  }
  if (p.responseTopic !== undefined) {
    out.responseTopic = p.responseTopic; // [MQTT-3.3.2-15]
    any = true;
  }
  if (p.correlationData !== undefined) {
    out.correlationData = copyBytes(p.correlationData); // [MQTT-3.3.2-16]
    any = true;
  }
  if (p.userProperties !== undefined) {
    out.userProperties = p.userProperties; // in their order [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.1.3-10]
    any = true;
  }
  return any ? out : undefined;
}

/** Monotonic ms at which a message with this Message Expiry Interval (seconds; undefined: never) is too old. */
export function expiryTime(intervalS: number | undefined, now: number): number {
  return intervalS === undefined ? Number.POSITIVE_INFINITY : now + intervalS * 1000;
}

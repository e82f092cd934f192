// An application message on its way through a node: made from a PUBLISH (or a will, or a forwarded
// frame), delivered to sessions. One object per message, shared by all its receivers: never changed
// after it was routed.

export type Qos = 0 | 1 | 2;

/** The PUBLISH properties that travel with the message to its receivers (MQTT 5.0, 3.3.2.3). */
export interface MessageProperties {
  readonly payloadFormatIndicator?: number;
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: Uint8Array;
  readonly userProperties?: readonly (readonly [string, string])[];
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
}

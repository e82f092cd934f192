// What the broker asks of authentication and authorization. `node` hands in an implementation made of
// the auth room; without one everybody may do everything.
import type { QoS } from '#mqtt/packet.js';

/** Who wants something. */
export interface AccessClient {
  readonly clientId: string;
  readonly username: string | undefined;
  /** `1.2.3.4:56789`. */
  readonly peer: string;
}

export interface AccessRequest extends AccessClient {
  readonly password: Uint8Array | undefined;
}

/** `reasonCode`: 0, or the code of CONNACK. */
export type AccessAnswer = (reasonCode: number) => void;

export interface Access {
  /** Answers once, now or later. The request is good during the call only. */
  authenticate(request: AccessRequest, answer: AccessAnswer): void;
  mayPublish(client: AccessClient, topicName: string, qos: QoS, retain: boolean): boolean;
  maySubscribe(client: AccessClient, topicFilter: string, qos: QoS): boolean;
}

export const openAccess: Access = {
  authenticate: (_request, answer) => answer(0),
  mayPublish: () => true,
  maySubscribe: () => true,
};

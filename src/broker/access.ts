// What the broker asks of authentication and authorization. `node` hands in an implementation made of
// the auth room; without one everybody may do everything.
import type { QoS } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';

/** Who wants something: a channel, also after its end. */
export interface AccessClient {
  readonly clientId: string;
  /** A proof of identity may set it. */
  username: string | undefined;
  /** `1.2.3.4:56789`. */
  readonly peer: string;
  /** False: its listener lets everybody in. */
  readonly authenticates?: boolean;
  /** What stands before its topics; empty: nothing. Rights are asked for what the client says. */
  readonly mountpoint?: string;
  /** CN and DN of the certificate that the client showed, if the listener asked for one. */
  readonly certCommonName?: string | undefined;
  readonly certSubject?: string | undefined;
  /** What the implementation keeps with the connection; nobody else looks at it. */
  grant: unknown;
  disconnect(reasonCode: number, now: number): void;
}

export interface AccessRequest {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly client: AccessClient;
}

/** `reasonCode`: 0, or the code of CONNACK. */
export type AccessAnswer = (reasonCode: number) => void;

export interface Access {
  /** What a PUBLISH or SUBSCRIBE that is denied costs: itself (`ignore`, the default) or the connection. */
  readonly denyAction?: 'ignore' | 'disconnect';
  /** Clients are not told why something was denied: 0x80 in the place of 0x87 (3.4.2.1 and 3.9.3 of MQTT 5.0 leave the choice). */
  readonly concealReason?: boolean;
  /** User names are proved: a session is continued for the user who made it and for nobody else, whatever client id they give. */
  readonly provesUsers?: boolean;
  /** Answers once, now or later. The password is good during the call only. */
  authenticate(request: AccessRequest, answer: AccessAnswer): void;
  /** A conversation in an Authentication Method of MQTT 5.0. undefined: nobody here speaks it. */
  exchange?(client: AccessClient, method: string): AccessExchange | undefined;
  /** undefined: somebody else has to be asked, see `whenKnown`; the client is not read until then. */
  mayPublish(client: AccessClient, topicName: string, qos: QoS, retain: boolean, now: number): boolean | undefined;
  maySubscribe(client: AccessClient, topicFilter: string, qos: QoS, now: number): boolean | undefined;
  /**
   * The right to publish plain messages (QoS 0, not retained) to the name, where it stands for a while. Undefined or absent:
   * `mayPublish` is to be asked about each of them.
   */
  standing?(client: AccessClient, topicName: string, now: number): StandingRight | undefined;
  /** Grows with all that may end a standing right early. */
  readonly changes?: number;
  /** `n` messages went out on a standing right; `counts`: what it said. */
  counted?(n: number, counts: unknown): void;
  /** Answers once, now or later. */
  whenKnown?(client: AccessClient, action: AccessAction, topic: string, qos: QoS, retain: boolean, answer: Answer): void;
  /** `listener` is run when rules may have changed, and when cached verdicts were thrown away. */
  whenRulesChange?(listener: (cleaned?: Cleaned) => void): void;
  /** False: what it may comes with how it has proved who it is, and ends with its connection. Absent: true of everybody. */
  isUnderRules?(client: AccessClient): boolean;
  /** The connection has ended, however far it got. */
  closed?(client: AccessClient): void;
}

export interface StandingRight {
  /** Whole seconds of the monotonic clock. */
  readonly untilS: number;
  /** As what its messages are counted, for whom gave it; undefined: they are not. */
  readonly counts: unknown;
}

export interface AccessExchange {
  /** The client's next message. After anything but `continue` the conversation is over. */
  step(data: Uint8Array | undefined): AccessStep;
}

export type AccessStep =
  /** `data` is for the client. */
  { readonly kind: 'continue' | 'success'; readonly data: Uint8Array } | { readonly kind: 'failed'; readonly reasonCode: number };

export type AccessAction = 'publish' | 'subscribe';

/** `sure` false: somebody who had to be asked did not answer. Default true. */
export type Answer = (allowed: boolean, sure?: boolean) => void;

/** Cached verdicts were thrown away: of one client, or all. */
export interface Cleaned {
  readonly clientId: string | undefined;
}

/** Asks `whenKnown` of an implementation that answered undefined. */
export function askAccess(
  access: Access,
  client: AccessClient,
  action: AccessAction,
  topic: string,
  qos: QoS,
  retain: boolean,
  answer: Answer,
): void {
  if (access.whenKnown === undefined) answer(false);
  else access.whenKnown(client, action, topic, qos, retain, answer);
}

/** The largest whole number that needs no memory of its own everywhere. */
const foreverS = 2 ** 30 - 1;
/** Nothing but a change ends it. */
const forever: StandingRight = { untilS: foreverS, counts: undefined };

export const openAccess: Access = {
  authenticate: (_request, answer) => answer(0),
  mayPublish: () => true,
  maySubscribe: () => true,
  standing: () => forever,
  changes: 0,
};

/** What an acknowledgement says of a wish that was denied. */
export function deniedCode(access: Access): ReasonCode {
  return access.concealReason === true ? ReasonCode.unspecifiedError : ReasonCode.notAuthorized;
}

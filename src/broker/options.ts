// The broker's settings, with EMQX's names where it has one. `node` fills them from the configuration.
import type { SharedStrategy } from '#router/shared-picker.js';
import type { SessionLimits } from '#session/limits.js';
import { defaultLimits } from '#session/limits.js';

export interface BrokerOptions {
  /** Settings of zone `mqtt`. */
  readonly limits: SessionLimits;
  /** `mqtt.without_quorum`: what becomes of new clients while no quorum of cores answers. */
  readonly withoutQuorum: 'accept' | 'refuse';
  /** Sessions taken in without a quorum at a time. */
  readonly maxUnregisteredSessions: number;
  /** How often unregistered sessions are offered to the registry, in ms, and how many at a time. */
  readonly reregisterEveryMs: number;
  readonly reregisterBatch: number;
  /** Results of matches that are remembered. */
  readonly matchCacheEntries: number;
  /** Shapes of wildcard filters that are matched by lookups; more go to a tree. */
  readonly filterShapes: number;
  /** `mqtt.shared_subscription_strategy`. */
  readonly sharedStrategy: SharedStrategy;
  /** `broker.shared_subscription_group.GROUP.strategy`, by group. */
  readonly sharedStrategies: ReadonlyMap<string, SharedStrategy>;
  /** Retained messages delivered per turn after a SUBSCRIBE. */
  readonly retainedBatch: number;
  /** Rows of the store looked at per turn for it, matching or not. */
  readonly retainedRows: number;
  /** `retainer.delivery_rate`: retained messages per second and session; Infinity: as fast as the client takes them. */
  readonly retainedRate: number;
  /** `retainer.stop_publish_clear_msg`: an empty retained message clears and is not routed. */
  readonly retainedClearsSilently: boolean;
  /**
   * How long live copies of messages that a session has got by another way are told apart, in ms: longer than a message
   * can be under way, up to 5 s until its node knows that it is committed and 5 s to be forwarded.
   */
  readonly retainedDedupMs: number;
  /** Identities remembered for it, per session. */
  readonly retainedDedupEntries: number;
  /** PUBLISHes of one connection that wait for a retained message of the same topic before it is not read any more. */
  readonly heldPublishesPause: number;
  /** Resolution of keep-alive and expiry, in ms. */
  readonly timerTickMs: number;
}

export const defaultBrokerOptions: BrokerOptions = {
  limits: defaultLimits,
  withoutQuorum: 'accept',
  maxUnregisteredSessions: 100_000,
  reregisterEveryMs: 5000,
  reregisterBatch: 200,
  matchCacheEntries: 16_384,
  filterShapes: 64,
  sharedStrategy: 'round_robin',
  sharedStrategies: new Map(),
  retainedBatch: 200,
  retainedRows: 2000,
  retainedRate: Number.POSITIVE_INFINITY,
  retainedClearsSilently: false,
  retainedDedupMs: 11_000,
  retainedDedupEntries: 10_000,
  heldPublishesPause: 1000,
  timerTickMs: 100,
};

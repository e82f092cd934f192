// What the parts of the broker share: the world, the settings, the seams to the cluster, and the state
// that every journey touches. Made by `broker.ts`; knows none of the journeys.
import type { Env } from '#env/env.js';
import { publishedTopic } from '#mqtt/special-topics.js';
import type { Channel, ChannelEffects, ChannelEnd } from '#session/channel.js';
import { Frames } from '#session/frames.js';
import type { SessionLimits } from '#session/limits.js';
import type { Session, SubscriptionOptions } from '#session/session.js';
import type { Access } from './access.js';
import type { DurableSessions } from './durable-sessions.js';
import { BrokerHooks } from './hooks.js';
import { LocalSubscribers } from './local-subscribers.js';
import { BrokerMetrics } from './metrics.js';
import type { BrokerOptions } from './options.js';
import type { BrokerPorts } from './ports.js';
import { RecentOrigins } from './recent-origins.js';
import { Recheck } from './recheck.js';
import { SeenWills } from './seen-wills.js';
import { SharedDispatch } from './shared-dispatch.js';
import { Timers } from './timers.js';

/** What `$SYS` tells of clients (sys-topics.ts). */
export interface SysEvents {
  connected(channel: Channel, session: Session): void;
  disconnected(channel: Channel, end: ChannelEnd): void;
  subscribed(session: Session, topicFilter: string, options: SubscriptionOptions): void;
  unsubscribed(session: Session, topicFilter: string): void;
}

/** Code that was compiled for one broker of the process is good for all: what a message asks looks the same. */
function ofOneShape({ routes, shared, forwarder, retained, registry, delayed, exclusive, handover, identity }: BrokerPorts): BrokerPorts {
  return { routes, shared, forwarder, retained, registry, delayed, exclusive, handover, identity };
}

export class Core {
  readonly env: Env;
  readonly options: BrokerOptions;
  readonly limits: SessionLimits;
  readonly ports: BrokerPorts;
  readonly metrics: BrokerMetrics;
  readonly timers: Timers;
  readonly frames: Frames;
  readonly subscribers: LocalSubscribers;
  readonly hooks: BrokerHooks = new BrokerHooks();
  readonly recent: RecentOrigins = new RecentOrigins();
  readonly seenWills: SeenWills = new SeenWills();
  /** By client id: any string, so a Map. */
  readonly sessions: Map<string, Session> = new Map();
  /** Registered sessions of clients that were taken in anew while there was no quorum: the registry will say which counts. */
  readonly parked: Map<string, Session> = new Map();
  readonly shared: SharedDispatch;
  access: Access;
  readonly recheck: Recheck;
  /** Told of clients that come and go; undefined: nobody is. */
  sys: SysEvents | undefined = undefined;
  /** The broker, as channels see it. */
  effects: ChannelEffects | undefined = undefined;
  /** Absent: sessions live in memory only. */
  durable: DurableSessions | undefined = undefined;

  constructor(env: Env, options: BrokerOptions, ports: BrokerPorts, access: Access) {
    this.env = env;
    this.options = options;
    this.limits = options.limits;
    this.ports = ofOneShape(ports);
    this.access = access;
    this.metrics = new BrokerMetrics(env.metrics);
    this.timers = new Timers(env.clock, options.timerTickMs);
    this.frames = new Frames();
    this.subscribers = new LocalSubscribers(options.matchCacheEntries, options.filterShapes);
    this.shared = new SharedDispatch(this);
    this.recheck = new Recheck(this);
  }

  /** What rights are asked for when somebody wants to publish to `topicName`. */
  rightsTopic(topicName: string): string {
    return this.ports.delayed === undefined ? topicName : publishedTopic(topicName);
  }

  now(): number {
    return this.env.clock.now();
  }
}

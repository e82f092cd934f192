// Rights of subscriptions that are there already: judged again when rules change, and when a session is
// continued, by the rights of whoever continues it. One that is not allowed any more ends; what waits for
// the client is not looked through. Clients whose rights somebody else has to be asked for (HTTP) are asked
// when they continue a session; a change of rules there is not seen by anybody.
// Invariant: a change is looked after within a bounded number of turns, each of bounded length.

import type { Env } from '#env/env.js';
import type { Counter } from '#env/metrics.js';
import { unmountName } from '#mqtt/special-topics.js';
import { parseTopicFilter } from '#mqtt/topic.js';
import { Channel } from '#session/channel.js';
import type { Session, Subscription } from '#session/session.js';
import { type Access, askAccess, openAccess } from './access.js';

/** Subscriptions judged in one turn. */
const batchMax = 500;

export interface RecheckHost {
  readonly env: Env;
  readonly access: Access;
  readonly sessions: ReadonlyMap<string, Session>;
  now(): number;
}

export class Recheck {
  readonly #core: RecheckHost;
  readonly #revoked: Counter;
  /** The sessions that are still to be looked at. */
  #left: Iterator<Session> | undefined = undefined;
  /** Set by the broker. */
  end: (subscription: Subscription) => void = () => {};

  constructor(core: RecheckHost) {
    this.#core = core;
    this.#revoked = core.env.metrics.counter(
      'starmesh_subscriptions_revoked_total',
      'Subscriptions ended because their client lost the right to them',
    );
  }

  /** Begins anew with all sessions. */
  rulesChanged(): void {
    const running = this.#left !== undefined;
    this.#left = this.#core.sessions.values();
    if (!running) this.#core.env.clock.endOfTurn(() => this.#batch());
  }

  #batch(): void {
    for (let budget = batchMax; budget > 0; ) {
      const next = this.#left?.next();
      if (next === undefined || next.done === true) {
        this.#left = undefined;
        return;
      }
      budget -= 1 + this.#judgeAll(next.value, false);
    }
    this.#core.env.clock.endOfTurn(() => this.#batch());
  }

  /** A client continues the session. */
  resumed(channel: Channel, session: Session): void {
    if (this.#core.access !== openAccess && channel.session === session) this.#judgeAll(session, true);
  }

  /** How many subscriptions it has. */
  #judgeAll(session: Session, ask: boolean): number {
    const { channel } = session;
    if (!(channel instanceof Channel)) return 0;
    const { size } = session.subscriptions;
    for (const subscription of [...session.subscriptions.values()]) this.#judge(channel, session, subscription, ask);
    return size;
  }

  #judge(channel: Channel, session: Session, subscription: Subscription, ask: boolean): void {
    const { access } = this.#core;
    const matched = parseTopicFilter(subscription.topicFilter, Number.POSITIVE_INFINITY)?.topicFilter ?? subscription.topicFilter;
    const topicFilter = unmountName(session.mountpoint, matched);
    const may = access.maySubscribe(channel, topicFilter, subscription.qos, this.#core.now());
    if (may === false) this.#revoke(channel, subscription);
    else if (may === undefined && ask) {
      askAccess(access, channel, 'subscribe', topicFilter, subscription.qos, false, (allowed) => {
        if (!allowed) this.#revoke(channel, subscription);
      });
    }
  }

  #revoke(channel: Channel, subscription: Subscription): void {
    const { session, topicFilter } = subscription;
    if (session.ended || session.subscriptions.get(topicFilter) !== subscription) return;
    this.#revoked.value++;
    this.#core.env.log.info('a subscription ends: its client lost the right to it', { clientId: channel.clientId, topicFilter });
    this.end(subscription);
  }
}

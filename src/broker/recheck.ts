// Rights of what is there already. Subscriptions are judged again when rules change, when cached verdicts are
// thrown away, and when a session is continued, by the rights of whoever continues it: one that is not allowed any
// more ends. What waits in the session's queue is judged by the rules that hold when it leaves: those that came
// for a subscription that has ended so, or whose topic the client may not have any more, are taken out of it.
//
// Those for whose rights somebody else has to be asked (HTTP, a hook) are asked when a session is continued, before
// its CONNACK, and when cached verdicts are thrown away; a change of rules there is not seen by anybody.
// Invariants: a change is looked after within a bounded number of turns, each of bounded length, with a bounded
// number of questions under way; nothing leaves a queue that was last judged by other rules than today's.
import type { Env } from '#env/env.js';
import type { Counter } from '#env/metrics.js';
import { unmountName } from '#mqtt/special-topics.js';
import { parseTopicFilter } from '#mqtt/topic.js';
import { Channel } from '#session/channel.js';
import type { QueuedMessage } from '#session/queue.js';
import type { QueueRights, Session, Subscription } from '#session/session.js';
import { type Access, askAccess, type Cleaned, openAccess } from './access.js';
import { notCovered } from './queued-rights.js';

/** Subscriptions and queued messages judged in one turn. */
const batchMax = 500;
/** Questions about subscriptions that are there, under way at a time: others who ask are not to wait long behind them. */
const askingMax = 50;

export interface RecheckHost {
  readonly env: Env;
  readonly access: Access;
  readonly sessions: ReadonlyMap<string, Session>;
  readonly metrics: { readonly dropped: Counter };
  now(): number;
}

/**
 * no: who has to be asked is not · whenSure: asked, and without an answer everything stays as it is · always: asked, and
 * no answer is none that allows.
 */
type Asking = 'no' | 'whenSure' | 'always';

export class Recheck implements QueueRights {
  readonly #core: RecheckHost;
  readonly #revoked: Counter;
  readonly #withdrawn: Counter;
  /** The sessions that are still to be looked at, and whether those are asked who have to be. */
  #left: Iterator<Session> | undefined = undefined;
  #ask = false;
  #scheduled = false;
  /** Questions under way. */
  #asking = 0;
  /** How often rules have changed. */
  epoch = 0;
  /** Set by the broker: the subscription ends. */
  end: (subscription: Subscription) => void = () => {};
  /** Set by the broker: messages were taken out of the session's queue. */
  withdrawn: (session: Session, items: readonly QueuedMessage[]) => void = () => {};

  constructor(core: RecheckHost) {
    this.#core = core;
    const { metrics } = core.env;
    this.#revoked = metrics.counter('starmesh_subscriptions_revoked_total', 'Subscriptions ended because their client lost the right to them');
    this.#withdrawn = metrics.counter(
      'starmesh_queued_revoked_total',
      'Messages that waited for a client and were dropped because it lost the right to them',
    );
  }

  /** Begins anew with all sessions. `cleaned`: cached verdicts were thrown away, all or those of one client. */
  rulesChanged(cleaned?: Cleaned): void {
    this.epoch++;
    if (cleaned?.clientId !== undefined) {
      const session = this.#core.sessions.get(cleaned.clientId);
      if (session?.channel instanceof Channel) this.#judgeAll(session.channel, session, 'whenSure', ignore);
      return;
    }
    // One that asks and is not through goes on asking.
    this.#ask = cleaned !== undefined || (this.#ask && this.#left !== undefined);
    this.#left = this.#core.sessions.values();
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#left === undefined || this.#asking >= askingMax) return;
    this.#scheduled = true;
    this.#core.env.clock.endOfTurn(() => {
      this.#scheduled = false;
      this.#batch();
    });
  }

  #batch(): void {
    for (let budget = batchMax; budget > 0 && this.#asking < askingMax; ) {
      const next = this.#left?.next();
      if (next === undefined || next.done === true) {
        this.#left = undefined;
        return;
      }
      const { channel } = next.value;
      budget--;
      if (channel instanceof Channel) budget -= this.#judgeAll(channel, next.value, this.#ask ? 'whenSure' : 'no', ignore);
    }
    this.#schedule();
  }

  /** A client is about to continue the session; `next` when its rights are known, often at once. */
  resuming(channel: Channel, session: Session, next: () => void): void {
    if (this.#core.access === openAccess) next();
    else this.#judgeAll(channel, session, 'always', next);
  }

  /** What waits is about to leave, and was judged by other rules. */
  judge(session: Session): void {
    const { channel, queue } = session;
    if (channel instanceof Channel) this.#judgeAll(channel, session, 'no', ignore);
    else if (queue !== undefined) queue.judgedAt = this.epoch;
  }

  /** How much there was to look at. `done` runs when everybody has answered. */
  #judgeAll(channel: Channel, session: Session, asking: Asking, done: () => void): number {
    const size = session.subscriptions.size + session.queuedCount;
    const revoked: string[] = [];
    let open = 1;
    const answered = (): void => {
      if (--open > 0) return;
      if (revoked.length > 0 || (session.queue !== undefined && session.queue.judgedAt !== this.epoch)) this.#withdraw(channel, session, revoked);
      done();
    };
    const revoke = (subscription: Subscription): void => {
      if (this.#revoke(subscription)) revoked.push(matchedBy(subscription.topicFilter));
    };
    for (const subscription of [...session.subscriptions.values()]) {
      const topicFilter = unmountName(session.mountpoint, matchedBy(subscription.topicFilter));
      const may = this.#core.access.maySubscribe(channel, topicFilter, subscription.qos, this.#core.now());
      if (may === false) revoke(subscription);
      if (may !== undefined || asking === 'no') continue;
      open++;
      this.#question(channel, topicFilter, subscription, (allowed, sure) => {
        // Somebody else may have continued the session since.
        const same = session.channel === undefined || session.channel === channel;
        if (!allowed && same && (sure || asking === 'always')) revoke(subscription);
        answered();
      });
    }
    answered();
    return size;
  }

  #question(channel: Channel, topicFilter: string, subscription: Subscription, answer: (allowed: boolean, sure: boolean) => void): void {
    this.#asking++;
    askAccess(this.#core.access, channel, 'subscribe', topicFilter, subscription.qos, false, (allowed, sure = true) => {
      this.#asking--;
      answer(allowed, sure);
      this.#schedule();
    });
  }

  /** False: it had ended. */
  #revoke(subscription: Subscription): boolean {
    const { session, topicFilter } = subscription;
    if (session.ended || session.subscriptions.get(topicFilter) !== subscription) return false;
    this.#revoked.value++;
    this.#core.env.log.info('a subscription ends: its client lost the right to it', { clientId: session.clientId, topicFilter });
    this.end(subscription);
    return true;
  }

  /** Takes what the client may not have any more out of what waits for it. */
  #withdraw(channel: Channel, session: Session, revoked: readonly string[]): void {
    const { queue } = session;
    if (queue === undefined) return;
    queue.judgedAt = this.epoch;
    const { access } = this.#core;
    const now = this.#core.now();
    const may = ({ message, qos }: QueuedMessage): boolean | undefined =>
      access.maySubscribe(channel, unmountName(session.mountpoint, message.topicName), qos, now);
    const items = queue.takeOut(notCovered(session, may, revoked));
    if (items.length === 0) return;
    if (queue.length === 0) session.queue = undefined;
    this.#withdrawn.value += items.length;
    this.#core.metrics.dropped.value += items.length;
    this.withdrawn(session, items);
  }
}

/** Without `$share/GROUP/`. */
function matchedBy(topicFilter: string): string {
  return parseTopicFilter(topicFilter, Number.POSITIVE_INFINITY)?.topicFilter ?? topicFilter;
}

function ignore(): void {}

// A subscriber in this process, without a connection: an embedding program's. It stands in the index of
// local subscribers like any other (and so has a route in the cluster), as a session of its own that is
// nobody's client and whose gate takes every message. Made by `Broker.attach`.
// Invariants: a retained message comes from the store or live, not both, as long as its live copy is not
// later than `retainedDedupMs`; nothing is received after the end; `receive` does not throw, and is run
// in the middle of a fan-out: it must not publish within the call.
import type { Timer } from '#env/clock.js';
import { keep, type Message } from '#session/message.js';
import { type DeliveryGate, Session, type SessionHome, Subscription } from '#session/session.js';
import type { Core } from './core.js';
import type { RouteOutcome } from './ports.js';

/** `retained`: it was there before the subscription. */
export type Receive = (message: Message, retained: boolean) => void;

export class InProcess implements DeliveryGate {
  readonly #core: Core;
  readonly #subscription: Subscription;
  readonly #receive: Receive;
  /** Origins of retained messages that came live, and of those that the scan found; undefined: nothing to tell apart. */
  #live: Set<string> | undefined = undefined;
  #scanned: Set<string> | undefined = undefined;
  #timer: Timer | undefined = undefined;
  #ended = false;

  constructor(core: Core, home: SessionHome, topicFilter: string, retained: boolean, receive: Receive, done: (outcome: RouteOutcome) => void) {
    this.#core = core;
    this.#receive = receive;
    const session = new Session(home, '', 0, 0, core.env.clock.wallNow());
    session.gate = this;
    const options = { qos: 2, noLocal: false, retainAsPublished: true, retainHandling: retained ? 0 : 2, subscriptionIdentifier: undefined } as const;
    this.#subscription = new Subscription(session, topicFilter, options);
    if (retained) this.#live = new Set();
    core.subscribers.add(this.#subscription);
    core.ports.routes.add(topicFilter, (outcome) => {
      if (outcome === 'failed') this.end();
      else {
        this.#subscription.settled = true;
        if (retained) core.ports.retained.barrier(() => this.#begin());
      }
      done(outcome);
    });
  }

  admit(_subscription: Subscription, message: Message): boolean {
    if (this.#ended) return false;
    if (message.retain && message.payload.length > 0) {
      const id = identity(message);
      if (this.#scanned?.has(id) === true) return false;
      this.#live?.add(id);
    }
    keep(message);
    this.#receive(message, false);
    return false;
  }

  #begin(): void {
    this.#scanned = new Set();
    this.#scan(undefined);
  }

  /** A batch per turn. */
  #scan(after: string | undefined): void {
    if (this.#ended) return;
    const { options, ports, env } = this.#core;
    const now = this.#core.now();
    let left = options.retainedBatch;
    let last: string | undefined;
    const visit = (message: Message): boolean => {
      last = message.topicName;
      const id = identity(message);
      const { size } = this.#scanned ?? { size: 0 };
      if (message.expiresAt > now && this.#live?.has(id) !== true) {
        if (size < options.retainedDedupEntries) this.#scanned?.add(id);
        this.#receive(message, true);
      }
      return --left > 0 && !this.#ended;
    };
    const on = ports.retained.scan(this.#subscription.topicFilter, visit, after, options.retainedRows);
    if (on !== undefined || left === 0) env.clock.endOfTurn(() => this.#scan(on ?? last));
    else this.#scannedAll();
  }

  #scannedAll(): void {
    this.#live = undefined;
    this.#timer = this.#core.env.clock.setTimer(this.#core.options.retainedDedupMs, () => {
      this.#scanned = undefined;
    });
  }

  /** The route goes with the last subscriber of its filter. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#timer?.cancel();
    this.#subscription.session.ended = true;
    const { subscribers, ports } = this.#core;
    if (subscribers.remove(this.#subscription)) ports.routes.remove(this.#subscription.topicFilter);
  }
}

function identity(message: Message): string {
  return `${message.originIncarnation}/${message.originNumber}`;
}

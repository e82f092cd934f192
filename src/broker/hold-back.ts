// While a session moves to this node: its arrivals here are held back until the old holder's last
// hand-over is in, and those that were handed over are dropped. The session's gate meanwhile.
import { deliverAs } from '#session/deliver.js';
import type { Message, Qos } from '#session/message.js';
import { keep } from '#session/message.js';
import type { QueuedMessage } from '#session/queue.js';
import type { DeliveryGate, Session, Subscription } from '#session/session.js';
import type { Core } from './core.js';

export class HoldBack implements DeliveryGate {
  readonly #core: Core;
  readonly #session: Session;
  #held: QueuedMessage[] = [];

  constructor(core: Core, session: Session) {
    this.#core = core;
    this.#session = session;
    session.gate = this;
  }

  admit(subscription: Subscription, message: Message, qos: Qos): boolean {
    if (this.#held.length >= this.#core.limits.maxQueuedMessages) {
      this.#core.metrics.holdBackDropped.value++;
      this.#core.metrics.dropped.value++;
      return false;
    }
    keep(message);
    const retain = subscription.retainAsPublished && message.retain;
    this.#held.push({ message, qos, retain, subscriptionIdentifiers: subscription.identifiers });
    return false;
  }

  /** The hand-over is complete: what was held follows, without what was handed over or is inflight already. */
  release(handedOver: readonly QueuedMessage[]): void {
    const session = this.#session;
    if (session.gate === this) session.gate = undefined;
    const known = new Set<string>();
    for (const item of handedOver) known.add(origin(item.message));
    if (session.inflight !== undefined) {
      for (const entry of session.inflight.entries()) if (entry.message !== undefined) known.add(origin(entry.message));
    }
    for (const item of handedOver) session.enqueue(item.message, item.qos, item.retain, item.subscriptionIdentifiers);
    const { frames } = this.#core;
    const now = this.#core.now();
    for (const item of this.#held) {
      if (known.has(origin(item.message))) continue;
      frames.begin(item.message, now);
      deliverAs(session, item.message, item.qos, item.retain, item.subscriptionIdentifiers, frames);
      frames.end();
    }
    this.#held = [];
  }
}

function origin(message: Message): string {
  return `${message.originIncarnation}:${message.originNumber}`;
}

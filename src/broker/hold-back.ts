// While a session moves to this node: its arrivals here are held back until the old holder's last
// hand-over is in, and those that were handed over are dropped. The session's gate meanwhile, and for as
// long afterwards as a copy of what was handed over can still be on its way here; and as long after its node's
// restart, for what the session got before it: from here it may move on to a node where a copy of that is late.
// As long, a QoS 0 message that a younger one of its line has overtaken is dropped: it was sent to this node when
// the session was here the time before, and its link was slow [MQTT-4.6.0-6].
import { WheelTimer } from '#base/timer-wheel.js';
import { deliverAs } from '#session/deliver.js';
import type { Message, Qos } from '#session/message.js';
import { keep } from '#session/message.js';
import type { QueuedMessage } from '#session/queue.js';
import type { DeliveryGate, Session, Subscription } from '#session/session.js';
import type { Core } from './core.js';
import type { Origin } from './recent-origins.js';
import { isWillOrigin } from './will-body.js';

/** Lines of messages whose newest is remembered for one session that has moved. */
const linesMax = 1_000;

export class HoldBack extends WheelTimer implements DeliveryGate {
  readonly #core: Core;
  readonly #session: Session;
  readonly #recent: readonly Origin[];
  #held: QueuedMessage[] = [];
  /** What is handed over, before that is complete. */
  #expected: ReadonlySet<string> | undefined = undefined;
  /** Set with the hand-over: what it brought. */
  #known: Set<string> | undefined = undefined;
  /** Per line of messages the number of the newest that the session got here with QoS 0. */
  #newest: Map<string, number> | undefined = undefined;
  /** Per origin the number of the newest that the session got before it came here. */
  #before: Map<number, number> | undefined = undefined;

  /** `recent`: origins of what the session has got already. */
  constructor(core: Core, session: Session, recent: readonly Origin[]) {
    super();
    this.#core = core;
    this.#session = session;
    this.#recent = recent;
    session.gate = this;
  }

  admit(subscription: Subscription, message: Message, qos: Qos): boolean {
    if (this.#known !== undefined) {
      if (this.#known === none) this.onTimer();
      else if (this.#known.has(identity(message, subscription.group))) return false;
      else if (qos === 0 && subscription.group === undefined) return this.#inOrder(message);
      return true;
    }
    if (this.#expected?.has(identity(message, subscription.group)) === true) return false;
    if (this.#held.length >= this.#core.limits.maxQueuedMessages) {
      this.#core.metrics.holdBackDropped.value++;
      this.#core.metrics.dropped.value++;
      this.#session.queueDropped++;
      return false;
    }
    keep(message);
    const retain = subscription.retainAsPublished && message.retain;
    const item: QueuedMessage = { message, qos, retain, subscriptionIdentifiers: subscription.identifiers, group: subscription.group };
    this.#held.push(item);
    if (qos > 0) this.#session.log?.queued(this.#session, item);
    return false;
  }

  /** Whether no younger one of its line came before; remembers it. */
  #inOrder(message: Message): boolean {
    const line = lineOf(message);
    this.#newest ??= new Map();
    const newest = this.#newest.get(line);
    if (newest === undefined ? this.#isOfEarlierStay(message) : newest > message.originNumber) {
      this.#core.metrics.overtaken.value++;
      this.#core.metrics.dropped.value++;
      return false;
    }
    this.#newest.set(line, message.originNumber);
    if (this.#newest.size <= linesMax) return true;
    for (const oldest of this.#newest.keys()) {
      this.#newest.delete(oldest);
      break;
    }
    return true;
  }

  /**
   * Whether the session got a younger message of the same origin before it came here: lanes keep their order,
   * so this one was sent when the session was here the time before. Retained ones have their number before they
   * are stored, and are routed after that, and the number of a will is its connection's: of them numbers do not say it.
   */
  #isOfEarlierStay({ originIncarnation, originNumber, retain }: Message): boolean {
    if (retain || isWillOrigin(originIncarnation)) return false;
    if (this.#before === undefined) {
      this.#before = new Map();
      for (const [incarnation, number] of this.#recent) this.#before.set(incarnation, Math.max(number, this.#before.get(incarnation) ?? 0));
    }
    return originNumber < (this.#before.get(originIncarnation) ?? 0);
  }

  held(): readonly QueuedMessage[] {
    return this.#held;
  }

  /**
   * What is handed over is here, and about to be written down: copies of it are held, and written, no more. A process that
   * ends before the hand-over is complete would bring them back. Returns what is to be written: all of it, in order.
   */
  expect(handedOver: readonly QueuedMessage[]): QueuedMessage[] {
    const known = this.#knownWith(handedOver);
    this.#expected = known;
    this.#held = this.#held.filter((item) => !known.has(identity(item.message, item.group)));
    return merged(handedOver, this.#held);
  }

  #knownWith(handedOver: readonly QueuedMessage[]): Set<string> {
    const known = new Set<string>();
    for (const [incarnation, number] of this.#recent) known.add(`${incarnation}:${number}`);
    for (const item of handedOver) known.add(identity(item.message, item.group));
    for (const entry of this.#session.inflight?.entries() ?? []) {
      if (entry.message !== undefined) known.add(identity(entry.message, entry.group));
    }
    return known;
  }

  /** The hand-over is complete: what was held follows, without what was handed over or is inflight already. */
  release(handedOver: readonly QueuedMessage[]): void {
    const session = this.#session;
    const known = this.#knownWith(handedOver);
    this.#expected = undefined;
    this.#known = known;
    this.#core.timers.schedule(this, this.#core.now() + this.#core.options.retainedDedupMs);
    const held = new Set(this.#held.filter((item) => !known.has(identity(item.message, item.group))));
    this.#held = [];
    for (const item of merged(handedOver, held)) {
      if (held.has(item)) this.#deliver(item);
      else {
        if (ordered(item)) this.#inOrder(item.message);
        session.enqueue(item.message, item.qos, item.retain, item.subscriptionIdentifiers, item.group);
      }
    }
  }

  #deliver(item: QueuedMessage): void {
    if (ordered(item) && !this.#inOrder(item.message)) return;
    const { frames } = this.#core;
    frames.begin(item.message, this.#core.now());
    deliverAs(this.#session, item.message, item.qos, item.retain, item.subscriptionIdentifiers, frames, item.group);
    frames.end();
  }

  /** What the session had got before it came here, while copies of that may still come. */
  known(): readonly Origin[] {
    const out: Origin[] = [];
    for (const id of this.#known ?? this.#expected ?? none) {
      if (id.includes('@')) continue; // picked for the session: no other copy is on its way
      const colon = id.indexOf(':');
      out.push([Number(id.slice(0, colon)), Number(id.slice(colon + 1))]);
    }
    return out;
  }

  /** No copy can come any more. */
  onTimer(): void {
    const { gate } = this.#session;
    this.#known = none;
    if (gate === this) this.#session.gate = undefined;
  }
}

const none: Set<string> = new Set();

/**
 * Incarnations of the nodes where messages entered that are handed over and owed: an older one of such a line may be on its
 * own way here, because its node did not know of the old holder's routes yet.
 */
export function originsOf(handedOver: readonly QueuedMessage[]): Set<number> {
  const origins = new Set<number>();
  for (const { message, qos, group } of handedOver) if (qos > 0 && group === undefined) origins.add(message.originIncarnation);
  return origins;
}

/** What was handed over, and before each what was held and is older in its line: the old holder may have missed it. The rest follows. */
function merged(handedOver: readonly QueuedMessage[], held: Iterable<QueuedMessage>): QueuedMessage[] {
  const byOrigin = new HeldByOrigin([...held]);
  const out: QueuedMessage[] = [];
  const take = (item: QueuedMessage): void => {
    out.push(item);
  };
  for (const item of handedOver) {
    byOrigin.before(item.message, take);
    out.push(item);
  }
  byOrigin.rest(take);
  return out;
}

/**
 * Messages in the order they came, and per origin, publisher and topic name in that of their numbers. Beyond
 * that numbers say nothing: a retained message gets its own before it is stored, and is routed after that.
 */
class HeldByOrigin {
  readonly #items: readonly QueuedMessage[];
  readonly #lines: Map<string, QueuedMessage[]> = new Map();
  readonly #gone: Set<QueuedMessage> = new Set();

  constructor(items: readonly QueuedMessage[]) {
    this.#items = items;
    for (const item of items) {
      const key = lineOf(item.message);
      const line = this.#lines.get(key);
      if (line === undefined) this.#lines.set(key, [item]);
      else line.push(item);
    }
    for (const line of this.#lines.values()) line.reverse();
  }

  /** Takes out those of the message's line that are older than it. */
  before(message: Message, visit: (item: QueuedMessage) => void): void {
    const line = this.#lines.get(lineOf(message));
    for (let next = line?.at(-1); next !== undefined && next.message.originNumber < message.originNumber; next = line?.at(-1)) {
      line?.pop();
      this.#gone.add(next);
      visit(next);
    }
  }

  rest(visit: (item: QueuedMessage) => void): void {
    for (const item of this.#items) if (!this.#gone.has(item)) visit(item);
  }
}

/** Members of a group share what comes: there is no order. With QoS 1 and 2 a message that is late is still owed. */
function ordered({ qos, group }: QueuedMessage): boolean {
  return qos === 0 && group === undefined;
}

/** A session gets a message once for itself, and once for each group of which it is picked. */
function identity(message: Message, group: string | undefined): string {
  const origin = `${message.originIncarnation}:${message.originNumber}`;
  return group === undefined ? origin : `${origin}@${group}`;
}

function lineOf(message: Message): string {
  return `${message.originIncarnation}:${message.topicName}\0${message.publisherId}`;
}

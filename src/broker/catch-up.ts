// Retained messages for new subscriptions (3.3.1.3, 3.8.4): after the route is effective, everything
// retained that matches is delivered, paced, and live copies of the same messages are told apart by
// their origin: a session gets a value by one of the two ways, not by both.
// One CatchUp per session with SUBSCRIBEs under way; it is the session's gate for live messages.
import { WheelTimer } from '#base/timer-wheel.js';
import { deliverAs } from '#session/deliver.js';
import type { Message, Qos } from '#session/message.js';
import { deliveryQos } from '#session/message.js';
import type { QueuedMessage } from '#session/queue.js';
import type { DeliveryGate, Session, Subscription } from '#session/session.js';
import type { Core } from './core.js';
import type { Origin } from './recent-origins.js';

/** How often a scan that a slow client holds up is looked at again, in ms, though `drained` should tell; and one whose client is away. */
const retryMs = 1000;
const retryAwayMs = 5000;

interface Scan {
  readonly subscription: Subscription;
  after: string | undefined;
}

export class CatchUp extends WheelTimer implements DeliveryGate {
  readonly #core: Core;
  readonly #session: Session;
  readonly #before: DeliveryGate | undefined;

  /** The gate that stood already. */
  get before(): DeliveryGate | undefined {
    return this.#before;
  }
  /** Subscriptions whose route is not effective yet. */
  #waiting = 0;
  readonly #scans: Scan[] = [];
  #running = false;
  /** The client has to take something first. */
  #stuck = false;
  /** `retainer.delivery_rate`: not before. */
  #slowUntil = 0;
  /** Retained messages that came live since the first SUBSCRIBE, and those that a scan delivered. */
  #live: Map<string, Qos> | undefined = undefined;
  #scanned: Map<string, Qos> | undefined = undefined;

  constructor(core: Core, session: Session, before: DeliveryGate | undefined) {
    super();
    this.#core = core;
    this.#session = session;
    this.#before = before;
  }

  /** The session's catch-up, made when there is none; a gate that stands already (the session has moved here) is asked first. */
  static of(core: Core, session: Session): CatchUp {
    if (session.gate instanceof CatchUp) return session.gate;
    const made = new CatchUp(core, session, session.gate);
    session.gate = made;
    return made;
  }

  admit(subscription: Subscription, message: Message, qos: Qos): boolean {
    if (this.#before !== undefined && !this.#before.admit(subscription, message, qos)) return false;
    if (!message.retain || message.payload.length === 0 || subscription.group !== undefined) return true;
    const id = identity(message);
    // A QoS 0 copy may be lost on its way: it does not stand for one that another subscription gets with more.
    const scannedQos = this.#scanned?.get(id);
    if (scannedQos !== undefined && (scannedQos > 0 || qos === 0)) return false;
    if (this.#waiting > 0 || this.#scans.length > 0) {
      this.#live ??= new Map();
      this.#remember(this.#live, id, qos);
    }
    return true;
  }

  held(): readonly QueuedMessage[] {
    return this.#before?.held?.() ?? [];
  }

  known(): readonly Origin[] {
    const out: Origin[] = [...(this.#before?.known?.() ?? [])];
    for (const [id, qos] of this.#scanned ?? []) {
      const colon = id.indexOf(':');
      if (qos > 0) out.push([Number(id.slice(0, colon)), Number(id.slice(colon + 1))]);
    }
    return out;
  }

  /** A SUBSCRIBE waits for its route. */
  begin(): void {
    this.#waiting++;
    this.#core.timers.cancel(this);
  }

  /** The route is effective. `wanted`: deliver what is retained. */
  settled(subscription: Subscription, wanted: boolean): void {
    this.#waiting--;
    if (!wanted) {
      this.#rest();
      return;
    }
    const scan: Scan = { subscription, after: undefined };
    this.#waiting++;
    this.#core.ports.retained.barrier(() => {
      this.#waiting--;
      this.#scans.push(scan);
      this.#run();
    });
  }

  /** One turn's part of what is to be delivered. */
  #run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#stuck = false;
    const { retainedBatch, retainedRate } = this.#core.options;
    const now = this.#core.now();
    if (now < this.#slowUntil) {
      this.#wait(this.#slowUntil);
      return;
    }
    const pace = retainedRate === Number.POSITIVE_INFINITY ? retainedBatch : Math.min(retainedBatch, Math.max(1, Math.ceil(retainedRate / 10)));
    let budget = pace;
    while (this.#scans.length > 0 && budget > 0) {
      const scan = this.#scans[0] as Scan;
      const found = this.#scan(scan, budget);
      budget -= found.delivered;
      if (found.end === 'stuck') {
        this.#stuck = true;
        this.#wait(now + (this.#session.channel === undefined ? retryAwayMs : retryMs));
        return;
      }
      if (found.end === 'all') this.#scans.shift();
      else break;
    }
    if (retainedRate !== Number.POSITIVE_INFINITY) this.#slowUntil = now + ((pace - budget) * 1000) / retainedRate;
    this.#running = false;
    if (this.#scans.length > 0) this.#core.env.clock.endOfTurn(() => this.#run());
    else this.#rest();
  }

  #wait(until: number): void {
    this.#running = false;
    this.#core.timers.schedule(this, until);
  }

  /** The client has taken what waited: a scan that waited for that goes on, in a turn of its own. */
  drained(): void {
    this.#before?.drained?.();
    if (!this.#stuck || this.#session.queuedCount * 4 > this.#session.home.limits.maxQueuedMessages) return;
    this.#stuck = false;
    this.#core.env.clock.endOfTurn(() => this.#run());
  }

  /** Delivers up to `budget` messages. `more`: there may be some left for the next turn; `stuck`: the client must be waited for. */
  #scan(scan: Scan, budget: number): { readonly delivered: number; readonly end: 'all' | 'more' | 'stuck' } {
    const { subscription } = scan;
    const session = this.#session;
    // Unsubscribed, replaced or over in the meantime.
    if (session.ended || session.subscriptions.get(subscription.topicFilter) !== subscription) return { delivered: 0, end: 'all' };
    const { now, ports, options } = { now: this.#core.now(), ports: this.#core.ports, options: this.#core.options };
    let delivered = 0;
    let end: 'all' | 'more' | 'stuck' = 'all';
    const visit = (message: Message): boolean => {
      if (this.#full()) {
        end = 'stuck';
        return false;
      }
      scan.after = message.topicName;
      if (this.#deliver(subscription, message, now)) delivered++;
      if (delivered < budget) return true;
      end = 'more';
      return false;
    };
    const on = ports.retained.scan(subscription.topicFilter, visit, scan.after, options.retainedRows);
    if (on === undefined) return { delivered, end };
    scan.after = on;
    return { delivered, end: 'more' };
  }

  /** Half of what may wait for the client is left to live messages. */
  #full(): boolean {
    const { queue, channel, home, inflight } = this.#session;
    if (channel !== undefined && !channel.out.writable) return true;
    const { maxQueuedMessages, maxQueuedBytes } = home.limits;
    if (channel !== undefined && queue === undefined && maxQueuedMessages < 2) return (inflight?.sent ?? 0) >= channel.window;
    return (queue?.length ?? 0) * 2 >= maxQueuedMessages || (queue?.bytes ?? 0) * 2 >= maxQueuedBytes;
  }

  #deliver(subscription: Subscription, message: Message, now: number): boolean {
    if (message.expiresAt <= now) return false;
    const id = identity(message);
    const qos = deliveryQos(message.qos, subscription.qos, this.#core.limits.upgradeQos);
    const liveQos = this.#live?.get(id);
    if (liveQos !== undefined && (liveQos > 0 || qos === 0)) return false;
    this.#scanned ??= new Map();
    // Published with QoS 0 it gives nobody more: this copy stands for every other one, wherever the session is by then.
    this.#remember(this.#scanned, id, message.qos === 0 && !this.#core.limits.upgradeQos ? 1 : qos);
    if (subscription.noLocal && message.publisherId === this.#session.clientId) return false;
    const { frames } = this.#core;
    frames.begin(message, now);
    // RETAIN 1 [MQTT-3.3.1-8] of 3.1.1
    deliverAs(this.#session, message, qos, true, subscription.identifiers, frames);
    frames.end();
    return true;
  }

  #remember(map: Map<string, Qos>, id: string, qos: Qos): void {
    map.set(id, Math.max(qos, map.get(id) ?? 0) as Qos);
    if (map.size <= this.#core.options.retainedDedupEntries) return;
    for (const oldest of map.keys()) {
      map.delete(oldest);
      return;
    }
  }

  /** Nothing under way: live copies of what was scanned may still be, for a while. */
  #rest(): void {
    if (this.#waiting > 0 || this.#scans.length > 0) return;
    this.#live = undefined;
    if (this.#scanned === undefined || this.#session.ended) this.#remove();
    else this.#core.timers.schedule(this, this.#core.now() + this.#core.options.retainedDedupMs);
  }

  #remove(): void {
    this.#core.timers.cancel(this);
    if (this.#session.gate === this) this.#session.gate = this.#before;
  }

  onTimer(): void {
    if (this.#session.ended) this.#scans.length = 0;
    if (this.#scans.length > 0) this.#run();
    else if (this.#waiting === 0) this.#remove();
  }
}

function identity(message: Message): string {
  return `${message.originIncarnation}:${message.originNumber}`;
}

// What the broker does as memory gets short, by the level that `overload.ts` decides on and `node` hands in.
// From `high` on nobody comes in who has no session here, and QoS 0 messages wait for nobody; from `critical` on
// publishers that make backlogs grow are read slowly, and no filters are added; at `full` no QoS 1 or 2 message is
// taken that would have to wait for a persistent session: its publisher is told, and has it still.
// What was acknowledged is never dropped here. `broker.ts` asks it; on the way of a message that is one boolean.
import type { Counter, Metrics } from '#env/metrics.js';
import type { ConnectPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel, SubscribeRequest } from '#session/channel.js';
import type { Message } from '#session/message.js';
import { type QueuedMessage, queuedBytes } from '#session/queue.js';
import type { Session, ShortMemory } from '#session/session.js';
import type { Core } from './core.js';
import type { FullMemory } from './durable-sessions.js';
import type { OverloadLevel } from './overload.js';
import type { Sessions } from './sessions.js';

/** A queue of more than this is a backlog: a client that reads, and acknowledges, has less. */
export const backlogBytes: number = 256 * 1024;
/** A publisher that makes one grow is not read for so long. */
const holdMs = 1_000;

/** Everything that is given up or put off for the lack of memory. */
export class PressureMetrics {
  readonly refusedClients: Counter;
  readonly refusedFilters: Counter;
  readonly refusedMessages: Counter;
  readonly droppedQos0: Counter;
  readonly heldPublishers: Counter;

  constructor(metrics: Metrics) {
    const c = (name: string, help: string): Counter => metrics.counter(name, help);
    this.refusedClients = c('emqx_overload_protection_new_conn', 'CONNECT packets refused because memory is short');
    this.refusedFilters = c('starmesh_overload_refused_filters_total', 'new topic filters refused because memory is short');
    this.refusedMessages = c(
      'starmesh_overload_refused_messages_total',
      'QoS 1 and 2 messages refused because memory is full, per session that they would have waited for',
    );
    this.droppedQos0 = c('starmesh_overload_dropped_qos0_total', 'QoS 0 messages taken out of queues because memory is short');
    this.heldPublishers = c('starmesh_overload_held_publishers_total', 'times that a publisher was not read for making a backlog grow');
  }
}

export class Pressure implements ShortMemory, FullMemory {
  readonly #core: Core;
  readonly #sessions: Sessions;
  readonly #metrics: PressureMetrics;
  #level: OverloadLevel = 0;
  #refuseNew = true;
  /** Whether publishers are looked at. */
  holding = false;
  /** Grows with every message that is put into a backlog. */
  backlogs = 0;
  /** Publishers that are not read, and until when. */
  readonly #held = new Map<Channel, number>();

  constructor(core: Core, sessions: Sessions) {
    this.#core = core;
    this.#sessions = sessions;
    this.#metrics = new PressureMetrics(core.env.metrics);
  }

  /** `refuseNew`: `overload_protection.backoff_new_conn`. */
  set(level: OverloadLevel, refuseNew: boolean): void {
    this.#level = level;
    this.#refuseNew = refuseNew;
    this.holding = level >= 2;
    this.#sessions.shortMemory = level >= 1 ? this : undefined;
    const { durable } = this.#core;
    if (durable !== undefined) durable.memoryFull = level >= 3 ? this : undefined;
    if (!this.holding) this.tick(Number.POSITIVE_INFINITY);
  }

  /** From time to time: publishers whose time is over are read again. */
  tick(now: number): void {
    for (const [channel, until] of this.#held) {
      if (until > now) continue;
      this.#held.delete(channel);
      channel.resumeReading();
    }
  }

  // ---- new clients, new filters ----

  /** Also of clients that are away, whose node gives them away. */
  get refusesSessions(): boolean {
    return this.#level > 0 && this.#refuseNew;
  }

  /** Who has a session here brings nothing new, and may take what waits for it. */
  refuses(channel: Channel, packet: ConnectPacket): boolean {
    if (!this.refusesSessions) return false;
    if (packet.clientId !== '' && this.#sessions.get(channel.clientId) !== undefined) return false;
    this.#core.metrics.clientConnect.value++;
    this.#metrics.refusedClients.value++;
    return true;
  }

  /** Marks those that the session does not have. */
  refuseFilters(session: Session, requests: readonly SubscribeRequest[]): void {
    if (this.#level < 2) return;
    for (const request of requests) {
      if (request.reasonCode >= 0x80 || session.subscriptions.has(request.key)) continue;
      request.reasonCode = ReasonCode.quotaExceeded;
      this.#metrics.refusedFilters.value++;
    }
  }

  // ---- messages ----

  queued(bytes: number): void {
    if (bytes > backlogBytes) this.backlogs++;
  }

  /** What the client has just published went into a backlog. */
  hold(channel: Channel, now: number): void {
    if (channel.state !== 'connected' || this.#held.has(channel)) return;
    this.#held.set(channel, now + holdMs);
    this.#metrics.heldPublishers.value++;
    channel.pauseReading();
  }

  /** The connection is gone. */
  closed(channel: Channel): void {
    if (this.#held.size > 0) this.#held.delete(channel);
  }

  has(session: Session): boolean {
    return session.channel !== undefined && (session.queue?.bytes ?? 0) <= backlogBytes;
  }

  refused(): void {
    this.#metrics.refusedMessages.value++;
  }

  /** Takes the QoS 0 messages out of all queues; about how many bytes nobody needs any more. */
  dropQos0(): number {
    // One message may wait for many.
    const seen = new Set<Message>();
    let bytes = 0;
    for (const session of this.#sessions.all()) {
      if (session.queue === undefined || session.queue.qos0Count === 0) continue;
      for (const { message } of this.#dropQos0Of(
        session,
        session.queue.takeOut((item) => item.qos === 0),
      )) {
        if (!seen.has(message)) bytes += queuedBytes(message);
        seen.add(message);
      }
    }
    return bytes;
  }

  #dropQos0Of(session: Session, items: readonly QueuedMessage[]): readonly QueuedMessage[] {
    const { metrics, hooks } = this.#core;
    const { length } = items;
    session.queueDropped += length;
    metrics.dropped.value += length;
    metrics.droppedQos0.value += length;
    this.#metrics.droppedQos0.value += length;
    if (hooks.undelivered !== undefined) for (const { message } of items) hooks.undelivered(session, message, 'qos0_msg');
    return items;
  }
}

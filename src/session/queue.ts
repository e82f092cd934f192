// Messages that wait for a session: its client is absent, its window is full, or its connection takes
// no more. Bounded by count and bytes. Drop policy: a QoS 0 message that finds no room is dropped
// itself; a QoS 1 or 2 message pushes out the oldest message (as EMQX does). Every drop is reported.
import { Deque } from '#base/deque.js';
import type { Message, Qos } from './message.js';
import { keep } from './message.js';

/** One delivery that waits: the message as it goes to this session. */
export interface QueuedMessage {
  readonly message: Message;
  /** What the subscription grants, at most the message's own. */
  readonly qos: Qos;
  /** RETAIN flag of the delivery. */
  readonly retain: boolean;
  readonly subscriptionIdentifiers: readonly number[] | undefined;
  /** The group (`$share/GROUP/FILTER`) of which the session was picked for it: another member may get it when the session ends. */
  readonly group?: string | undefined;
}

/** Memory of a queued message beyond its payload and topic name, roughly. */
export const queuedOverheadBytes = 128;

export function queuedBytes(message: Message): number {
  return message.payload.length + message.topicName.length + queuedOverheadBytes;
}

export class MessageQueue {
  readonly #items = new Deque<QueuedMessage>();
  bytes = 0;
  /** QoS 0 messages among them: while there are any, later QoS 0 messages wait too, to keep their order. */
  qos0Count = 0;
  /** By which rules of access all of them were judged last ({@link QueueRights}); -1: by none of today's. */
  judgedAt: number;

  constructor(judgedAt: number = -1) {
    this.judgedAt = judgedAt;
  }

  get length(): number {
    return this.#items.length;
  }

  /** Queues the message; the number of messages dropped to stay within the bounds, this one included, is returned. */
  push(item: QueuedMessage, maxMessages: number, maxBytes: number): number {
    const size = queuedBytes(item.message);
    let dropped = 0;
    if (this.#items.length >= maxMessages || this.bytes + size > maxBytes) {
      if (item.qos === 0 || size > maxBytes || maxMessages <= 0) return 1;
      while (this.#items.length >= maxMessages || this.bytes + size > maxBytes) {
        this.shift();
        dropped++;
      }
    }
    keep(item.message);
    this.#add(item);
    return dropped;
  }

  /** QoS 1 and 2 messages among them. */
  get reliableCount(): number {
    return this.#items.length - this.qos0Count;
  }

  peek(): QueuedMessage | undefined {
    return this.#items.peek();
  }

  shift(): QueuedMessage | undefined {
    const item = this.#items.shift();
    if (item === undefined) return undefined;
    this.bytes -= queuedBytes(item.message);
    if (item.qos === 0) this.qos0Count--;
    return item;
  }

  /** Takes out those that `out` says, which are returned; the others keep their order. */
  takeOut(out: (item: QueuedMessage) => boolean): QueuedMessage[] {
    const taken: QueuedMessage[] = [];
    for (let left = this.#items.length; left > 0; left--) {
      const item = this.shift();
      if (item === undefined) break;
      if (out(item)) taken.push(item);
      else this.#add(item);
    }
    return taken;
  }

  #add(item: QueuedMessage): void {
    this.#items.push(item);
    this.bytes += queuedBytes(item.message);
    if (item.qos === 0) this.qos0Count++;
  }

  at(i: number): QueuedMessage | undefined {
    return this.#items.at(i);
  }
}

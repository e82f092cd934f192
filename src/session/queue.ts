// Messages that wait for a session: its client is absent, its window is full, or its connection takes
// no more. Bounded by count and bytes. Drop policy: a QoS 0 message that finds no room is dropped
// itself; a QoS 1 or 2 message pushes out the oldest message (as EMQX does). Every drop is reported.
// With priorities (`mqtt.mqueue_priorities`) the messages stand in the order in which they leave: those of a higher
// rank first, those of one rank as they came. Then a message pushes out the oldest of the lowest rank, which is not above
// its own, or is dropped itself.
import { Deque } from '#base/deque.js';
import { keep, type Message, type Qos } from './message.js';

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

/** `mqtt.mqueue_priorities` and `mqtt.mqueue_default_priority`. */
export interface QueuePriorities {
  /** By topic name. */
  readonly ranks: ReadonlyMap<string, number>;
  /** Of all other topic names. */
  readonly otherwise: number;
}

/** Messages of one rank: they stand together, behind those of higher ranks. */
interface Lane {
  readonly rank: number;
  length: number;
  /** QoS 1 and 2 messages among them. */
  reliable: number;
}

/** Memory of a queued message beyond its payload and topic name, roughly. */
export const queuedOverheadBytes = 128;

export function queuedBytes(message: Message): number {
  return message.payload.length + message.topicName.length + queuedOverheadBytes;
}

export class MessageQueue {
  readonly #items = new Deque<QueuedMessage>();
  /** From the highest rank down; undefined: no message has a rank. */
  #lanes: Lane[] | undefined = undefined;
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

  /** Queues the message; the number of messages dropped to stay within the bounds, this one included, is returned. `onDropped` is given each. */
  push(item: QueuedMessage, maxMessages: number, maxBytes: number, onDropped?: (item: QueuedMessage) => void): number {
    const size = queuedBytes(item.message);
    let dropped = 0;
    if (!this.fits(size, maxMessages, maxBytes)) {
      if (item.qos === 0 || size > maxBytes || maxMessages <= 0) {
        onDropped?.(item);
        return 1;
      }
      while (!this.fits(size, maxMessages, maxBytes)) {
        const oldest = this.shift();
        if (oldest !== undefined) onDropped?.(oldest);
        dropped++;
      }
    }
    keep(item.message);
    this.#items.push(item);
    this.#came(item);
    return dropped;
  }

  /** Whether there is room for one of so many bytes more. */
  fits(bytes: number, maxMessages: number, maxBytes: number): boolean {
    return this.#items.length < maxMessages && this.bytes + bytes <= maxBytes;
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
    this.#went(item);
    if (this.#lanes !== undefined) leave(this.#lanes, 0, item);
    return item;
  }

  /** Takes out those that `out` says, which are returned; the others keep their order. */
  takeOut(out: (item: QueuedMessage) => boolean): QueuedMessage[] {
    const taken: QueuedMessage[] = [];
    const before = this.#lanes;
    this.#lanes = undefined;
    const lanes: Lane[] = [];
    // In a round through all of them what was first is last.
    for (const { rank, length } of before ?? [{ rank: 0, length: this.#items.length }]) {
      const lane: Lane = { rank, length: 0, reliable: 0 };
      for (let left = length; left > 0; left--) {
        const item = this.shift();
        if (item === undefined) break;
        if (out(item)) taken.push(item);
        else this.#putLast(item, lane);
      }
      if (lane.length > 0) lanes.push(lane);
    }
    if (before !== undefined) this.#lanes = lanes;
    return taken;
  }

  #putLast(item: QueuedMessage, lane: Lane): void {
    this.#items.push(item);
    this.#came(item);
    lane.length++;
    if (item.qos > 0) lane.reliable++;
  }

  at(i: number): QueuedMessage | undefined {
    return this.#items.at(i);
  }

  // ---- with ranks: all of its messages have one, or none has ----

  /** Of the last message, which has the lowest. */
  get lowestRank(): number {
    return this.#lanes?.at(-1)?.rank ?? Number.POSITIVE_INFINITY;
  }

  /** Puts the message behind those of its rank and above; how many QoS 1 and 2 messages stand behind it is returned. */
  insert(item: QueuedMessage, rank: number): number {
    this.#lanes ??= [];
    const lanes = this.#lanes;
    let behind = 0;
    let reliableBehind = 0;
    let at = lanes.length;
    for (let lane = lanes[at - 1]; lane !== undefined && lane.rank < rank; lane = lanes[at - 1]) {
      behind += lane.length;
      reliableBehind += lane.reliable;
      at--;
    }
    let lane = lanes[at - 1];
    if (lane?.rank !== rank) {
      lane = { rank, length: 0, reliable: 0 };
      lanes.splice(at, 0, lane);
    }
    lane.length++;
    if (item.qos > 0) lane.reliable++;
    keep(item.message);
    this.#items.insert(this.#items.length - behind, item);
    this.#came(item);
    return reliableBehind;
  }

  /** Drops the oldest message of the lowest rank. Its place among the QoS 1 and 2 messages; -1: it was of QoS 0. */
  evict(onDropped?: (item: QueuedMessage) => void): number {
    const lanes = this.#lanes ?? [];
    const lane = lanes.at(-1);
    if (lane === undefined) return -1;
    const place = this.reliableCount - lane.reliable;
    const item = this.#items.removeAt(this.#items.length - lane.length);
    if (item === undefined) return -1;
    this.#went(item);
    leave(lanes, lanes.length - 1, item);
    onDropped?.(item);
    return item.qos === 0 ? -1 : place;
  }

  #came(item: QueuedMessage): void {
    this.bytes += queuedBytes(item.message);
    if (item.qos === 0) this.qos0Count++;
  }

  #went(item: QueuedMessage): void {
    this.bytes -= queuedBytes(item.message);
    if (item.qos === 0) this.qos0Count--;
  }
}

function leave(lanes: Lane[], at: number, item: QueuedMessage): void {
  const lane = lanes[at];
  if (lane === undefined) return;
  lane.length--;
  if (item.qos > 0) lane.reliable--;
  if (lane.length === 0) lanes.splice(at, 1);
}

// Messages that wait for a session: its client is absent, its window is full, or its connection takes
// no more. Bounded by count and bytes. Drop policy: a QoS 0 message that finds no room is dropped
// itself; a QoS 1 or 2 message pushes out the oldest message (as EMQX does). Every drop is reported.
// With priorities (`mqtt.mqueue_priorities`) the messages of a higher rank stand first, those of one rank as they came, and
// leave in that order, but for turns: see `Turn`. Then a message pushes out the oldest of the lowest rank, which is not
// above its own, or is dropped itself.
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

/**
 * So many messages times one more than the rank leave before lower ranks have their turn, as in EMQX (`shift_multiplier`):
 * of the highest rank there is, then of the next below it, and so on down, then of the highest again. So a flood of one rank
 * cannot keep those below it waiting for ever. The count goes on where a rank has nothing for a moment.
 */
export const turnMultiplier = 10;

interface Turn {
  /** Of what left last, or whose turn it is. */
  rank: number;
  /** Messages that are left of it. */
  left: number;
  /** The ranks above it wait: they have had theirs. Otherwise what comes with a higher one goes first. */
  lent: boolean;
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
  #turn: Turn | undefined = undefined;
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

  /** The message that leaves next. */
  next(): QueuedMessage | undefined {
    const lanes = this.#lanes;
    if (lanes === undefined || lanes.length < 2) return this.#items.peek();
    return this.#items.at(startOf(lanes, this.#laneOnTurn(lanes)));
  }

  /** Takes `next` out. Its place among the QoS 1 and 2 messages, 0 where it is of QoS 0. */
  takeNext(): number {
    const lanes = this.#lanes;
    if (lanes === undefined) {
      this.shift();
      return 0;
    }
    const at = this.#laneOnTurn(lanes);
    const lane = lanes[at];
    if (lane === undefined) return 0;
    if (this.#turn !== undefined) {
      this.#turn.rank = lane.rank;
      this.#turn.left--;
    }
    if (at === 0) {
      this.shift();
      return 0;
    }
    let place = 0;
    for (let i = 0; i < at; i++) place += lanes[i]?.reliable ?? 0;
    const item = this.#items.removeAt(startOf(lanes, at));
    if (item === undefined) return 0;
    this.#went(item);
    leave(lanes, at, item);
    return item.qos === 0 ? 0 : place;
  }

  #laneOnTurn(lanes: readonly Lane[]): number {
    this.#turn ??= { rank: Number.POSITIVE_INFINITY, left: 0, lent: false };
    const turn = this.#turn;
    if (turn.left > 0 && !turn.lent) return 0;
    // Its turn goes on, also where that lane is empty and a lower one is next; at the end of it the next below has its own.
    const at = firstFrom(lanes, turn.left > 0 ? turn.rank : turn.rank - 1);
    turn.lent = at > 0;
    if (turn.left === 0) {
      turn.rank = lanes[at]?.rank ?? 0;
      turn.left = (turn.rank + 1) * turnMultiplier;
    }
    return at;
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

/** Where the lane's messages begin. */
function startOf(lanes: readonly Lane[], at: number): number {
  let start = 0;
  for (let i = 0; i < at; i++) start += lanes[i]?.length ?? 0;
  return start;
}

/** The first lane of that rank or below; without one the first of all. */
function firstFrom(lanes: readonly Lane[], rank: number): number {
  for (let i = 0; i < lanes.length; i++) if ((lanes[i]?.rank ?? 0) <= rank) return i;
  return 0;
}

function leave(lanes: Lane[], at: number, item: QueuedMessage): void {
  const lane = lanes[at];
  if (lane === undefined) return;
  lane.length--;
  if (item.qos > 0) lane.reliable--;
  if (lane.length === 0) lanes.splice(at, 1);
}

// Exactly-once streams: per incarnation, the proposals of a node to a shard are numbered 1, 2, 3 …
// and every number is consumed by one logged transaction. The outcome of a number is kept until
// the proposer says that it has received it, so that a retry after a lost reply gets the first
// outcome. A purge freezes the stream instead of deleting it: the renewed node asks it what became
// of its pending writes, then releases it.
import { assert } from '#base/assert.js';
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import { Deque } from '#base/deque.js';
import type { Slab } from '#base/slab.js';
import type { Status } from './entry-codec.js';

export interface Outcome {
  readonly status: Status;
  readonly reply: Uint8Array;
  readonly index: number;
}

export interface Stream {
  readonly nodeId: string;
  lastSeq: number;
  receivedUpTo: number;
  frozen: boolean;
  /** Of (receivedUpTo, lastSeq]. */
  readonly outcomes: Outcomes;
}

/** Outcomes of consecutive numbers. */
export class Outcomes {
  readonly #from: number;
  readonly #items: Deque<Outcome> = new Deque();
  #dropped = 0;

  /** `first`: the number of the first one. */
  constructor(first: number) {
    this.#from = first;
  }

  get size(): number {
    return this.#items.length;
  }

  /** Number of the first one there is. */
  get first(): number {
    return this.#from + this.#dropped;
  }

  get(seq: number): Outcome | undefined {
    return this.#items.at(seq - this.first);
  }

  push(outcome: Outcome): void {
    this.#items.push(outcome);
  }

  /** Forgets those below `seq`. */
  dropBelow(seq: number): void {
    while (this.#items.length > 0 && this.first < seq) {
      this.#items.shift();
      this.#dropped++;
    }
  }

  clone(): Outcomes {
    const copy = new Outcomes(this.first);
    for (let i = 0; i < this.#items.length; i++) copy.push(this.#items.at(i) as Outcome);
    return copy;
  }
}

/** The common outcome, done and nothing to say, one object per index. */
let plainOutcome: Outcome = { status: 0, reply: emptyBytes, index: 0 };

/** `reply` is kept. */
export function outcomeOf(status: Status, reply: Uint8Array, index: number): Outcome {
  if (status !== 0 || reply.length > 0) return { status, reply, index };
  if (plainOutcome.index !== index) plainOutcome = { status, reply: emptyBytes, index };
  return plainOutcome;
}

const scratch = new ByteWriter(1024);

export class Streams {
  readonly #byIncarnation: Map<number, Stream> = new Map();

  clone(): Streams {
    const copy = new Streams();
    for (const [incarnation, s] of this.#byIncarnation) copy.#byIncarnation.set(incarnation, { ...s, outcomes: s.outcomes.clone() });
    return copy;
  }

  get(incarnation: number): Stream | undefined {
    return this.#byIncarnation.get(incarnation);
  }

  entries(): IterableIterator<[number, Stream]> {
    return this.#byIncarnation.entries();
  }

  /** Begins the stream of a newly admitted incarnation; `replaced` is frozen, older frozen ones of the node are dropped. Returns what was dropped. */
  admit(nodeId: string, incarnation: number, replaced: number): number[] {
    const dropped: number[] = [];
    const newest = replaced !== 0 ? replaced : this.#newestOf(nodeId);
    for (const [other, s] of this.#byIncarnation) if (s.nodeId === nodeId && other !== newest) dropped.push(other);
    for (const other of dropped) this.#byIncarnation.delete(other);
    this.freeze(replaced);
    this.#byIncarnation.set(incarnation, { nodeId, lastSeq: 0, receivedUpTo: 0, frozen: false, outcomes: new Outcomes(1) });
    return dropped;
  }

  #newestOf(nodeId: string): number {
    let newest = 0;
    for (const [incarnation, s] of this.#byIncarnation) if (s.nodeId === nodeId && incarnation > newest) newest = incarnation;
    return newest;
  }

  freeze(incarnation: number): void {
    const s = this.#byIncarnation.get(incarnation);
    if (s !== undefined) s.frozen = true;
  }

  release(incarnation: number): void {
    const s = this.#byIncarnation.get(incarnation);
    if (s?.frozen === true) this.#byIncarnation.delete(incarnation);
  }

  /**
   * True when the number was the stream's next one: then, and only then, the transaction counts. `judged`: it has been judged
   * already, and may have frozen its own stream, as a node does that leaves.
   */
  record(incarnation: number, seq: number, receivedUpTo: number, outcome: Outcome, judged: boolean = false): boolean {
    const s = this.#byIncarnation.get(incarnation);
    if (s === undefined || (s.frozen && !judged) || seq !== s.lastSeq + 1) return false;
    s.lastSeq = seq;
    s.outcomes.push(outcome);
    const upTo = Math.min(receivedUpTo, seq - 1);
    if (upTo > s.receivedUpTo) {
      s.outcomes.dropBelow(upTo + 1);
      s.receivedUpTo = upTo;
    }
    return true;
  }

  load(incarnation: number, bytes: Uint8Array): void {
    const r = new ByteReader(bytes);
    const nodeId = r.string();
    const lastSeq = r.varint();
    const receivedUpTo = r.varint();
    const s: Stream = { nodeId, lastSeq, receivedUpTo, frozen: r.u8() === 1, outcomes: new Outcomes(receivedUpTo + 1) };
    for (let n = r.varint(); n > 0; n--) {
      const seq = r.varint();
      if (seq !== s.outcomes.first + s.outcomes.size) throw new MalformedError('the outcomes of a stream are consecutive');
      const status = r.u8() as Status;
      const index = r.varint();
      s.outcomes.push(outcomeOf(status, copyBytes(r.blob()), index));
    }
    this.#byIncarnation.set(incarnation, s);
  }

  /** `slab`: where the bytes are to be. */
  encode(incarnation: number, slab: Slab): Uint8Array {
    const s = this.#byIncarnation.get(incarnation);
    assert(s !== undefined, 'stream to encode exists');
    const w = scratch;
    w.reset();
    w.string(s.nodeId);
    w.varint(s.lastSeq);
    w.varint(s.receivedUpTo);
    w.u8(s.frozen ? 1 : 0);
    w.varint(s.outcomes.size);
    for (let i = 0, seq = s.outcomes.first; i < s.outcomes.size; i++, seq++) {
      const o = s.outcomes.get(seq) as Outcome;
      w.varint(seq);
      w.u8(o.status);
      w.varint(o.index);
      w.blob(o.reply);
    }
    return w.finishIn(slab);
  }
}

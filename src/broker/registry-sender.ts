// Sends the registry's commands to the leaders of its shards. What comes together goes together: while
// enough of a shard's commands are on their way, the next ones wait for an answer and then go as one
// (`registry-batch.ts`), so that a storm of connections costs a few entries of the log instead of one each.
//
// Invariants: the commands of a shard arrive in the order in which they were handed in; each is answered
// once; what waits is bounded.
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import type { Database, WriteFailureKind } from '#db/api.js';
import type { Clock } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { type BatchedCommand, beginItem, endItem, itemHeadBytes, Replies, readItems } from './registry-batch.js';
import { registryTableOf } from './schema.js';

/** `failure` undefined: the leader's reply, a view of what may be kept. */
export type SentDone = (failure: WriteFailureKind | undefined, reply: Uint8Array) => void;

/**
 * With fewer on their way a command does not wait: it costs more, and is answered sooner. As long as so many go at once,
 * there is a storm, and commands wait for the answer to the batch before.
 */
const straightMax = 4;
/** A storm's batches are at most so far apart, however long the way to the leader and its disk take. */
const gatherMs = 2;
/** Of one batch. */
const batchCommandsMax = 1_000;
const batchBytesMax = 256 * 1024;
/** Of one shard, on this node; more are refused. */
const waitingMax = 100_000;
const waitingBytesMax = 64 * 1024 * 1024;

/** Commands of one shard that go together. */
class Batch {
  readonly body: ByteWriter;
  readonly done: SentDone[] = [];
  deadlineAt: number = Number.POSITIVE_INFINITY;

  constructor(body: ByteWriter) {
    this.body = body;
  }

  get full(): boolean {
    return this.done.length >= batchCommandsMax || this.body.length >= batchBytesMax;
  }
}

class Lane {
  readonly shard: string;
  /** Not handed to the database; all but the last are full. */
  readonly waiting: Batch[] = [];
  waitingCommands = 0;
  waitingBytes = 0;
  /** Commands on their way, and with how many of them the next ones wait. */
  flying = 0;
  limit: number = straightMax;
  /** When the last batch went. */
  sentAt: number = Number.NEGATIVE_INFINITY;
  scheduled = false;
  /** One is kept for the next batch. */
  spare: ByteWriter | undefined = undefined;

  constructor(shard: string) {
    this.shard = shard;
  }
}

export class RegistrySender {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #refused: Counter;
  readonly #lanes: Map<string, Lane> = new Map();

  constructor(clock: Clock, metrics: Metrics, db: Database) {
    this.#clock = clock;
    this.#db = db;
    this.#refused = metrics.counter(
      'starmesh_registry_commands_refused_total',
      'Commands of the client registry refused because too many wait on this node',
    );
  }

  /** `write` puts the body of the command for the client id whose `key` it is. */
  send<T>(command: BatchedCommand, key: Uint8Array, body: T, write: (w: ByteWriter, body: T) => void, deadlineMs: number, done: SentDone): void {
    const lane = this.#lane(registryTableOf(key).shard);
    if (lane.waitingCommands >= waitingMax || lane.waitingBytes >= waitingBytesMax) {
      this.#refused.value++;
      return done('refused', emptyBytes);
    }
    let batch = lane.waiting[lane.waiting.length - 1];
    if (batch === undefined || batch.full) {
      batch = new Batch(lane.spare ?? new ByteWriter(1024));
      lane.spare = undefined;
      lane.waiting.push(batch);
    }
    const w = batch.body;
    const at = beginItem(w, command);
    write(w, body);
    endItem(w, at);
    batch.done.push(done);
    const now = this.#clock.now();
    batch.deadlineAt = Math.min(batch.deadlineAt, now + deadlineMs);
    lane.waitingCommands++;
    lane.waitingBytes += w.length - at;
    // Who comes last waits for an answer at the most: no timer is needed.
    if (lane.flying < lane.limit || now - lane.sentAt >= gatherMs) this.#schedule(lane);
  }

  #lane(shard: string): Lane {
    let lane = this.#lanes.get(shard);
    if (lane === undefined) {
      lane = new Lane(shard);
      this.#lanes.set(shard, lane);
    }
    return lane;
  }

  #schedule(lane: Lane): void {
    if (lane.scheduled) return;
    lane.scheduled = true;
    this.#clock.endOfTurn(() => {
      lane.scheduled = false;
      this.#flush(lane);
    });
  }

  #flush(lane: Lane): void {
    lane.limit = lane.waitingCommands >= straightMax ? 1 : straightMax;
    lane.sentAt = this.#clock.now();
    for (let batch = lane.waiting.shift(); batch !== undefined; batch = lane.waiting.shift()) {
      lane.waitingCommands -= batch.done.length;
      lane.waitingBytes -= batch.body.length;
      this.#sendBatch(lane, batch);
    }
  }

  #sendBatch(lane: Lane, batch: Batch): void {
    const { done } = batch;
    const count = done.length;
    const left = Math.max(0, batch.deadlineAt - this.#clock.now());
    const bytes = batch.body.finish();
    batch.body.reset();
    if (batch.body.bytes.length <= batchBytesMax) lane.spare = batch.body;
    lane.flying += count;
    if (count === 1) {
      this.#sendOne(lane, bytes, left, done[0] as SentDone);
      return;
    }
    this.#db.command(lane.shard, 'batch', bytes, { deadlineMs: left }, (failure, result) => {
      lane.flying -= count;
      // The schedule comes first: answers may bring the next commands, which belong to the same batch.
      this.#next(lane);
      if (failure === undefined) answerAll(done, result.reply);
      // A leader of an older version knows no batches: it did nothing, and is asked for each.
      else if (failure.kind === 'refused') this.#sendEach(lane, bytes, batch.deadlineAt, done);
      else for (const each of done) each(failure.kind, emptyBytes);
    });
  }

  #next(lane: Lane): void {
    if (lane.waiting.length > 0) this.#schedule(lane);
  }

  #sendOne(lane: Lane, item: Uint8Array, deadlineMs: number, done: SentDone): void {
    readItems(item, (command, body) => {
      this.#db.command(lane.shard, command, body, { deadlineMs }, (failure, result) => {
        lane.flying--;
        this.#next(lane);
        done(failure?.kind, result.reply);
      });
    });
  }

  #sendEach(lane: Lane, bytes: Uint8Array, deadlineAt: number, done: readonly SentDone[]): void {
    const left = Math.max(0, deadlineAt - this.#clock.now());
    let i = 0;
    let at = 0;
    readItems(bytes, (_command, body) => {
      const end = at + itemHeadBytes + body.length;
      lane.flying++;
      this.#sendOne(lane, bytes.subarray(at, end), left, done[i++] as SentDone);
      at = end;
    });
  }
}

function answerAll(done: readonly SentDone[], reply: Uint8Array): void {
  const replies = new Replies(reply);
  for (const each of done) {
    const one = replies.next();
    each(one === undefined ? 'refused' : undefined, one ?? emptyBytes);
  }
}

// Delayed messages over the replicated database: implements DelayedStore. A message is committed with its
// due time in a table of shard `retain`, so that it outlives the node it came to. When it is due, the
// leader's node claims it (delayed-commands.ts), publishes it, and deletes it once it has been accepted; if
// that node dies in between, its claim vanishes and the next leader's node publishes the message.
// Invariant: while the publishing node lives, a message is published once.
//
// Time is the leader's stamp; a node that leads knows it from the answers to its claims.
import { MalformedError } from '#base/byte-reader.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { Database } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Message } from '#session/message.js';
import {
  claimMax,
  countDelayed,
  decodeClaimed,
  decodeDelayedRow,
  dueOf,
  encodeDelayedKeys,
  encodeDelayedPut,
  idOfKey,
  isMessageKey,
  keyOfId,
  messagesEnd,
} from './delayed-commands.js';
import type { DelayedPublisher, DelayedStore } from './ports.js';
import { decodeRetainedBody, encodeRetainedBody } from './retained-row.js';
import { delayedTable } from './schema.js';

export interface DelayedOptions {
  /** `delayed.max_delayed_messages`; 0: unlimited. */
  readonly messagesMax: number;
  readonly deadlineMs: number;
  /** How often a node that does not lead looks at messages that are due, and a failed command is tried again. */
  readonly retryMs: number;
  /** Messages claimed and not accepted yet. */
  readonly openMax: number;
}

export const delayedDefaults: DelayedOptions = { messagesMax: 0, deadlineMs: 5_000, retryMs: 1_000, openMax: 1_000 };

/** What the database takes as one value, less our own header. */
const bodyBytesMax = 1024 * 1024;
const timerMsMax = 3_600_000;
/** A node that does not lead looks at least this often, while there are messages, whether it does now. */
const lookMs = 10_000;

export interface DelayedEnv {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export interface WaitingMessage {
  /** 32 hexadecimal digits. */
  readonly id: string;
  /** Leader's stamp, ms since 1970. */
  readonly dueMs: number;
  readonly topicName: string;
  readonly publisherId: string;
  readonly qos: number;
  readonly retain: boolean;
  /** A view, valid until the end of the turn. */
  readonly payload: Uint8Array;
}

type Publish = (message: Message, done: () => void, publisher?: DelayedPublisher) => void;

export class ReplicatedDelayed implements DelayedStore {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #db: Database;
  readonly #options: DelayedOptions;
  readonly #unsubscribe: () => void;
  readonly #stored: Counter;
  readonly #refused: Counter;
  readonly #published: Counter;
  readonly #expired: Counter;
  #publish: Publish = (_message, done) => done();
  /** Leader's stamp less our monotonic clock; undefined until a leader has answered. */
  #stampOffset: number | undefined = undefined;
  /** By the leader's stamp: the earliest message that nobody has claimed, as far as known. */
  #nextDue = Number.POSITIVE_INFINITY;
  #timer: Timer | undefined;
  #timerAt = 0;
  #claiming = false;
  /** Claimed and not deleted yet. */
  #open = 0;
  #finished: Uint8Array[] = [];
  #deleting = false;
  #closed = false;

  constructor(env: DelayedEnv, db: Database, options: Partial<DelayedOptions> = {}) {
    this.#clock = env.clock;
    this.#log = env.log;
    this.#db = db;
    this.#options = { ...delayedDefaults, ...options };
    const { metrics } = env;
    this.#stored = metrics.counter('emqx_messages_delayed', 'delayed messages stored');
    this.#refused = metrics.counter('starmesh_delayed_refused_total', 'Delayed messages refused by a limit');
    this.#published = metrics.counter('starmesh_delayed_published_total', 'Delayed messages published by this node');
    this.#expired = metrics.counter('starmesh_delayed_expired_total', 'Delayed messages that expired before they were due');
    metrics.gaugeFn('emqx_delayed_count', 'delayed messages of the cluster', {}, () => this.count);
    this.#unsubscribe = db.subscribe(delayedTable.shard, {
      reset: () => this.#look(),
      change: (table, key, row) => {
        if (table.id === delayedTable.id && row !== undefined && isMessageKey(key)) this.#due(dueOf(key));
      },
      purged: () => this.#look(),
      applied: () => {},
    });
  }

  get count(): number {
    return countDelayed(this.#db, delayedTable);
  }

  /** 0: unlimited. */
  get messagesMax(): number {
    return this.#options.messagesMax;
  }

  onDue(publish: Publish): void {
    this.#publish = publish;
  }

  store(
    message: Message,
    delayMs: number,
    done: (outcome: 'stored' | 'refused' | 'no-quorum', message: string) => void,
    publisher?: DelayedPublisher,
  ): void {
    const body = encodeRetainedBody(message);
    const names = message.topicName.length + (publisher?.username?.length ?? 0) + (publisher?.mountpoint.length ?? 0);
    if (body.length + names * 3 > bodyBytesMax) {
      this.#refused.value++;
      done('refused', 'the message is too large to be delayed');
      return;
    }
    const { retain, topicName } = message;
    const lifetimeMs = Math.max(0, message.expiresAt - this.#clock.now());
    const put = encodeDelayedPut({ delayMs, lifetimeMs, retain, topicName, messagesMax: this.#options.messagesMax, publisher, body });
    this.#db.command(delayedTable.shard, 'delayedPut', put, { deadlineMs: this.#options.deadlineMs }, (failure) => {
      if (failure === undefined) {
        this.#stored.value++;
        done('stored', '');
      } else if (failure.kind === 'refused') {
        this.#refused.value++;
        done('refused', failure.message);
      } else {
        this.#log.warn('a delayed message could not be committed', { kind: failure.kind });
        done('no-quorum', failure.message);
      }
    });
  }

  /** In the order in which they are due. */
  list(visit: (message: WaitingMessage) => boolean): void {
    this.#db.range(delayedTable, emptyBytes, messagesEnd, (key, { value }) => {
      const found = waiting(key, value);
      return found === undefined || visit(found);
    });
  }

  find(id: string): WaitingMessage | undefined {
    const key = keyOfId(id);
    const row = key === undefined ? undefined : this.#db.get(delayedTable, key);
    return key === undefined || row === undefined ? undefined : waiting(key, row.value);
  }

  /** It is not published any more, unless that has begun. `done`: why it could not be; undefined when it is gone. */
  remove(id: string, done: (failure: string | undefined) => void): void {
    const key = keyOfId(id);
    if (key === undefined || this.#db.get(delayedTable, key) === undefined) {
      done('there is no such message');
      return;
    }
    const options = { until: 'applied' as const, deadlineMs: this.#options.deadlineMs };
    this.#db.command(delayedTable.shard, 'delayedDone', encodeDelayedKeys([key]), options, (failure) => done(failure?.message));
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
  }

  // ---- when the next one is due ----

  /** From the table: what is there may have become nobody's. */
  #look(): void {
    const first = this.#db.seek(delayedTable, emptyBytes);
    if (first !== undefined && isMessageKey(first.key)) this.#due(dueOf(first.key));
  }

  #due(dueMs: number): void {
    if (this.#db.role === 'replicant' || dueMs >= this.#nextDue) return;
    this.#nextDue = dueMs;
    this.#arm();
  }

  #arm(): void {
    if (this.#closed || this.#claiming || this.#nextDue === Number.POSITIVE_INFINITY) return;
    // The stamp is asked for with the first claim, which may come too early.
    const now = this.#clock.now();
    const waitMs = this.#stampOffset === undefined ? 0 : this.#nextDue - (now + this.#stampOffset);
    this.#wake(Math.min(timerMsMax, Math.max(0, waitMs)));
  }

  #wake(ms: number): void {
    const at = this.#clock.now() + ms;
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.setTimer(ms, () => {
      this.#timer = undefined;
      this.#claim();
    });
  }

  #leads(): boolean {
    for (const s of this.#db.status()) if (s.shard === delayedTable.shard && 'core' in s) return s.core.state === 'leader';
    return false;
  }

  // ---- claiming, publishing, deleting ----

  #claim(): void {
    if (this.#closed || this.#claiming) return;
    if (!this.#leads()) {
      // Whoever leads does it; should that change, this node must know.
      this.#nextDue = Number.POSITIVE_INFINITY;
      this.#stampOffset = undefined;
      const first = this.#db.seek(delayedTable, emptyBytes);
      if (first === undefined || !isMessageKey(first.key)) return;
      this.#nextDue = dueOf(first.key);
      this.#wake(Math.min(lookMs, Math.max(this.#options.retryMs, this.#nextDue - this.#clock.wallNow())));
      return;
    }
    if (this.#open + claimMax > this.#options.openMax) {
      this.#wake(this.#options.retryMs);
      return;
    }
    this.#claiming = true;
    const options = { until: 'applied' as const, deadlineMs: this.#options.deadlineMs };
    this.#db.command(delayedTable.shard, 'delayedClaim', emptyBytes, options, (failure, result) => {
      this.#claiming = false;
      if (this.#closed) return;
      if (failure !== undefined) {
        this.#wake(this.#options.retryMs);
        return;
      }
      const { stampMs, nextDueMs, keys } = decodeClaimed(result.reply);
      this.#stampOffset = Math.max(this.#stampOffset ?? Number.NEGATIVE_INFINITY, stampMs - this.#clock.now());
      this.#nextDue = nextDueMs;
      for (const key of keys) this.#publishOne(key, stampMs);
      this.#arm();
    });
  }

  #publishOne(key: Uint8Array, stampMs: number): void {
    this.#open++;
    const due = this.#read(key, stampMs);
    if (due === undefined) this.#finish(key);
    else {
      this.#published.value++;
      this.#publish(due.message, () => this.#finish(key), due.publisher);
    }
  }

  #read(key: Uint8Array, stampMs: number): { readonly message: Message; readonly publisher: DelayedPublisher | undefined } | undefined {
    const stored = this.#db.get(delayedTable, key);
    if (stored === undefined) return undefined;
    try {
      const row = decodeDelayedRow(stored.value);
      const leftMs = row.expiresAtMs - stampMs;
      if (leftMs <= 0) {
        this.#expired.value++;
        return undefined;
      }
      const body = decodeRetainedBody(row.body);
      const message: Message = {
        topicName: row.topicName,
        payload: copyBytes(body.payload),
        qos: body.qos,
        retain: row.retain,
        properties: body.properties,
        expiresAt: leftMs === Number.POSITIVE_INFINITY ? leftMs : this.#clock.now() + leftMs,
        publisherId: body.publisherId,
        originIncarnation: 0,
        originNumber: 0,
        kept: true,
        journalNumber: 0,
      };
      return { message, publisher: row.publisher };
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#log.error('a delayed message is malformed and is dropped', { reason: error.message });
      return undefined;
    }
  }

  #finish(key: Uint8Array): void {
    this.#finished.push(key);
    if (this.#deleting || this.#closed) return;
    this.#deleting = true;
    this.#clock.endOfTurn(() => this.#delete());
  }

  #delete(): void {
    const keys = this.#finished;
    this.#finished = [];
    if (keys.length === 0 || this.#closed) {
      this.#deleting = false;
      return;
    }
    this.#db.command(delayedTable.shard, 'delayedDone', encodeDelayedKeys(keys), { deadlineMs: this.#options.deadlineMs }, (failure) => {
      if (failure === undefined) {
        this.#open -= keys.length;
        this.#delete();
        return;
      }
      this.#finished.push(...keys);
      if (!this.#closed) this.#clock.setTimer(this.#options.retryMs, () => this.#delete());
    });
  }
}

function waiting(key: Uint8Array, value: Uint8Array): WaitingMessage | undefined {
  try {
    const { topicName, body, retain } = decodeDelayedRow(value);
    const { payload, publisherId, qos } = decodeRetainedBody(body);
    return { id: idOfKey(key), dueMs: dueOf(key), topicName, publisherId, qos, retain, payload };
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return undefined;
  }
}

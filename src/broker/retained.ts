// Retained messages over the replicated database (broker.md, Retained): implements RetainedStore.
// They belong to no session, and outlive those of their publishers. [MQTT-3.1.2-7] of 3.1.1
// Reads are local; writes are commands at the leader of shard `retain`, so that the last write in log
// order wins everywhere and each row carries its position.
//
// Time: rows expire by the leader's stamp. This node knows the leader's clock from the stamp that an
// `expire` command answered with, carried on by its own monotonic clock, so that a jump of the wall
// clock changes nothing. Expired rows are invisible here at once; the shard's leader deletes them.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { compareBytes, copyBytes, emptyBytes } from '#base/bytes.js';
import { TokenBucket } from '#base/token-bucket.js';
import type { Database, Row } from '#db/api.js';
import { encodeKeys } from '#db/command-body.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { decodeTopicKey, encodeTopicKey, levelsLength, routeKeyBytesMax } from '#router/route-key.js';
import { scanTopics } from '#router/topic-scan.js';
import type { Message } from '#session/message.js';
import type { RetainedStore } from './ports.js';
import { decodeRetainedBody, decodeRetainedRow, encodeRetainedBody, encodeRetainPut } from './retained-row.js';
import { retainTable } from './schema.js';

export interface RetainedOptions {
  /** `retainer.max_retained_messages`; 0: unlimited. */
  readonly messagesMax: number;
  /** `retainer.max_payload_size`. */
  readonly payloadBytesMax: number;
  /** `retainer.msg_expiry_interval`: of messages that have none; Infinity: they stay. */
  readonly expiryMs: number;
  /** `retainer.msg_expiry_interval_override`: of messages that expire, whatever they say; undefined: what they say. */
  readonly expiryOverrideMs: number | undefined;
  /** `retainer.allow_never_expire`: false: the override is also for messages that would stay. */
  readonly allowNeverExpire: boolean;
  /** `retainer.max_publish_rate`: stored and cleared through this node per second; Infinity: no bound. */
  readonly publishRate: number;
  readonly barrierMs: number;
  readonly deadlineMs: number;
  /** Rows visited in one slice of the sweep that counts rows and finds expired ones. */
  readonly sliceRows: number;
  readonly slicePauseMs: number;
  /** From the end of one sweep to the next. */
  readonly sweepMs: number;
  /** Expired rows deleted by one command. */
  readonly expireKeysMax: number;
}

const MiB = 1024 * 1024;

export const retainedDefaults: RetainedOptions = {
  messagesMax: 0,
  payloadBytesMax: MiB,
  expiryMs: Number.POSITIVE_INFINITY,
  expiryOverrideMs: undefined,
  allowNeverExpire: true,
  publishRate: Number.POSITIVE_INFINITY,
  barrierMs: 1_000,
  deadlineMs: 5_000,
  sliceRows: 1_000,
  slicePauseMs: 5,
  sweepMs: 30_000,
  expireKeysMax: 500,
};

/** What the database takes as one value, less our own header. */
const bodyBytesMax = MiB + 63 * 1024;
/** Keys of one expire command. */
const expireBytesMax = MiB / 2;
const probeRetryMs = 1_000;

export interface RetainedEnv {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export class ReplicatedRetained implements RetainedStore {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #db: Database;
  readonly #options: RetainedOptions;
  readonly #unsubscribe: () => void;
  #count = 0;
  #sweepCount = 0;
  #sweep = 0;
  #cursor: Uint8Array | undefined;
  #expired: Uint8Array[] = [];
  #expiredBytes = 0;
  /** Leader's stamp less our monotonic clock; -Infinity until a leader has answered: then nothing counts as expired. */
  #stampOffset = Number.NEGATIVE_INFINITY;
  #timers: Set<Timer> = new Set();
  #closed = false;
  readonly #rate: TokenBucket | undefined;
  readonly #refused: Counter;
  readonly #tooFast: Counter;
  readonly #barrierMissed: Counter;
  readonly #malformed: Counter;

  constructor(env: RetainedEnv, db: Database, options: Partial<RetainedOptions> = {}) {
    this.#clock = env.clock;
    this.#log = env.log;
    this.#db = db;
    this.#options = { ...retainedDefaults, ...options };
    const { metrics } = env;
    const { publishRate } = this.#options;
    this.#rate = publishRate === Number.POSITIVE_INFINITY ? undefined : new TokenBucket(publishRate, env.clock.now());
    this.#tooFast = metrics.counter('starmesh_retained_rate_limited_total', 'Retained messages not kept because of retainer.max_publish_rate');
    this.#refused = metrics.counter('starmesh_retained_refused_total', 'Retained messages refused by a limit');
    this.#barrierMissed = metrics.counter('starmesh_retained_barrier_missed_total', 'Scans that began before this node had caught up');
    this.#malformed = metrics.counter('starmesh_retained_malformed_total', 'Retained rows that could not be read');
    metrics.gaugeFn('starmesh_retained_messages', 'Retained messages', {}, () => this.count);
    this.#unsubscribe = db.subscribe(retainTable.shard, {
      reset: () => {
        this.#count = 0;
        this.#startSweep(0);
      },
      change: (table, key, row) => {
        if (table.id === retainTable.id) this.#onChange(key, row);
      },
      purged: () => {},
      applied: () => {},
    });
    this.#probe();
  }

  get count(): number {
    return Math.max(0, this.#count);
  }

  store(message: Message, done: (outcome: 'stored' | 'refused' | 'no-quorum', message: string) => void): void {
    const refusal = this.#refusal(message);
    if (refusal !== undefined) {
      this.#refused.value++;
      done('refused', refusal);
      return;
    }
    // [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]
    const body = message.payload.length === 0 ? emptyBytes : encodeRetainedBody(message);
    if (body.length > bodyBytesMax) {
      this.#refused.value++;
      done('refused', 'the message with its properties is too large to be retained');
      return;
    }
    const key = encodeTopicKey(message.topicName);
    const lifetimeMs = this.#lifetimeMs(message);
    const onlyReplace = this.#options.messagesMax > 0 && this.count >= this.#options.messagesMax;
    const put = encodeRetainPut({ key, lifetimeMs, onlyReplace, body });
    this.#db.command(retainTable.shard, 'put', put, { until: 'applied', deadlineMs: this.#options.deadlineMs }, (failure) => {
      if (failure === undefined) {
        done('stored', '');
      } else if (failure.kind === 'refused') {
        this.#refused.value++;
        done('refused', failure.message);
      } else {
        this.#log.warn('a retained message could not be committed', { kind: failure.kind });
        done('no-quorum', failure.message);
      }
    });
  }

  /** `after`: go on behind this topic name, for scans in pieces. */
  scan(topicFilter: string, visit: (message: Message, index: number) => boolean, after?: string, rowsMax?: number): string | undefined {
    let message: Message | undefined;
    let index = 0;
    const rows = {
      range: (start: Uint8Array, visitKey: (key: Uint8Array) => boolean): void => {
        this.#db.range(retainTable, start, undefined, (key, row) => {
          current = row;
          return visitKey(key);
        });
      },
    };
    let current: Row | undefined;
    const visitRow = (key: Uint8Array): boolean => {
      if (current === undefined) return true;
      [message, index] = this.#read(key, current.value);
      return message === undefined || visit(message, index);
    };
    const stoppedAt = scanTopics(rows, topicFilter, visitRow, after, rowsMax);
    return stoppedAt === undefined ? undefined : decodeTopicKey(stoppedAt);
  }

  barrier(done: () => void): void {
    this.#db.barrier(retainTable.shard, this.#options.barrierMs, (failure) => {
      if (failure !== undefined) this.#barrierMissed.value++;
      done();
    });
  }

  close(): void {
    this.#closed = true;
    this.#sweep++;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#unsubscribe();
  }

  #lifetimeMs(message: Message): number {
    const { expiryMs, expiryOverrideMs, allowNeverExpire } = this.#options;
    const own = message.expiresAt === Number.POSITIVE_INFINITY ? expiryMs : Math.max(0, message.expiresAt - this.#clock.now());
    return own === Number.POSITIVE_INFINITY && allowNeverExpire ? own : (expiryOverrideMs ?? own);
  }

  #refusal(message: Message): string | undefined {
    if (message.payload.length > this.#options.payloadBytesMax) return 'the payload is too large to be retained';
    if (levelsLength(message.topicName) + 1 > routeKeyBytesMax) return 'the topic name is too long to be retained';
    if (this.#rate?.tryTake(this.#clock.now()) === false) {
      this.#tooFast.value++;
      return 'retained messages come faster than retainer.max_publish_rate';
    }
    return undefined;
  }

  /** The leader's stamp now, as far as known; it lags behind by at most the time an answer took. */
  #stamp(): number {
    return this.#clock.now() + this.#stampOffset;
  }

  #read(key: Uint8Array, value: Uint8Array): [Message | undefined, number] {
    try {
      const row = decodeRetainedRow(value);
      const leftMs = row.expiresAtMs - this.#stamp();
      if (row.expiresAtMs !== Number.POSITIVE_INFINITY && leftMs <= 0) return [undefined, 0];
      const body = decodeRetainedBody(row.body);
      const message: Message = {
        topicName: decodeTopicKey(key) ?? '',
        payload: copyBytes(body.payload),
        qos: body.qos,
        retain: true,
        properties: body.properties,
        // Without the leader's clock nothing is known of what is left: it is not shortened.
        expiresAt: leftMs === Number.POSITIVE_INFINITY ? leftMs : this.#clock.now() + leftMs,
        publisherId: body.publisherId,
        originIncarnation: body.originIncarnation,
        originNumber: body.originNumber,
        kept: true,
        journalNumber: 0,
      };
      return [message, row.position];
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#malformed.value++;
      return [undefined, 0];
    }
  }

  #onChange(key: Uint8Array, row: Row | undefined): void {
    const delta = row === undefined ? -1 : this.#isNew(row) ? 1 : 0;
    this.#count += delta;
    // The sweep has been past this key: it has counted what was there before.
    if (this.#cursor === undefined || compareBytes(key, this.#cursor) < 0) this.#sweepCount += delta;
  }

  #isNew(row: Row): boolean {
    try {
      return decodeRetainedRow(row.value).created;
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#malformed.value++;
      return false;
    }
  }

  // ---- the leader's clock ----

  /** An `expire` of nothing, until it was answered once; later answers come with the sweeps. */
  #probe(): void {
    if (this.#stampOffset !== Number.NEGATIVE_INFINITY || this.#closed) return;
    this.#expire([], (ok) => {
      if (!ok) this.#after(probeRetryMs, () => this.#probe());
    });
  }

  #expire(keys: readonly Uint8Array[], done: (ok: boolean) => void): void {
    this.#db.command(retainTable.shard, 'expire', encodeKeys(keys), { deadlineMs: this.#options.deadlineMs }, (failure, result) => {
      if (failure === undefined && result.reply.length === 8) {
        const offset = new ByteReader(result.reply).f64() - this.#clock.now();
        // Answers are late, never early: the greatest is the nearest.
        this.#stampOffset = Math.max(this.#stampOffset, offset);
      }
      done(failure === undefined);
    });
  }

  // ---- the sweep: counts, and deletes what has expired ----

  #startSweep(delayMs: number): void {
    const sweep = ++this.#sweep;
    this.#sweepCount = 0;
    this.#cursor = emptyBytes;
    this.#after(delayMs, () => this.#slice(sweep));
  }

  #slice(sweep: number): void {
    const start = this.#cursor;
    if (sweep !== this.#sweep || start === undefined) return;
    const stamp = this.#stamp();
    let rows = 0;
    let next: Uint8Array | undefined;
    this.#db.range(retainTable, start, undefined, (key, row) => {
      if (rows === this.#options.sliceRows || this.#expiredFull()) {
        next = copyBytes(key);
        return false;
      }
      rows++;
      this.#sweepCount++;
      if (this.#hasExpired(row, stamp)) {
        this.#expired.push(copyBytes(key));
        this.#expiredBytes += key.length;
      }
      return true;
    });
    this.#cursor = next;
    const goOn = (): void => {
      if (next !== undefined) this.#after(this.#options.slicePauseMs, () => this.#slice(sweep));
      else this.#endSweep(sweep);
    };
    if (next === undefined || this.#expiredFull()) this.#flushExpired(goOn);
    else goOn();
  }

  #endSweep(sweep: number): void {
    if (sweep !== this.#sweep) return;
    this.#count = this.#sweepCount;
    this.#startSweep(this.#options.sweepMs);
  }

  #expiredFull(): boolean {
    return this.#expired.length >= this.#options.expireKeysMax || this.#expiredBytes >= expireBytesMax;
  }

  /** One node is enough: the shard's leader. The others only count. */
  #flushExpired(done: () => void): void {
    const keys = this.#expired;
    this.#expired = [];
    this.#expiredBytes = 0;
    if (keys.length === 0 || !this.#leads()) done();
    else this.#expire(keys, done);
  }

  #leads(): boolean {
    for (const s of this.#db.status()) if (s.shard === retainTable.shard && 'core' in s) return s.core.state === 'leader';
    return false;
  }

  #hasExpired(row: Row, stamp: number): boolean {
    try {
      return decodeRetainedRow(row.value).expiresAtMs <= stamp;
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      return false;
    }
  }

  #after(delayMs: number, fn: () => void): void {
    if (this.#closed) return;
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#timers.delete(timer);
      fn();
    });
    this.#timers.add(timer);
  }
}

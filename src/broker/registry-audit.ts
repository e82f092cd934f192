// Looks now and then whether the registry still knows the sessions of this node, a batch at a time: one
// whose row went to somebody else, or went with somebody else, while nobody could tell this node, is
// discarded. It closes what every other way of telling leaves open when several nodes fail at once.
//
// Invariant: a verdict counts only for a session that the present incarnation had registered or asserted
// when it was asked for.
import { MalformedError } from '#base/byte-reader.js';
import type { Database } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { HeldSession } from './ports.js';
import { decodeVerdicts, type EpochVerdict, encodeVerify, registryKey } from './registry-row.js';
import { registryTableOf } from './schema.js';

export interface AuditOptions {
  /** From the beginning of one round to that of the next, at least. */
  readonly everyMs: number;
  /** Sessions asked about at a time, and the pause after their answers. */
  readonly batch: number;
  readonly pauseMs: number;
}

export const auditDefaults: AuditOptions = { everyMs: 30_000, batch: 200, pauseMs: 250 };

const deadlineMs = 5_000;
/** From a question of an urgent round that failed to the next round. */
const urgentMs = 500;

export interface AuditHooks {
  sessions(): Iterable<HeldSession>;
  /** Something about this client is under way: it is not asked about now. */
  busy(clientId: string): boolean;
  /** The session here has lost its client id. */
  onStale(clientId: string, epoch: number): void;
  onCurrent(clientId: string, epoch: number): void;
}

interface Question {
  readonly clientId: string;
  readonly epoch: number;
  readonly key: Uint8Array;
}

export class SessionAudit {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #options: AuditOptions;
  readonly #hooks: AuditHooks;
  readonly #found: Counter;
  #asking = false;
  /** Sessions wait for this round: what fails is asked again soon. */
  #urgent = false;
  #failed = false;
  #round: Iterator<HeldSession> | undefined;
  #roundAt = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(clock: Clock, metrics: Metrics, db: Database, options: Partial<AuditOptions>, hooks: AuditHooks) {
    this.#clock = clock;
    this.#db = db;
    this.#options = { ...auditDefaults, ...options };
    this.#hooks = hooks;
    this.#found = metrics.counter('starmesh_sessions_stale_total', 'Sessions that the audit found to have lost their client id');
  }

  start(): void {
    this.#roundAt = this.#clock.now();
    this.#arm(this.#options.everyMs);
  }

  /** A round begins now; one that is under way begins anew. */
  recheck(): void {
    this.#round = undefined;
    this.#urgent = true;
    if (this.#asking) return;
    this.#timer?.cancel();
    this.#arm(0);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #arm(ms: number): void {
    if (!this.#closed) this.#timer = this.#clock.setTimer(ms, () => this.#ask());
  }

  #ask(): void {
    const { batch, everyMs, pauseMs } = this.#options;
    if (this.#round === undefined) {
      this.#roundAt = this.#clock.now();
      this.#failed = false;
    }
    this.#round ??= this.#hooks.sessions()[Symbol.iterator]();
    const questions: Question[] = [];
    while (questions.length < batch) {
      const next = this.#round.next();
      if (next.done === true) {
        this.#round = undefined;
        break;
      }
      const { clientId, epoch } = next.value;
      if (!this.#hooks.busy(clientId)) questions.push({ clientId, epoch, key: registryKey(clientId) });
    }
    this.#asking = true;
    this.#verify(questions, () => {
      this.#asking = false;
      if (this.#round !== undefined) this.#arm(this.#urgent ? 0 : pauseMs);
      else if (this.#urgent && this.#failed) this.#arm(urgentMs);
      else {
        this.#urgent = false;
        this.#arm(Math.max(pauseMs, this.#roundAt + everyMs - this.#clock.now()));
      }
    });
  }

  #verify(questions: readonly Question[], done: () => void): void {
    const byShard = new Map<string, Question[]>();
    for (const q of questions) {
      const { shard } = registryTableOf(q.key);
      const list = byShard.get(shard);
      if (list === undefined) byShard.set(shard, [q]);
      else list.push(q);
    }
    let open = byShard.size;
    if (open === 0) done();
    const { incarnation } = this.#db;
    for (const [shard, list] of byShard) {
      this.#db.command(shard, 'verify', encodeVerify(list), { deadlineMs }, (failure, result) => {
        if (failure === undefined && this.#db.incarnation === incarnation) this.#judge(list, result.reply);
        else this.#failed = true;
        if (--open === 0) done();
      });
    }
  }

  #judge(list: readonly Question[], reply: Uint8Array): void {
    const verdicts = readVerdicts(reply);
    list.forEach(({ clientId, epoch }, i) => {
      if (verdicts[i] === 'current') this.#hooks.onCurrent(clientId, epoch);
      if (verdicts[i] !== 'stale' && verdicts[i] !== 'absent') return;
      this.#found.value++;
      this.#hooks.onStale(clientId, epoch);
    });
  }
}

/** None of an answer that this version cannot read. */
function readVerdicts(reply: Uint8Array): readonly EpochVerdict[] {
  try {
    return decodeVerdicts(reply);
  } catch (error) {
    if (error instanceof MalformedError) return [];
    throw error;
  }
}

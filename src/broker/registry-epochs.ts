// Commands about an epoch that nobody waits for: `disconnected`, `ended`, and, after a new
// incarnation, `reassert` of every session. What fails for want of a quorum is sent again; a session
// whose epoch turns out stale is discarded.
import { MalformedError } from '#base/byte-reader.js';
import type { Database } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { type Claim, decodeEpochReply, type EpochReply, encodeEpoch, registryKey } from './registry-row.js';
import { registryTableOf } from './schema.js';

export type EpochCommand = 'disconnected' | 'ended' | 'reassert';

/** Failed commands that wait to be sent again; more are dropped and counted (the row goes with the incarnation). */
const retriesMax = 100_000;
const retryMs = 1_000;
/** Sent again in one round. */
const roundMax = 1_000;
const reassertsInFlight = 256;
const neverExpires = 0xffff_ffff;
const deadlineMs = 5_000;

interface Pending {
  readonly command: EpochCommand;
  readonly clientId: string;
  readonly epoch: number;
}

export interface EpochHooks {
  /** The session here has lost its client id. */
  onStale(clientId: string, epoch: number): void;
  /** Every session that this node displaced has been told. */
  settled(clientId: string): boolean;
  /** A session elsewhere has. */
  onDisplaced(clientId: string, claim: Claim): void;
}

export class EpochCommands {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #hooks: EpochHooks;
  readonly #retries: Map<string, Pending> = new Map();
  readonly #dropped: Counter;
  #sessions: Iterator<{ readonly clientId: string; readonly epoch: number }> | undefined;
  #asserting = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(clock: Clock, metrics: Metrics, db: Database, hooks: EpochHooks) {
    this.#clock = clock;
    this.#db = db;
    this.#hooks = hooks;
    this.#dropped = metrics.counter('starmesh_registry_dropped_total', 'Registry commands given up because too many waited for a quorum');
  }

  /** No command is left to be sent or answered. */
  get idle(): boolean {
    return this.#retries.size === 0 && this.#sessions === undefined && this.#asserting === 0;
  }

  send(command: EpochCommand, clientId: string, epoch: number, answered?: () => void): void {
    // What was not said yet about this epoch is overtaken.
    this.#retries.delete(retryKey(clientId, epoch));
    const key = registryKey(clientId);
    const body = encodeEpoch({ key, nodeId: this.#db.nodeId, epoch, sessionExpiryInterval: neverExpires, settled: this.#hooks.settled(clientId) });
    this.#db.command(registryTableOf(key).shard, command, body, { deadlineMs }, (failure, result) => {
      if (failure === undefined) {
        const reply = epochReply(result.reply);
        if (reply.verdict === 'stale') this.#hooks.onStale(clientId, epoch);
        for (const claim of reply.displaced) this.#hooks.onDisplaced(clientId, claim);
      } else if (failure.kind === 'no-quorum' || failure.kind === 'unknown' || failure.kind === 'fenced') {
        this.#retry({ command, clientId, epoch });
      }
      answered?.();
    });
  }

  /** Asserts every session under the new incarnation, some at a time. Replaces a round that is still going on. */
  reassert(sessions: Iterable<{ readonly clientId: string; readonly epoch: number }>): void {
    // Rows of the old incarnation are purged: there is nothing left to end or to disconnect.
    this.#retries.clear();
    this.#sessions = sessions[Symbol.iterator]();
    this.#assertMore();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #assertMore(): void {
    while (this.#sessions !== undefined && this.#asserting < reassertsInFlight && !this.#closed) {
      const next = this.#sessions.next();
      if (next.done === true) {
        this.#sessions = undefined;
        return;
      }
      this.#asserting++;
      this.send('reassert', next.value.clientId, next.value.epoch, () => {
        this.#asserting--;
        this.#assertMore();
      });
    }
  }

  #retry(p: Pending): void {
    if (this.#retries.size >= retriesMax) {
      this.#dropped.value++;
      return;
    }
    const key = retryKey(p.clientId, p.epoch);
    // `ended` is the last word on an epoch, whichever failure comes first.
    if (this.#retries.get(key)?.command !== 'ended') this.#retries.set(key, p);
    this.#arm();
  }

  #arm(): void {
    if (this.#closed || this.#timer !== undefined || this.#retries.size === 0) return;
    this.#timer = this.#clock.setTimer(retryMs, () => {
      this.#timer = undefined;
      for (const p of [...this.#retries.values()].slice(0, roundMax)) {
        this.send(p.command, p.clientId, p.epoch);
      }
      this.#arm();
    });
  }
}

function retryKey(clientId: string, epoch: number): string {
  return `${epoch} ${clientId}`;
}

/** `absent` for an answer that this version does not know: nothing is done about it. */
export function epochReply(reply: Uint8Array): EpochReply {
  try {
    return decodeEpochReply(reply);
  } catch (error) {
    if (error instanceof MalformedError) return { verdict: 'absent', displaced: [] };
    throw error;
  }
}

// Commands about an epoch that nobody waits for: `disconnected`, `ended`; `settle`, when nobody knows
// whether a takeover was committed; and, after a new incarnation, `reassert` of every session. What fails
// for want of a quorum is sent again; a session that turns out to be stale is discarded.
//
// Invariant: of a session that is still to be asserted nothing else is said but its end.
import { MalformedError } from '#base/byte-reader.js';
import type { Database, WriteFailureKind } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { HeldSession } from './ports.js';
import type { WillWord } from './registered-wills.js';
import { type Claim, decodeEpochReply, type EpochReply, registryKey, writeEpoch } from './registry-row.js';
import type { RegistrySender } from './registry-sender.js';

export type EpochCommand = 'disconnected' | 'ended' | 'reassert' | 'settle';

/** Failed commands that wait to be sent again; more are dropped and counted (the audit finds what they would have told). */
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
  /** settle: see {@link EpochBody}. */
  readonly durable?: boolean;
  /** Of the connection's will: over, or when it is due, by our monotonic clock. */
  readonly will?: 'over' | number | undefined;
  /** disconnected: Session Expiry Interval from now on. */
  readonly expiryS?: number | undefined;
}

/** A session of an earlier incarnation, not asserted under the present one yet. */
interface Unasserted {
  readonly epoch: number;
  /** When the incarnation changed. */
  readonly connected: boolean;
  readonly durable: boolean;
  readonly sessionExpiryInterval: number;
  /** Its client has gone since. */
  left: boolean;
  will?: WillWord;
  expiryS?: number;
}

export interface EpochHooks {
  /** The session here has lost its client id. */
  onStale(clientId: string, epoch: number): void;
  /** Every session that this node displaced has been told. */
  settled(clientId: string): boolean;
  /** A session elsewhere has lost its client id. */
  onDisplaced(clientId: string, claim: Claim): void;
}

export class EpochCommands {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #sender: RegistrySender;
  readonly #hooks: EpochHooks;
  readonly #retries: Map<string, Pending> = new Map();
  readonly #dropped: Counter;
  readonly #unasserted: Map<string, Unasserted> = new Map();
  /** Takeovers of which nobody knows yet whether they were committed: client id → epoch. */
  readonly #unsettled: Map<string, number> = new Map();
  #next: Iterator<[string, Unasserted]> | undefined;
  #asserting = 0;
  #flying = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(clock: Clock, metrics: Metrics, db: Database, sender: RegistrySender, hooks: EpochHooks) {
    this.#clock = clock;
    this.#db = db;
    this.#sender = sender;
    this.#hooks = hooks;
    this.#dropped = metrics.counter('starmesh_registry_dropped_total', 'Registry commands given up because too many waited for a quorum');
  }

  /** No command is left to be sent or answered. */
  get idle(): boolean {
    return this.#retries.size === 0 && this.#flying === 0 && this.#unasserted.size === 0;
  }

  /** The session is of an earlier incarnation, and the registry has not heard of it under the present one. */
  unasserted(clientId: string): boolean {
    return this.#unasserted.has(clientId);
  }

  /** `will`: over, or so many ms that it waits. `expiryS`: Session Expiry Interval from now on. */
  send(
    command: 'disconnected' | 'ended' | 'settle',
    clientId: string,
    epoch: number,
    durable: boolean = false,
    will?: WillWord,
    expiryS?: number,
  ): void {
    const old = this.#unasserted.get(clientId);
    if (old?.epoch === epoch) {
      if (command === 'disconnected') {
        old.left = true;
        if (will !== undefined) old.will = will;
        if (expiryS !== undefined) old.expiryS = expiryS;
        return;
      }
      this.#unasserted.delete(clientId);
    }
    if (command === 'settle') this.#unsettled.set(clientId, epoch);
    else if (this.#unsettled.get(clientId) === epoch) {
      // What the client does meanwhile changes nothing: `disconnected` follows the answer.
      if (command === 'disconnected') return;
      this.#unsettled.delete(clientId);
    }
    this.#send({ command, clientId, epoch, durable, will: typeof will === 'number' ? this.#clock.now() + will : will, expiryS }, undefined);
  }

  /** `old`: the session that is asserted. */
  #send(p: Pending, old: Unasserted | undefined, answered?: () => void): void {
    const { command, clientId, epoch } = p;
    const { connected = false, durable = p.durable === true } = old ?? {};
    // What was not said yet about this epoch is overtaken, but for what became of a will, and of the expiry.
    if (this.#retries.size > 0) {
      const waiting = this.#retries.get(retryKey(p));
      this.#retries.delete(retryKey(p));
      const { will = waiting?.will, expiryS = waiting?.expiryS } = p;
      if (will !== p.will || expiryS !== p.expiryS) return this.#send({ ...p, will, expiryS }, old, answered);
    }
    const key = registryKey(clientId);
    const settled = this.#hooks.settled(clientId);
    const will = typeof p.will === 'number' ? Math.max(0, Math.ceil(p.will - this.#clock.now())) : p.will;
    const newExpiry = command === 'disconnected' && p.expiryS !== undefined;
    const sessionExpiryInterval = (newExpiry ? p.expiryS : old?.sessionExpiryInterval) ?? neverExpires;
    const body = { key, nodeId: this.#db.nodeId, epoch, sessionExpiryInterval, settled, connected, durable, fresh: false, will, newExpiry };
    this.#flying++;
    this.#sender.send(command, key, body, writeEpoch, deadlineMs, (failure, reply) => {
      this.#flying--;
      if (failure === undefined) this.#answered(p, epochReply(reply));
      else if (mayRetry(failure, command)) this.#retry(p);
      answered?.();
    });
  }

  #answered(p: Pending, reply: EpochReply): void {
    const { command, clientId, epoch } = p;
    const old = this.#unasserted.get(clientId);
    const asserted = command === 'reassert' && old?.epoch === epoch ? old : undefined;
    if (asserted !== undefined) this.#unasserted.delete(clientId);
    const settling = command === 'settle' && this.#unsettled.get(clientId) === epoch;
    if (settling) this.#unsettled.delete(clientId);
    if (reply.verdict === 'stale' || (reply.verdict === 'absent' && command !== 'ended')) this.#hooks.onStale(clientId, epoch);
    // Nobody was let in while the takeover was in doubt.
    else if (asserted?.left === true || settling)
      this.send('disconnected', clientId, epoch, false, settling ? 'over' : asserted?.will, asserted?.expiryS);
    for (const claim of reply.displaced) this.#hooks.onDisplaced(clientId, claim);
  }

  /** Asserts every session under the new incarnation, some at a time. Replaces a round that is still going on. */
  reassert(sessions: Iterable<HeldSession>): void {
    // Rows of the old incarnation are purged: there is nothing left to end or to disconnect.
    for (const [key, p] of this.#retries) if (p.command !== 'settle' && p.will === undefined) this.#retries.delete(key);
    this.#unasserted.clear();
    for (const { clientId, epoch, connected, durable, sessionExpiryInterval } of sessions) {
      // Its takeover had a claim of the old incarnation at the most: whoever has it then has it still.
      if (this.#unsettled.get(clientId) !== epoch) this.#unasserted.set(clientId, { epoch, connected, durable, sessionExpiryInterval, left: false });
    }
    this.#next = this.#unasserted[Symbol.iterator]();
    this.#assertMore();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #assertMore(): void {
    while (this.#next !== undefined && this.#asserting < reassertsInFlight && !this.#closed) {
      const next = this.#next.next();
      if (next.done === true) {
        this.#next = undefined;
        return;
      }
      const [clientId, old] = next.value;
      this.#asserting++;
      this.#send({ command: 'reassert', clientId, epoch: old.epoch }, old, () => {
        this.#asserting--;
        this.#assertMore();
      });
    }
  }

  #retry(p: Pending): void {
    if (this.#closed) return;
    if (this.#retries.size >= retriesMax) {
      this.#dropped.value++;
      this.#unasserted.delete(p.clientId);
      this.#unsettled.delete(p.clientId);
      return;
    }
    const key = retryKey(p);
    // `ended` is the last word on an epoch, whichever failure comes first.
    const waiting = this.#retries.get(key);
    const last = waiting?.command === 'ended' ? waiting : p;
    const will = last.will ?? waiting?.will ?? p.will;
    const expiryS = p.expiryS ?? waiting?.expiryS;
    this.#retries.set(key, last.will === will && last.expiryS === expiryS ? last : { ...last, will, expiryS });
    this.#arm();
  }

  #arm(): void {
    if (this.#closed || this.#timer !== undefined || this.#retries.size === 0) return;
    this.#timer = this.#clock.setTimer(retryMs, () => {
      this.#timer = undefined;
      for (const p of [...this.#retries.values()].slice(0, roundMax)) this.#again(p);
      this.#arm();
    });
  }

  #again(p: Pending): void {
    const old = this.#unasserted.get(p.clientId);
    // Of another round, or ended since.
    if (p.command === 'reassert' && old?.epoch !== p.epoch) this.#retries.delete(retryKey(p));
    else this.#send(p, p.command === 'reassert' ? old : undefined);
  }
}

/** A node whose new incarnation a shard does not know yet is refused there; its sessions must be asserted all the same. */
function mayRetry(kind: WriteFailureKind, command: EpochCommand): boolean {
  return kind === 'no-quorum' || kind === 'unknown' || kind === 'fenced' || (kind === 'refused' && (command === 'reassert' || command === 'settle'));
}

function retryKey(p: Pending): string {
  return `${p.epoch} ${p.clientId}`;
}

/** `absent` for an answer that this version does not know. */
export function epochReply(reply: Uint8Array): EpochReply {
  try {
    return decodeEpochReply(reply);
  } catch (error) {
    if (error instanceof MalformedError) return { verdict: 'absent', displaced: [] };
    throw error;
  }
}

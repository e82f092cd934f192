// Takeovers of this node as the new owner, between the answer of phase 1 and the last word: the broker
// builds the session, then `finish` fetches the queue and commits `takeoverDone`. registry.ts owns it.
//
// What becomes of the session when the commit fails: nobody is the holder by guessing. A command that
// was never handed to a leader did not happen, and the old holder, which still has the whole session,
// keeps it. Of one whose answer was lost both nodes keep the session, without a client, until `settle`
// says who has it. Only what is known to be committed is told to the old holder.
import type { Database } from '#db/api.js';
import type { Clock } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { TakeoverOutcome } from './ports.js';
import { type EpochCommands, epochReply } from './registry-epochs.js';
import { type Claim, encodeEpoch } from './registry-row.js';
import { registryTableOf } from './schema.js';
import type { TakeoverClient } from './takeover-client.js';

export interface TakeoverOptions {
  /** Of the registration's deadline, kept back for the command after phase 2. */
  readonly reserveAfterFinishMs: number;
  /** A takeover that the broker began and never finished is forgotten after this. */
  readonly abandonedMs: number;
}

/** Pause before a command is tried again that was refused because this node's incarnation is being renewed. */
export const fencedRetryMs = 100;

/** Phase 1 is over, the broker builds the session. */
interface Takeover {
  readonly epoch: number;
  readonly holder: Claim;
  readonly key: Uint8Array;
  readonly deadline: number;
  /** The session is on this node's disk. */
  readonly durable: boolean;
  finishing: boolean;
}

export interface TakeoverHooks {
  onDisplaced(clientId: string, claim: Claim): void;
  /** The takeover is over, one way or the other. */
  onClosed(clientId: string): void;
}

export class Takeovers {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #client: TakeoverClient;
  readonly #epochs: EpochCommands;
  readonly #options: TakeoverOptions;
  readonly #hooks: TakeoverHooks;
  readonly #open: Map<string, Takeover> = new Map();
  readonly #takenOver: Counter;
  readonly #holdersLost: Counter;
  readonly #undecided: Counter;
  readonly #tooSlow: Counter;

  constructor(
    clock: Clock,
    metrics: Metrics,
    db: Database,
    client: TakeoverClient,
    epochs: EpochCommands,
    options: TakeoverOptions,
    hooks: TakeoverHooks,
  ) {
    this.#clock = clock;
    this.#db = db;
    this.#client = client;
    this.#epochs = epochs;
    this.#options = options;
    this.#hooks = hooks;
    this.#takenOver = metrics.counter('starmesh_takeovers_total', 'Sessions taken over from other nodes');
    this.#holdersLost = metrics.counter('starmesh_takeover_holders_lost_total', 'Takeovers that started fresh because the holder was lost');
    this.#tooSlow = metrics.counter('starmesh_takeovers_slow_total', 'Takeovers given up at their deadline while the session was still on its way');
    this.#undecided = metrics.counter('starmesh_takeovers_undecided_total', 'Takeovers that ended before anybody knew whether they were committed');
  }

  get size(): number {
    return this.#open.size;
  }

  /** Phase 1 is over. */
  open(clientId: string, holder: Claim, key: Uint8Array, epoch: number, deadline: number, durable: boolean): void {
    this.#open.set(clientId, { epoch, holder, key, deadline, durable, finishing: false });
  }

  finish(
    clientId: string,
    epoch: number,
    prepare: (queue: Uint8Array, next: (ok: boolean) => void) => void,
    done: (outcome: TakeoverOutcome) => void,
  ): void {
    const takeover = this.#open.get(clientId);
    if (takeover === undefined || takeover.epoch !== epoch || takeover.finishing) {
      done('overtaken');
      return;
    }
    takeover.finishing = true;
    const { reserveAfterFinishMs } = this.#options;
    const fetchBy = Math.max(takeover.deadline - reserveAfterFinishMs, this.#clock.now() + reserveAfterFinishMs);
    const end = (outcome: TakeoverOutcome): void => {
      done(outcome);
      this.#close(clientId, takeover);
    };
    this.#client.fetch('takeover.finish', takeover.holder, clientId, epoch, fetchBy, (result) => {
      if (result.kind === 'overtaken') {
        end('overtaken');
        return;
      }
      if (result.kind === 'slow') {
        this.leave(clientId, epoch);
        end('overtaken');
        return;
      }
      this.countLost(result.kind);
      const deadline = fetchBy + reserveAfterFinishMs;
      if (result.kind !== 'fetched') {
        this.#claimFetched(clientId, takeover, deadline, false, end);
        return;
      }
      prepare(result.bytes, (ok) => {
        // What it waits for is bounded, and must not cost the session its move.
        if (ok) this.#claimFetched(clientId, takeover, Math.max(deadline, this.#clock.now() + reserveAfterFinishMs), true, end);
        else {
          this.leave(clientId, epoch);
          end('no-quorum');
        }
      });
    });
  }

  #claimFetched(clientId: string, takeover: Takeover, deadline: number, fetched: boolean, end: (outcome: TakeoverOutcome) => void): void {
    const { epoch, key, durable } = takeover;
    this.claim(clientId, key, epoch, deadline, { durable, fresh: !fetched }, (outcome) => {
      if (outcome === 'done') this.#takenOver.value++;
      if (outcome !== 'undecided') end(outcome);
      else if (!fetched) end(this.#abandon(clientId, epoch));
      else {
        this.#undecided.value++;
        this.#epochs.send('settle', clientId, epoch, durable);
        end('undecided');
      }
    });
  }

  /** The holder keeps the session; the client may try again. */
  leave(clientId: string, epoch: number): void {
    this.#tooSlow.value++;
    this.#epochs.send('ended', clientId, epoch, false, 'over');
  }

  countLost(kind: 'fetched' | 'none' | 'lost'): void {
    if (kind === 'lost') this.#holdersLost.value++;
  }

  /** The holder was lost: this node is the holder of a session that begins anew. */
  claimFresh(
    clientId: string,
    key: Uint8Array,
    epoch: number,
    deadline: number,
    durable: boolean,
    done: (outcome: 'done' | 'overtaken' | 'no-quorum') => void,
  ): void {
    this.claim(clientId, key, epoch, deadline, { durable, fresh: true }, (outcome) =>
      done(outcome === 'undecided' ? this.#abandon(clientId, epoch) : outcome),
    );
  }

  /** There is no session that could stand for the claim: it is taken back, whether it was committed or not. */
  #abandon(clientId: string, epoch: number): 'no-quorum' {
    this.#epochs.send('ended', clientId, epoch, false, 'over');
    return 'no-quorum';
  }

  /** Makes this node the holder under the epoch. */
  claim(
    clientId: string,
    key: Uint8Array,
    epoch: number,
    deadline: number,
    how: { readonly durable: boolean; readonly fresh: boolean },
    done: (outcome: TakeoverOutcome) => void,
  ): void {
    const left = deadline - this.#clock.now();
    if (left <= 0) {
      // Nobody is connected under this epoch.
      this.#epochs.send('ended', clientId, epoch, false, 'over');
      done('no-quorum');
      return;
    }
    const { nodeId } = this.#db;
    const body = encodeEpoch({ key, nodeId, epoch, sessionExpiryInterval: 0xffff_ffff, settled: false, connected: true, ...how, will: undefined });
    this.#db.command(registryTableOf(key).shard, 'takeoverDone', body, { deadlineMs: left }, (failure, result) => {
      if (failure?.kind === 'fenced') this.#clock.setTimer(fencedRetryMs, () => this.claim(clientId, key, epoch, deadline, how, done));
      else if (failure === undefined) {
        const { verdict, displaced } = epochReply(result.reply);
        done(verdict === 'current' ? 'done' : 'overtaken');
        for (const claim of displaced) this.#hooks.onDisplaced(clientId, claim);
      } else if (failure.mayHappen) done('undecided');
      else {
        this.#epochs.send('ended', clientId, epoch, false, 'over');
        done('no-quorum');
      }
    });
  }

  /** An older connection of this client that has not begun phase 2 gives way at once. */
  giveWay(clientId: string, epoch?: number): void {
    const takeover = this.#open.get(clientId);
    if (takeover === undefined || takeover.finishing || (epoch !== undefined && takeover.epoch !== epoch)) return;
    this.#close(clientId, takeover);
  }

  forgetAbandoned(now: number): void {
    for (const [clientId, t] of this.#open) {
      if (!t.finishing && now >= t.deadline + this.#options.abandonedMs) this.#close(clientId, t);
    }
  }

  #close(clientId: string, takeover: Takeover): void {
    if (this.#open.get(clientId) !== takeover) return;
    this.#open.delete(clientId);
    this.#hooks.onClosed(clientId);
  }
}

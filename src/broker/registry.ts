// Who has which client id, cluster-wide (broker.md, Registry and takeover): implements Registry over
// the database's commands (registry-commands.ts) and calls between nodes (takeover-*.ts).
//
// A registration: one command; then, when another node holds the session, phase 1 (its state), the
// broker builds the session and makes its routes effective, phase 2 (its queue), and `takeoverDone`.
// Invariants: a session exists under the current epoch only after the command that made it so was
// committed; an epoch that is not the current one is refused everywhere; every callback runs once.
// On 'fresh' and 'remote' the broker drops whatever session it still has under the client id.
import { MalformedError } from '#base/byte-reader.js';
import { emptyBytes } from '#base/bytes.js';
import type { Database, WriteFailure } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Links, RpcReply } from '#link/api.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { RegisterRequest, RegisterResult, Registry, TakeoverSource } from './ports.js';
import { SessionDiscards } from './registry-discards.js';
import { EpochCommands, epochReply } from './registry-epochs.js';
import { ClientLines } from './registry-lines.js';
import { type Claim, decodeLookup, decodeRegisterReply, encodeEpoch, encodeRegister, type RegisterReply, registryKey } from './registry-row.js';
import { registryTableOf } from './schema.js';
import { epochsOf, overtakenMessage, TakeoverClient } from './takeover-client.js';
import { decodeDiscard, decodeTakeover, encodeDiscard, encodeTakeoverReply, type TakeoverRequest } from './takeover-frame.js';
import { type HandedOut, TakeoverServer, type TakeoverServerOptions } from './takeover-server.js';

export interface RegistryOptions {
  /** From CONNECT to the last word on the registration. */
  readonly deadlineMs: number;
  /** Of it, kept back for the commands after phase 1, and after phase 2. */
  readonly reserveAfterBeginMs: number;
  readonly reserveAfterFinishMs: number;
  /** A takeover that the broker began and never finished is forgotten after this. */
  readonly abandonedMs: number;
  readonly server: Partial<TakeoverServerOptions>;
}

export const registryDefaults: RegistryOptions = {
  deadlineMs: 5_000,
  reserveAfterBeginMs: 2_000,
  reserveAfterFinishMs: 1_000,
  abandonedMs: 15_000,
  server: {},
};

/** Pause before a command is tried again that was refused because this node's incarnation is being renewed. */
const fencedRetryMs = 100;
const housekeepingMs = 1_000;
const kickMs = 2_000;
const busyMessage = 'busy';

export interface RegistryEnv {
  readonly clock: Clock;
  readonly metrics: Metrics;
}

interface Registration {
  readonly request: RegisterRequest;
  readonly key: Uint8Array;
  readonly deadline: number;
  readonly done: (result: RegisterResult) => void;
}

/** Phase 1 is over, the broker builds the session. */
interface Takeover {
  readonly epoch: number;
  readonly holder: Claim;
  readonly key: Uint8Array;
  readonly deadline: number;
  /** Our own session, handed out to a connection that was overtaken. */
  readonly reclaimed: HandedOut | undefined;
  finishing: boolean;
}

interface EpochClaim {
  readonly key: Uint8Array;
  readonly epoch: number;
  readonly settled: boolean;
  readonly deadline: number;
}

const noSource: TakeoverSource = { begin: () => undefined, finish: () => undefined, discard: () => {} };

export class ClusterRegistry implements Registry {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #links: Links;
  readonly #options: RegistryOptions;
  readonly #lines: ClientLines = new ClientLines();
  readonly #takeovers: Map<string, Takeover> = new Map();
  readonly #server: TakeoverServer;
  readonly #client: TakeoverClient;
  readonly #discards: SessionDiscards;
  readonly #epochs: EpochCommands;
  #source: TakeoverSource = noSource;
  #timer: Timer | undefined;
  #closed = false;
  readonly #takenOver: Counter;
  readonly #holdersLost: Counter;
  readonly #overtaken: Counter;
  readonly #malformed: Counter;

  constructor(env: RegistryEnv, db: Database, links: Links, options: Partial<RegistryOptions> = {}) {
    this.#clock = env.clock;
    this.#db = db;
    this.#links = links;
    this.#options = { ...registryDefaults, ...options };
    this.#server = new TakeoverServer(this.#options.server);
    this.#client = new TakeoverClient(env.clock, links, db);
    this.#discards = new SessionDiscards(env.clock, env.metrics, links, (claim) => this.#client.isLost(claim));
    this.#epochs = new EpochCommands(env.clock, env.metrics, db, {
      onStale: (clientId, epoch) => this.#onStale(clientId, epoch),
      settled: (clientId) => this.#discards.settled(clientId),
      onDisplaced: (clientId, claim) => this.#displace(claim, clientId),
    });
    const { metrics } = env;
    this.#takenOver = metrics.counter('starmesh_takeovers_total', 'Sessions taken over from other nodes');
    this.#holdersLost = metrics.counter('starmesh_takeover_holders_lost_total', 'Takeovers that started fresh because the holder was lost');
    this.#overtaken = metrics.counter('starmesh_registrations_overtaken_total', 'Connections that a newer one of the same client overtook');
    this.#malformed = metrics.counter('starmesh_takeover_malformed_total', 'Calls of other nodes that could not be read');
    links.handle('takeover.begin', (_from, body, reply) => this.#onTakeover('begin', body, reply));
    links.handle('takeover.finish', (_from, body, reply) => this.#onTakeover('finish', body, reply));
    links.handle('session.discard', (_from, body, reply) => this.#onDiscard(body, reply, false));
    links.handle('session.kick', (_from, body, reply) => this.#onDiscard(body, reply, true));
  }

  /** Runs its argument when what was routed to the sessions of this node so far has come. Set by who builds the node. */
  beforeHandOver: (done: () => void) => void = (done) => done();

  serve(source: TakeoverSource): void {
    this.#source = source;
  }

  /** Nothing is left to tell the leader or another node: for tests. */
  get idle(): boolean {
    return this.#epochs.idle && this.#discards.size === 0;
  }

  register(request: RegisterRequest, done: (result: RegisterResult) => void): void {
    const { clientId } = request;
    const deadline = this.#clock.now() + this.#options.deadlineMs;
    const registration: Registration = { request, key: registryKey(clientId), deadline, done };
    const open = this.#takeovers.get(clientId);
    this.#lines.enter(
      clientId,
      () => this.#start(registration),
      () => {
        this.#overtaken.value++;
        done({ kind: 'failed', reason: 'overtaken' });
      },
    );
    // An older connection of this client that has not begun phase 2 gives way at once.
    if (open !== undefined && !open.finishing) this.#closeTakeover(clientId, open, false);
  }

  finishTakeover(clientId: string, epoch: number, done: (outcome: 'done' | 'overtaken' | 'no-quorum', queue: Uint8Array | undefined) => void): void {
    const takeover = this.#takeovers.get(clientId);
    if (takeover === undefined || takeover.epoch !== epoch || takeover.finishing) {
      done('overtaken', undefined);
      return;
    }
    takeover.finishing = true;
    const now = this.#clock.now();
    const fetchBy = Math.max(takeover.deadline - this.#options.reserveAfterFinishMs, now + this.#options.reserveAfterFinishMs);
    const commit = (queue: Uint8Array | undefined): void => {
      const claim = {
        key: takeover.key,
        epoch,
        settled: queue !== undefined && this.#discards.settled(clientId),
        deadline: fetchBy + this.#options.reserveAfterFinishMs,
      };
      this.#claim(claim, (outcome) => {
        if (outcome === 'done') this.#takenOver.value++;
        done(outcome, outcome === 'done' ? queue : undefined);
        this.#closeTakeover(clientId, takeover, outcome === 'done');
      });
    };
    if (takeover.reclaimed !== undefined) {
      commit(takeover.reclaimed.queue);
      return;
    }
    this.#client.fetch('takeover.finish', takeover.holder, clientId, epoch, fetchBy, (result) => {
      if (result.kind === 'fetched') commit(result.bytes);
      else if (result.kind === 'overtaken') {
        this.#overtaken.value++;
        done('overtaken', undefined);
        this.#closeTakeover(clientId, takeover, false);
      } else {
        this.#holderGone(result.kind, takeover.holder, clientId);
        commit(undefined);
      }
    });
  }

  disconnected(clientId: string, epoch: number): void {
    this.#giveUpTakeover(clientId, epoch);
    this.#epochs.send('disconnected', clientId, epoch);
  }

  ended(clientId: string, epoch: number): void {
    this.#giveUpTakeover(clientId, epoch);
    this.#epochs.send('ended', clientId, epoch);
  }

  kick(clientId: string, done: (found: boolean) => void): void {
    const key = registryKey(clientId);
    this.#db.command(registryTableOf(key).shard, 'lookup', key, {}, (failure, result) => {
      const row = failure === undefined ? orUndefined(() => decodeLookup(result.reply)) : undefined;
      if (row === undefined) {
        done(false);
        return;
      }
      const claims = [row.holder, ...(row.owner !== undefined && row.owner.epoch !== row.holder.epoch ? [row.owner] : [])];
      let open = claims.length;
      let reached = false;
      for (const claim of claims) {
        this.#kickAt(claim, clientId, (found) => {
          reached ||= found;
          if (--open === 0) done(reached);
        });
      }
    });
  }

  reassert(sessions: Iterable<{ readonly clientId: string; readonly epoch: number }>): void {
    this.#epochs.reassert(sessions);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#discards.close();
    this.#epochs.close();
  }

  // ---- registration ----

  #start(r: Registration): void {
    const left = r.deadline - this.#clock.now();
    if (left <= 0) {
      this.#end(r, { kind: 'failed', reason: 'no-quorum' });
      return;
    }
    const { cleanStart, sessionExpiryInterval } = r.request;
    const body = encodeRegister({ key: r.key, nodeId: this.#db.nodeId, cleanStart, sessionExpiryInterval, will: emptyBytes });
    this.#db.command(registryTableOf(r.key).shard, 'register', body, { deadlineMs: left }, (failure, result) => {
      const reply = failure === undefined ? orUndefined(() => decodeRegisterReply(result.reply)) : undefined;
      if (reply !== undefined) this.#registered(r, reply);
      else if (failure === undefined) this.#end(r, { kind: 'failed', reason: 'refused' });
      else if (failure.kind === 'fenced') this.#clock.setTimer(fencedRetryMs, () => this.#start(r));
      else this.#end(r, { kind: 'failed', reason: failure.kind === 'refused' ? 'refused' : 'no-quorum' });
    });
  }

  #registered(r: Registration, reply: RegisterReply): void {
    const { clientId, cleanStart } = r.request;
    const { epoch, holder } = reply;
    for (const claim of reply.displaced) if (!this.#isOwn(claim)) this.#displace(claim, clientId);
    if (holder === undefined) {
      this.#end(r, { kind: 'fresh', epoch });
    } else if (cleanStart) {
      this.#displace(holder, clientId);
      if (reply.owner !== undefined && reply.owner.epoch !== holder.epoch && !this.#isOwn(reply.owner)) this.#displace(reply.owner, clientId);
      this.#end(r, { kind: 'fresh', epoch });
    } else if (this.#isOwn(holder)) {
      const reclaimed = this.#server.reclaim(clientId, holder.epoch);
      if (reclaimed === undefined) this.#end(r, { kind: 'local', epoch, heldEpoch: this.#heldEpoch(clientId, holder) });
      else this.#opened(r, holder, epoch, reclaimed.state, reclaimed);
    } else {
      const deadline = r.deadline - this.#options.reserveAfterBeginMs;
      this.#client.fetch('takeover.begin', holder, clientId, epoch, deadline, (result) => {
        if (result.kind === 'fetched') {
          this.#opened(r, holder, epoch, result.bytes, undefined);
        } else if (result.kind === 'overtaken') {
          this.#overtaken.value++;
          this.#end(r, { kind: 'failed', reason: 'overtaken' });
        } else {
          this.#holderGone(result.kind, holder, clientId);
          this.#claim({ key: r.key, epoch, settled: false, deadline: r.deadline }, (outcome) => {
            this.#end(r, outcome === 'done' ? { kind: 'fresh', epoch } : { kind: 'failed', reason: outcome });
          });
        }
      });
    }
  }

  /** The line stays held until the takeover is finished, given up, or forgotten. */
  #opened(r: Registration, holder: Claim, epoch: number, state: Uint8Array, reclaimed: HandedOut | undefined): void {
    this.#takeovers.set(r.request.clientId, { epoch, holder, key: r.key, deadline: r.deadline, reclaimed, finishing: false });
    this.#keepHouse();
    r.done({ kind: 'remote', epoch, state });
  }

  #end(r: Registration, result: RegisterResult): void {
    r.done(result);
    this.#lines.leave(r.request.clientId);
  }

  /** Makes this node the holder under the epoch. */
  #claim(claim: EpochClaim, done: (outcome: 'done' | 'overtaken' | 'no-quorum') => void): void {
    const { key, epoch, settled } = claim;
    const left = claim.deadline - this.#clock.now();
    if (left <= 0) {
      done('no-quorum');
      return;
    }
    const body = encodeEpoch({ key, nodeId: this.#db.nodeId, epoch, sessionExpiryInterval: 0xffff_ffff, settled });
    this.#db.command(registryTableOf(key).shard, 'takeoverDone', body, { deadlineMs: left }, (failure: WriteFailure | undefined, result) => {
      if (failure === undefined) {
        const current = epochReply(result.reply).verdict === 'current';
        if (!current) this.#overtaken.value++;
        done(current ? 'done' : 'overtaken');
      } else if (failure.kind === 'fenced') this.#clock.setTimer(fencedRetryMs, () => this.#claim(claim, done));
      else done('no-quorum');
    });
  }

  #holderGone(kind: 'none' | 'lost', holder: Claim, clientId: string): void {
    if (kind === 'none') return;
    this.#holdersLost.value++;
    // It may only be out of our reach: its session must go when it comes back.
    this.#displace(holder, clientId);
  }

  #displace(claim: Claim, clientId: string): void {
    if (this.#isOwn(claim)) for (const epoch of epochsOf(claim)) this.#discardHere(clientId, epoch);
    else if (claim.nodeId !== this.#db.nodeId) this.#discards.add(claim, clientId, ReasonCode.sessionTakenOver);
  }

  #discardHere(clientId: string, epoch: number): void {
    this.#source.discard(clientId, epoch, ReasonCode.sessionTakenOver);
  }

  /** Which of the epochs that the row remembers of this node its session has. */
  #heldEpoch(clientId: string, holder: Claim): number {
    const epoch = this.#source.heldEpoch?.(clientId);
    return epoch !== undefined && holder.also.includes(epoch) ? epoch : holder.epoch;
  }

  /** The newer epoch may be one that a registration of ours is about to give the same session: that comes first. */
  #onStale(clientId: string, epoch: number): void {
    this.#lines.whenFree(clientId, () => this.#discardHere(clientId, epoch), Number.POSITIVE_INFINITY);
  }

  #isOwn(claim: Claim): boolean {
    return claim.nodeId === this.#db.nodeId && claim.incarnation === this.#db.incarnation;
  }

  #closeTakeover(clientId: string, takeover: Takeover, taken: boolean): void {
    if (this.#takeovers.get(clientId) !== takeover) return;
    this.#takeovers.delete(clientId);
    if (!taken && takeover.reclaimed !== undefined) this.#server.putBack(clientId, takeover.epoch, takeover.reclaimed, this.#clock.now());
    this.#lines.leave(clientId);
  }

  #giveUpTakeover(clientId: string, epoch: number): void {
    const takeover = this.#takeovers.get(clientId);
    if (takeover !== undefined && takeover.epoch === epoch && !takeover.finishing) this.#closeTakeover(clientId, takeover, false);
  }

  // ---- calls of other nodes ----

  #onTakeover(phase: 'begin' | 'finish', body: Uint8Array, reply: RpcReply): void {
    const q = this.#decode(() => decodeTakeover(body), reply);
    if (q === undefined) return;
    const answer = (): void => {
      if (!this.#lines.whenFree(q.clientId, () => this.#answerTakeover(phase, q, reply))) reply(busyMessage);
    };
    if (phase === 'finish' && q.offset === 0) this.beforeHandOver(answer);
    else answer();
  }

  #answerTakeover(phase: 'begin' | 'finish', q: TakeoverRequest, reply: RpcReply): void {
    const answer = this.#server[phase](this.#source, q, this.#clock.now());
    this.#keepHouse();
    if (answer === 'overtaken') reply(overtakenMessage);
    else reply(undefined, encodeTakeoverReply(answer));
  }

  #onDiscard(body: Uint8Array, reply: RpcReply, kicked: boolean): void {
    const q = this.#decode(() => decodeDiscard(body), reply);
    if (q === undefined) return;
    const discard = (): void => {
      for (const epoch of q.epochs) this.#source.discard(q.clientId, epoch, q.reasonCode);
      // Nobody takes its place: the row goes too.
      if (kicked && q.epochs[0] !== undefined) this.ended(q.clientId, q.epochs[0]);
      reply(undefined, emptyBytes);
    };
    if (!this.#lines.whenFree(q.clientId, discard)) reply(busyMessage);
  }

  #decode<T>(decode: () => T, reply: RpcReply): T | undefined {
    const q = orUndefined(decode);
    if (q === undefined) {
      this.#malformed.value++;
      reply('malformed');
    }
    return q;
  }

  #kickAt(claim: Claim, clientId: string, done: (reached: boolean) => void): void {
    if (claim.nodeId === this.#db.nodeId) {
      const kick = (): void => {
        for (const epoch of epochsOf(claim)) this.#source.discard(clientId, epoch, ReasonCode.administrativeAction);
        this.ended(clientId, claim.epoch);
        done(true);
      };
      this.#lines.whenFree(clientId, kick, Number.POSITIVE_INFINITY);
      return;
    }
    const body = encodeDiscard({ clientId, epochs: epochsOf(claim), reasonCode: ReasonCode.administrativeAction });
    this.#links.call(claim.nodeId, 'session.kick', body, kickMs, (failure) => done(failure === undefined));
  }

  // ---- housekeeping, while there is something to forget ----

  #keepHouse(): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = this.#clock.setTimer(housekeepingMs, () => {
      this.#timer = undefined;
      const now = this.#clock.now();
      for (const [clientId, t] of this.#takeovers) {
        if (!t.finishing && now >= t.deadline + this.#options.abandonedMs) this.#closeTakeover(clientId, t, false);
      }
      this.#server.expire(now);
      if (this.#server.size > 0 || this.#takeovers.size > 0) this.#keepHouse();
    });
  }
}

/** Undefined for bytes that a node of another version may have sent. */
function orUndefined<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

// Who has which client id, cluster-wide (broker.md, Registry and takeover): implements Registry over
// the database's commands (registry-commands.ts) and calls between nodes (registry-calls.ts, takeover-*.ts).
//
// A registration: one command; then, when another node holds the session, phase 1 (its state), the
// broker builds the session and makes its routes effective, phase 2 (its queue), and `takeoverDone`
// (registry-takeovers.ts), after which the old holder is told to drop it.
// Invariants: a session exists under the current epoch only after the command that made it so was
// committed; an epoch that is not the current one is refused everywhere; every callback runs once.
// On 'fresh' and 'remote' the broker drops whatever session it still has under the client id.
import { emptyBytes } from '#base/bytes.js';
import type { Database } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Links } from '#link/api.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { HeldSession, PublishWill, RegisterRequest, RegisterResult, Registry, TakeoverOutcome, TakeoverSource } from './ports.js';
import type { WillWord } from './registered-wills.js';
import { type AuditOptions, SessionAudit } from './registry-audit.js';
import { orUndefined, RegistryCalls } from './registry-calls.js';
import { SessionDiscards } from './registry-discards.js';
import { EpochCommands } from './registry-epochs.js';
import { type ExpiryOptions, RowExpiry } from './registry-expiry.js';
import { Kicks } from './registry-kick.js';
import { ClientLines, type LineUser } from './registry-lines.js';
import { type Claim, decodeRegisterReply, type RegisterReply, registryKey, writeRegister } from './registry-row.js';
import { RegistrySender } from './registry-sender.js';
import { fencedRetryMs, Takeovers } from './registry-takeovers.js';
import { epochsOf, TakeoverClient } from './takeover-client.js';
import type { TakeoverServerOptions } from './takeover-server.js';
import { WillPublisher, type WillPublisherOptions } from './will-publisher.js';

export interface RegistryOptions {
  /** From CONNECT to the last word on the registration. */
  readonly deadlineMs: number;
  /** Of it, kept back for the commands after phase 1, and after phase 2. */
  readonly reserveAfterBeginMs: number;
  readonly reserveAfterFinishMs: number;
  /** A takeover that the broker began and never finished is forgotten after this. */
  readonly abandonedMs: number;
  readonly server: Partial<TakeoverServerOptions>;
  readonly audit: Partial<AuditOptions>;
  readonly expiry: Partial<ExpiryOptions>;
  readonly wills: Partial<WillPublisherOptions>;
}

export const registryDefaults: RegistryOptions = {
  deadlineMs: 5_000,
  reserveAfterBeginMs: 2_000,
  reserveAfterFinishMs: 1_000,
  abandonedMs: 15_000,
  server: {},
  audit: {},
  expiry: {},
  wills: {},
};

const housekeepingMs = 1_000;

export interface RegistryEnv {
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/** One call of `register`, from its place in the client's line to its answer. */
class Registration implements LineUser {
  readonly request: RegisterRequest;
  readonly key: Uint8Array;
  readonly deadline: number;
  readonly done: (result: RegisterResult) => void;
  readonly #host: RegistrationHost;

  constructor(host: RegistrationHost, request: RegisterRequest, deadline: number, done: (result: RegisterResult) => void) {
    this.#host = host;
    this.request = request;
    this.key = registryKey(request.clientId);
    this.deadline = deadline;
    this.done = done;
  }

  start(): void {
    this.#host.start(this);
  }

  overtaken(): void {
    this.#host.overtaken(this);
  }
}

interface RegistrationHost {
  start(r: Registration): void;
  overtaken(r: Registration): void;
}

const noSource: TakeoverSource = { begin: () => undefined, finish: () => undefined, discard: () => {} };

export class ClusterRegistry implements Registry {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #options: RegistryOptions;
  readonly #lines: ClientLines = new ClientLines();
  readonly #sender: RegistrySender;
  readonly #client: TakeoverClient;
  readonly #discards: SessionDiscards;
  readonly #epochs: EpochCommands;
  readonly #takeovers: Takeovers;
  readonly #calls: RegistryCalls;
  readonly #kicks: Kicks;
  readonly #audit: SessionAudit;
  readonly #expiry: RowExpiry;
  readonly #wills: WillPublisher;
  readonly #host: RegistrationHost = {
    start: (r) => this.#start(r),
    overtaken: (r) => {
      this.#overtaken.value++;
      r.done({ kind: 'failed', reason: 'overtaken' });
    },
  };
  #source: TakeoverSource = noSource;
  #timer: Timer | undefined;
  #closed = false;
  readonly #overtaken: Counter;

  constructor(env: RegistryEnv, db: Database, links: Links, options: Partial<RegistryOptions> = {}) {
    const { clock, metrics } = env;
    this.#clock = clock;
    this.#db = db;
    this.#options = { ...registryDefaults, ...options };
    const onStale = (clientId: string, epoch: number): void => this.#onStale(clientId, epoch);
    const onDisplaced = (clientId: string, claim: Claim): void => this.#displace(claim, clientId);
    this.#sender = new RegistrySender(clock, metrics, db);
    this.#client = new TakeoverClient(clock, links, db);
    this.#discards = new SessionDiscards(clock, metrics, links, (claim) => this.#client.isLost(claim));
    this.#epochs = new EpochCommands(clock, metrics, db, this.#sender, {
      onStale,
      settled: (clientId) => this.#discards.settled(clientId),
      onDisplaced,
    });
    const onClosed = (clientId: string): void => this.#lines.leave(clientId);
    this.#takeovers = new Takeovers(clock, metrics, db, this.#client, this.#epochs, this.#options, { onDisplaced, onClosed });
    this.#overtaken = metrics.counter('starmesh_registrations_overtaken_total', 'Connections that a newer one of the same client overtook');
    const registry = this;
    this.#calls = new RegistryCalls(clock, metrics, links, this.#options.server, {
      get source(): TakeoverSource {
        return registry.#source;
      },
      lines: this.#lines,
      beforeHandOver: (done) => this.beforeHandOver(done),
      keepHouse: () => this.#keepHouse(),
      kickHere: (clientId, epochs) => this.#kickHere(clientId, epochs),
    });
    this.#kicks = new Kicks(db, links, (clientId, epochs, done) => {
      this.#lines.whenFree(clientId, () => done(this.#kickHere(clientId, epochs)), Number.POSITIVE_INFINITY);
    });
    this.#audit = new SessionAudit(clock, metrics, db, this.#options.audit, {
      sessions: () => this.#source.held?.() ?? [],
      busy: (clientId) => this.#lines.busy(clientId) || this.#epochs.unasserted(clientId),
      onStale,
      onCurrent: (clientId, epoch) => this.#source.confirmed?.(clientId, epoch),
    });
    this.#audit.start();
    this.#expiry = new RowExpiry(clock, db, this.#options.expiry);
    this.#expiry.start();
    this.#wills = new WillPublisher(clock, metrics, db, this.#options.wills);
  }

  /** Runs its argument when what was routed to the sessions of this node so far has come. Set by who builds the node. */
  beforeHandOver: (done: () => void) => void = (done) => done();

  /** Set by who builds the node. */
  keepsWills: () => boolean = () => true;

  serve(source: TakeoverSource): void {
    this.#source = source;
  }

  /** Nothing is left to tell the leader or another node: for tests. */
  get idle(): boolean {
    return this.#epochs.idle && this.#discards.size === 0;
  }

  register(request: RegisterRequest, done: (result: RegisterResult) => void): void {
    const { clientId } = request;
    // Nobody waits for an offer, and nobody gives way to one.
    if ((request.offer === true || request.adopt !== undefined) && this.#lines.busy(clientId)) {
      done({ kind: 'failed', reason: 'no-quorum' });
      return;
    }
    const deadline = this.#clock.now() + this.#options.deadlineMs;
    this.#lines.enter(clientId, new Registration(this.#host, request, deadline, done));
    this.#takeovers.giveWay(clientId);
  }

  finishTakeover(
    clientId: string,
    epoch: number,
    prepare: (queue: Uint8Array, next: (ok: boolean) => void) => void,
    done: (outcome: TakeoverOutcome) => void,
  ): void {
    this.#takeovers.finish(clientId, epoch, prepare, (outcome) => {
      if (outcome === 'overtaken') this.#overtaken.value++;
      done(outcome);
    });
  }

  disconnected(clientId: string, epoch: number, will?: WillWord, expiryS?: number): void {
    this.#takeovers.giveWay(clientId, epoch);
    this.#epochs.send('disconnected', clientId, epoch, false, will, expiryS);
  }

  ended(clientId: string, epoch: number, will?: WillWord): void {
    this.#takeovers.giveWay(clientId, epoch);
    this.#epochs.send('ended', clientId, epoch, false, will);
  }

  onWill(publish: PublishWill): void {
    this.#wills.start(publish);
  }

  kick(clientId: string, done: (found: boolean) => void): void {
    this.#kicks.kick(clientId, done);
  }

  reassert(sessions: Iterable<HeldSession>): void {
    this.#epochs.reassert(sessions);
  }

  recheck(): void {
    this.#audit.recheck();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#discards.close();
    this.#epochs.close();
    this.#audit.close();
    this.#expiry.close();
    this.#wills.close();
  }

  // ---- registration ----

  #start(r: Registration): void {
    const left = r.deadline - this.#clock.now();
    const { cleanStart, sessionExpiryInterval, offer, adopt, clientId, durable = false, will = emptyBytes } = r.request;
    // The session that the client had here before goes first.
    if (left <= 0 || (offer === true && this.#epochs.unasserted(clientId))) {
      this.#end(r, { kind: 'failed', reason: 'no-quorum' });
      return;
    }
    const mode = cleanStart ? 'clean' : offer === true ? 'offer' : adopt !== undefined ? 'adopt' : 'continue';
    const body = { key: r.key, nodeId: this.#db.nodeId, mode, sessionExpiryInterval, will, durable, adopts: adopt ?? 0 } as const;
    this.#sender.send('register', r.key, body, writeRegister, left, (failure, bytes) => {
      const reply = failure === undefined ? orUndefined(() => decodeRegisterReply(bytes)) : undefined;
      if (reply !== undefined) this.#registered(r, reply);
      else if (failure === 'fenced') this.#clock.setTimer(fencedRetryMs, () => this.#start(r));
      else this.#end(r, { kind: 'failed', reason: failure === undefined || failure === 'refused' ? 'refused' : 'no-quorum' });
    });
  }

  #registered(r: Registration, reply: RegisterReply): void {
    const { clientId, cleanStart } = r.request;
    const { epoch, holder } = reply;
    if (epoch === 0) {
      this.#fail(r, 'overtaken');
      return;
    }
    for (const claim of reply.displaced) if (!this.#isOwn(claim)) this.#displace(claim, clientId);
    if (holder === undefined) {
      this.#end(r, { kind: 'fresh', epoch });
    } else if (cleanStart) {
      this.#displace(holder, clientId);
      if (reply.owner !== undefined && reply.owner.epoch !== holder.epoch && !this.#isOwn(reply.owner)) this.#displace(reply.owner, clientId);
      this.#end(r, { kind: 'fresh', epoch });
    } else if (this.#isOwn(holder)) {
      this.#end(r, { kind: 'local', epoch, heldEpoch: this.#heldEpoch(clientId, holder) });
    } else this.#takeOver(r, holder, epoch);
  }

  #takeOver(r: Registration, holder: Claim, epoch: number): void {
    const { clientId } = r.request;
    const deadline = r.deadline - this.#options.reserveAfterBeginMs;
    this.#client.fetch('takeover.begin', holder, clientId, epoch, deadline, (result) => {
      if (result.kind === 'fetched') {
        // The line stays held until the takeover is finished, given up, or forgotten.
        this.#takeovers.open(clientId, holder, r.key, epoch, r.deadline, r.request.durable === true);
        this.#keepHouse();
        r.done({ kind: 'remote', epoch, state: result.bytes });
      } else if (result.kind === 'overtaken') {
        this.#fail(r, 'overtaken');
      } else if (result.kind === 'slow') {
        this.#takeovers.leave(clientId, epoch);
        this.#fail(r, 'overtaken');
      } else {
        this.#takeovers.countLost(result.kind);
        this.#takeovers.claimFresh(clientId, r.key, epoch, r.deadline, r.request.durable === true, (outcome) => {
          if (outcome === 'done') this.#end(r, { kind: 'fresh', epoch });
          else this.#fail(r, outcome);
        });
      }
    });
  }

  #fail(r: Registration, reason: 'overtaken' | 'no-quorum'): void {
    if (reason === 'overtaken') this.#overtaken.value++;
    this.#end(r, { kind: 'failed', reason });
  }

  #end(r: Registration, result: RegisterResult): void {
    r.done(result);
    this.#lines.leave(r.request.clientId);
  }

  // ---- sessions that have lost their client id ----

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

  /** Nobody takes their place: the row goes too. */
  #kickHere(clientId: string, epochs: readonly number[]): boolean {
    const found = this.#source.kick?.(clientId, ReasonCode.administrativeAction) === true;
    if (epochs[0] !== undefined) this.ended(clientId, epochs[0], 'over');
    return found;
  }

  // ---- housekeeping, while there is something to forget ----

  #keepHouse(): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = this.#clock.setTimer(housekeepingMs, () => {
      this.#timer = undefined;
      const now = this.#clock.now();
      this.#takeovers.forgetAbandoned(now);
      this.#calls.expire(now);
      if (this.#calls.size > 0 || this.#takeovers.size > 0) this.#keepHouse();
    });
  }
}

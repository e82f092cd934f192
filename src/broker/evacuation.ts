// A node that is about to go gives its clients and sessions away: new clients are told to go elsewhere, those that are here
// are disconnected some at a time, and when they have had time to come back somewhere else, which fetches their sessions,
// the sessions of clients that are away are handed to other nodes. `node` starts it, for `ctl rebalance start --evacuation`
// and before `ctl cluster leave`.
// Invariants: a session is here until another node has it whole; nobody's connection elsewhere is disturbed by a session
// that is handed over; what is under way is bounded, and every step is tried a bounded number of times. Sessions are looked
// at in rounds, `scanMax` a tick: with very many of them, a round takes many ticks, and no tick is long.
import type { Timer } from '#env/clock.js';
import type { Counter } from '#env/metrics.js';
import type { Properties } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { Channel } from '#session/channel.js';
import type { Session } from '#session/session.js';
import type { Core } from './core.js';
import type { Recipient } from './ports.js';
import type { Sessions } from './sessions.js';
import type { Wills } from './wills.js';

export interface EvacuationOptions {
  /** Per second. */
  readonly connectionRate: number;
  readonly sessionRate: number;
  /** Clients have so long to come back elsewhere before their sessions are handed over. */
  readonly waitTakeoverMs: number;
  /** Load balancers have so long to see that the node takes nobody in, before anybody has to go. */
  readonly waitHealthCheckMs: number;
  /** The node does not come back: 0x9D, else 0x9C. */
  readonly forGood: boolean;
  /** Server Reference for clients of MQTT 5.0; undefined: none. */
  readonly redirectTo: string | undefined;
  /** Names of the nodes that get sessions; undefined: all others. */
  readonly migrateTo: readonly string[] | undefined;
  /** Sessions looked at in one tick for clients to disconnect, and as many for sessions to hand over. */
  readonly scanMax: number;
}

export const evacuationDefaults: EvacuationOptions = {
  connectionRate: 500,
  sessionRate: 500,
  waitTakeoverMs: 60_000,
  waitHealthCheckMs: 60_000,
  forGood: false,
  redirectTo: undefined,
  migrateTo: undefined,
  scanMax: 5_000,
};

/** EMQX's words. `prohibiting`: nobody is here any more, and nobody is let in. */
export type EvacuationState = 'waiting_health_check' | 'evicting_conns' | 'waiting_takeover' | 'evicting_sessions' | 'prohibiting';

export interface EvacuationStatus {
  readonly state: EvacuationState;
  readonly options: EvacuationOptions;
  readonly initialConnections: number;
  readonly connections: number;
  readonly initialSessions: number;
  /** Those of clients that are away, still here. */
  readonly sessions: number;
  /** Of them: nobody could be found who takes them. */
  readonly stuck: number;
  /** Who gets sessions. */
  readonly recipients: readonly string[];
}

const tickMs = 100;
/** Sessions on their way at a time. */
const openMax = 50;
const attemptsMax = 5;
const retryMs = 2_000;

interface Attempt {
  count: number;
  /** Not before. */
  at: number;
}

export class Evacuation {
  readonly #core: Core;
  readonly #sessions: Sessions;
  readonly #wills: Wills;
  readonly #options: EvacuationOptions;
  readonly #over: () => void;
  readonly #evicted: Counter;
  readonly #handedOver: Counter;
  readonly #initialConnections: number;
  readonly #initialSessions: number;
  readonly #attempts = new WeakMap<Session, Attempt>();
  readonly #stuck = new Set<Session>();
  readonly #toEvict: Rounds;
  readonly #toGive: Rounds;
  /** Whether this round has met a session that is to be handed over, or one whose client is here and may go behind the round. */
  #found = false;
  #state: EvacuationState = 'waiting_health_check';
  #until: number;
  #timer: Timer | undefined;
  #open = 0;
  #turn = 0;
  /** What a rate leaves over from tick to tick. */
  #connectionsDue = 0;
  #sessionsDue = 0;

  /** `over` runs once, when nothing is left that could be given away. */
  constructor(core: Core, sessions: Sessions, wills: Wills, options: EvacuationOptions, over: () => void) {
    this.#core = core;
    this.#sessions = sessions;
    this.#wills = wills;
    this.#options = options;
    this.#over = over;
    const { metrics } = core.env;
    this.#evicted = metrics.counter('starmesh_evicted_connections_total', 'Clients that were told to go to another node because this one goes');
    this.#handedOver = metrics.counter('starmesh_evicted_sessions_total', 'Sessions of absent clients handed to other nodes because this one goes');
    this.#toEvict = new Rounds(core.sessions);
    this.#toGive = new Rounds(core.sessions);
    this.#initialConnections = sessions.connected;
    this.#initialSessions = this.#away;
    this.#until = core.now() + options.waitHealthCheckMs;
  }

  start(): void {
    this.#tick();
  }

  /** What a client hears instead of being let in, or when it has to go. */
  get farewell(): { readonly reasonCode: number; readonly properties: Properties | undefined } {
    const { forGood, redirectTo } = this.#options;
    const reasonCode = forGood ? ReasonCode.serverMoved : ReasonCode.useAnotherServer;
    return { reasonCode, properties: redirectTo === undefined ? undefined : { serverReference: redirectTo } }; // section 4.11
  }

  get status(): EvacuationStatus {
    let stuck = 0;
    for (const session of this.#stuck) if (!session.ended) stuck++;
    return {
      state: this.#state,
      options: this.#options,
      initialConnections: this.#initialConnections,
      connections: this.#sessions.connected,
      initialSessions: this.#initialSessions,
      sessions: this.#away,
      stuck,
      recipients: this.#recipients().map((r) => r.name),
    };
  }

  /** The node stays: what was given away is away. */
  stop(): void {
    this.#timer?.cancel();
  }

  /** Sessions without a client: one that does not last has ended with its connection. */
  get #away(): number {
    return Math.max(0, this.#core.sessions.size - this.#sessions.connected);
  }

  #recipients(): readonly Recipient[] {
    const all = this.#core.ports.handover?.recipients() ?? [];
    const { migrateTo } = this.#options;
    return migrateTo === undefined ? all : all.filter((r) => migrateTo.includes(r.name));
  }

  #tick(): void {
    this.#connectionsDue = Math.min(this.#options.connectionRate, this.#connectionsDue + (this.#options.connectionRate * tickMs) / 1_000);
    this.#sessionsDue = Math.min(this.#options.sessionRate, this.#sessionsDue + (this.#options.sessionRate * tickMs) / 1_000);
    this.#advance();
    if (this.#state === 'prohibiting') {
      this.#over();
      return;
    }
    this.#timer = this.#core.env.clock.setTimer(tickMs, () => this.#tick());
  }

  /** In every state from then on: a client may have been on its way in. */
  #evict(): void {
    if (this.#sessions.connected === 0) return;
    const now = this.#core.now();
    const { reasonCode, properties } = this.farewell;
    const going: Channel[] = [];
    for (let looked = 0; looked < this.#options.scanMax && this.#connectionsDue >= 1; looked++) {
      const session = this.#toEvict.next();
      if (session === undefined) break;
      if (!(session.channel instanceof Channel)) continue;
      this.#connectionsDue--;
      going.push(session.channel);
    }
    for (const channel of going) {
      this.#evicted.value++;
      channel.disconnect(reasonCode, now, properties);
    }
  }

  #advance(): void {
    const now = this.#core.now();
    if (this.#state === 'waiting_health_check') {
      if (now < this.#until) return;
      this.#state = 'evicting_conns';
    }
    this.#evict();
    if (this.#state === 'evicting_conns' && this.#sessions.connected === 0) {
      this.#state = 'waiting_takeover';
      this.#until = now + this.#options.waitTakeoverMs;
    }
    if (this.#state === 'waiting_takeover' && (now >= this.#until || this.#away === 0)) this.#state = 'evicting_sessions';
    if (this.#state === 'evicting_sessions') this.#handOver(now);
  }

  #handOver(now: number): void {
    const recipients = this.#recipients();
    let over = recipients.length === 0;
    for (let looked = 0; !over && looked < this.#options.scanMax && this.#open < openMax && this.#sessionsDue >= 1; looked++) {
      const session = this.#toGive.next();
      if (session === undefined) {
        over = !this.#found && this.#open === 0;
        this.#found = false;
        break;
      }
      if (session.channel !== undefined) this.#found = true;
      if (!isAway(session) || this.#stuck.has(session)) continue;
      this.#found = true;
      const attempt = this.#attempts.get(session) ?? { count: 0, at: 0 };
      if (attempt.at > now) continue;
      this.#sessionsDue--;
      attempt.count++;
      attempt.at = Number.POSITIVE_INFINITY;
      this.#attempts.set(session, attempt);
      this.#give(session, recipients[this.#turn++ % recipients.length] as Recipient, attempt);
    }
    if (over && this.#sessions.connected === 0) this.#state = 'prohibiting';
  }

  #give(session: Session, to: Recipient, attempt: Attempt): void {
    const now = this.#core.now();
    const { clientId, epoch, expiryIntervalS, username, mountpoint } = session;
    const pending = this.#wills.pending(session);
    const will = pending === undefined ? undefined : { will: pending.will, dueAtMs: Math.max(0, pending.due - now) };
    const meta = { epoch, expiryIntervalS, username, mountpoint, leftAtMs: 0, will };
    this.#open++;
    this.#core.ports.handover?.give(to.nodeId, { clientId, leftMs: Math.max(0, session.expiresAt - now), meta }, (taken) => {
      this.#open--;
      attempt.at = this.#core.now() + retryMs;
      if (!taken && attempt.count >= attemptsMax) this.#stuck.add(session);
      if (taken) this.#handedOver.value++;
      // It was called off for a client that was about to continue the session, and nobody has.
      else if (pending !== undefined) this.#sessions.willWaits(session, pending.will, pending.due);
    });
  }
}

/** All sessions in turn, over and over: those that come meanwhile at the end, those that go are not met. */
class Rounds {
  readonly #sessions: ReadonlyMap<string, Session>;
  #cursor: IterableIterator<Session> | undefined = undefined;

  constructor(sessions: ReadonlyMap<string, Session>) {
    this.#sessions = sessions;
  }

  /** Undefined: the round is over, and the next call begins another. */
  next(): Session | undefined {
    this.#cursor ??= this.#sessions.values();
    const step = this.#cursor.next();
    if (step.done !== true) return step.value;
    this.#cursor = undefined;
    return undefined;
  }
}

/** Its client is not here, and may come back to it. */
function isAway(session: Session): boolean {
  return session.channel === undefined && session.lasting && session.epoch > 0 && !session.ended;
}

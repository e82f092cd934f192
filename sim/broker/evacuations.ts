// Nodes that give their clients and sessions away, as an operator has them do: before they are stopped for a while, before
// they leave for good (replicants), or for nothing, because the operator thinks better of it. Looks at what each is worth:
// whoever is told to go is told the right thing, and when the node says that nobody is left, every session is somewhere else.
import type { Prng } from '#base/prng.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { BrokerNode, BrokerWorld } from './broker-world.js';
import type { Disturbances } from './faults.js';
import type { History, SimSession } from './history.js';

const never = Number.POSITIVE_INFINITY;
const sampleEveryMs = 50;
/** The operator waits no longer. */
const patienceMs = 6_000;
/** What a node has said on its way out may still be under way. */
const farewellMs = 3_000;

type Purpose = 'restart' | 'leave' | 'nothing';

interface Evacuation {
  readonly n: BrokerNode;
  readonly purpose: Purpose;
  readonly since: number;
  readonly life: number;
  /** Sessions that the node had, connected or not, at some moment. */
  readonly had: Set<SimSession>;
  over: boolean;
}

export class Evacuations {
  readonly #world: BrokerWorld;
  readonly #history: History;
  readonly #disturbances: Disturbances;
  readonly #prng: Prng;
  #current: Evacuation | undefined = undefined;
  /** Sessions move without their clients until then. */
  #watchUntil = 0;
  #healed = false;

  constructor(world: BrokerWorld, history: History, disturbances: Disturbances) {
    this.#world = world;
    this.#history = history;
    this.#disturbances = disturbances;
    this.#prng = world.world.prng.fork('evacuations');
    if (!this.#prng.chance(0.35) || world.nodes.length < 2) return;
    this.#next();
    this.#sample();
  }

  get #now(): number {
    return this.#world.world.now;
  }

  #next(): void {
    this.#world.world.after(this.#prng.range(500, 5_000), () => {
      if (this.#healed) return;
      if (this.#current === undefined) this.#begin();
      this.#next();
    });
  }

  /** Nobody has to go any more. */
  heal(): void {
    this.#healed = true;
    const e = this.#current;
    if (e !== undefined && !(e.over && e.purpose === 'leave')) this.#callOff(e);
  }

  // ---- one of them ----

  #begin(): void {
    const serving = this.#world.nodes.filter((n) => n.serving && !n.sim.scope.paused);
    if (serving.length < 2) return;
    const prng = this.#prng;
    const n = prng.pick(serving);
    const purpose = prng.pick<Purpose>(n.role === 'replicant' ? ['restart', 'leave', 'leave', 'nothing'] : ['restart', 'nothing']);
    const e: Evacuation = { n, purpose, since: this.#now, life: n.sim.lives, had: new Set(), over: false };
    const options = {
      connectionRate: prng.pick([5, 50, 500]),
      sessionRate: prng.pick([5, 500]),
      waitHealthCheckMs: prng.pick([0, 0, 300]),
      waitTakeoverMs: prng.pick([0, 200, 1_500]),
      forGood: purpose === 'leave',
      scanMax: prng.pick([1, 3, 1_000]),
    };
    this.#current = e;
    this.#history.count('evacuations');
    this.#history.note(n.name, () => `gives its clients away: ${purpose} ${JSON.stringify(options)}`);
    n.farewell = { reasonCode: options.forGood ? ReasonCode.serverMoved : ReasonCode.useAnotherServer, until: never };
    n.gaveAwayAt = this.#now;
    this.#look(e);
    n.sim.run(() => {
      if (this.#current === e) n.node?.broker.evacuate(options, () => this.#over(e));
    });
    this.#world.world.after(patienceMs, () => {
      if (this.#current === e && !e.over) this.#callOff(e);
    });
  }

  #end(e: Evacuation): void {
    if (this.#current === e) this.#current = undefined;
    this.#endFarewell(e.n);
    this.#watchUntil = this.#now + farewellMs;
  }

  /** One that stands still says first, when it goes on, what it was about to say. */
  #endFarewell(n: BrokerNode, farewell: BrokerNode['farewell'] = n.farewell): void {
    if (farewell === undefined || n.farewell !== farewell) return;
    if (n.sim.up && n.sim.scope.paused) this.#world.world.after(sampleEveryMs, () => this.#endFarewell(n, farewell));
    else n.farewell = { ...farewell, until: this.#now + farewellMs };
  }

  #callOff(e: Evacuation): void {
    this.#end(e);
    const { n } = e;
    if (n.sim.up && n.sim.lives === e.life) n.sim.run(() => n.node?.broker.stopEvacuation());
  }

  /** Nothing is left that could be given away. */
  #over(e: Evacuation): void {
    if (this.#current !== e || e.over) return;
    e.over = true;
    this.#history.count('evacuationsOver');
    this.#check(e);
    const { n, purpose } = e;
    if (purpose === 'nothing')
      this.#world.world.after(this.#prng.range(100, 2_000), () => {
        if (this.#current === e) this.#callOff(e);
      });
    else if (purpose === 'restart') this.#world.world.after(this.#prng.range(0, 300), () => this.#restart(e, false));
    else this.#leave(n, e);
  }

  #leave(n: BrokerNode, e: Evacuation): void {
    let done = false;
    const end = (left: boolean): void => {
      if (done) return;
      done = true;
      // Out of the callback that belongs to the process which ends.
      this.#world.world.after(0.01, () => this.#restart(e, left));
    };
    const { node } = n;
    node?.retire(() => {
      if (node.core.cluster.leaveRefusal() !== undefined) end(false);
      else node.core.cluster.leave((refused) => end(refused === undefined));
    });
    this.#world.world.after(patienceMs, () => end(false));
  }

  /** Its process ends, and another one begins some time later: with an empty disk, if the node has left. */
  #restart(e: Evacuation, left: boolean): void {
    this.#end(e);
    const { n } = e;
    if (!n.sim.up || n.sim.lives !== e.life) return;
    this.#disturbances.states.add(n.name, this.#now, this.#now);
    if (n.sim.scope.paused) n.sim.resume();
    this.#world.crash(n, 'kill');
    if (left) {
      this.#history.count('left');
      n.sim.wipe();
    }
    const back = (): void => {
      if (!n.sim.up) this.#world.start(n);
    };
    this.#world.world.after(this.#healed ? 1 : this.#prng.range(1, 2_000), back);
  }

  // ---- what it was worth ----

  #check(e: Evacuation): void {
    const { n } = e;
    const status = n.node?.broker.evacuation;
    if (status === undefined) return;
    if (status.connections > 0) this.#history.violation(`${n.name} says that it has given all away, and has ${status.connections} clients`);
    if (status.recipients.length === 0) return;
    if (status.sessions > status.stuck) this.#history.violation(`${n.name} says that it has given all away, and has ${status.sessions} sessions`);
    const well = !this.#world.nodes.some((x) => !x.sim.up || this.#disturbances.overlaps(x.name, e.since, this.#now));
    if (!well || status.stuck > 0) return;
    for (const session of e.had) {
      if (session.endedAt !== never || session.tainted !== undefined) continue;
      if (this.#holders(session).length > 0) this.#history.count('sessionsGivenAway');
      else this.#history.violation(`${n.name} has given all away, and nobody has session ${session.number} of ${session.clientId}`);
    }
  }

  /** Nodes that have it, whole or not yet. */
  #holders(session: SimSession): BrokerNode[] {
    return this.#world.nodes.filter((n) => {
      for (const s of n.node?.broker.subscriptions(session.clientId) ?? []) if (s.topicFilter === session.marker) return true;
      return false;
    });
  }

  /** Which sessions a node has that is to give them away. */
  #look(e: Evacuation): void {
    const last = new Map(this.#history.sessions.map((s) => [s.clientId, s]));
    for (const info of e.n.node?.broker.clients() ?? []) {
      const session = last.get(info.clientId);
      if (session?.lasting === true && info.epoch > 0 && this.#holders(session).includes(e.n)) e.had.add(session);
    }
  }

  #sample(): void {
    const e = this.#current;
    if (e?.n.sim.lives !== e?.life && e?.n.sim.up === true) this.#end(e);
    if (e !== undefined || this.#now < this.#watchUntil) this.#noteMoves();
    this.#world.world.after(sampleEveryMs, () => this.#sample());
  }

  /** A session is at a node that its client has not chosen. */
  #noteMoves(): void {
    // What another node is about to fetch is not its own yet, and who is down may have it on its disk.
    if (this.#world.nodes.some((n) => !n.sim.up)) return;
    const last = new Map(this.#history.sessions.map((s) => [s.clientId, s]));
    for (const session of last.values()) {
      if (!session.lasting || session.endedAt !== never || session.nodes.length === 0) continue;
      const [holder, other] = this.#holders(session);
      if (holder === undefined || other !== undefined || session.nodes.at(-1)?.node === holder.name) continue;
      session.nodes.push({ at: this.#now, node: holder.name });
      this.#history.count('sessionsMovedAway');
    }
  }
}

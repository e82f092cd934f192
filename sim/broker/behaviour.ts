// What the simulated clients do: each acts at random moments, as its seed says. In the first part of a
// run they come, go, move and misbehave; in the last part they connect, stay, and go on publishing until
// they are told to stop.
import type { Prng } from '#base/prng.js';
import type { QoS } from '#mqtt/packet.js';
import type { BrokerNode, BrokerWorld } from './broker-world.js';
import { SimClient } from './client.js';
import type { ClientProfile } from './client-host.js';
import type { History, SimSubscription } from './history.js';

export type Phase = 'wild' | 'steady' | 'silent';

export interface Swarm {
  readonly clients: number;
  readonly actEveryMs: number;
  readonly rude: boolean;
  readonly slow: boolean;
  readonly double: boolean;
  readonly roaming: boolean;
  readonly retained: boolean;
  readonly wills: boolean;
  readonly bursts: boolean;
}

export function drawSwarm(prng: Prng): Swarm {
  const on = (p: number = 0.5): boolean => prng.chance(p);
  return {
    clients: prng.range(4, 9),
    actEveryMs: prng.pick([60, 120, 120, 250]),
    rude: on(),
    slow: on(0.4),
    double: on(0.4),
    roaming: on(0.6),
    retained: on(0.6),
    wills: on(0.4),
    bursts: on(0.3),
  };
}

/** An operation that is not answered for so long makes a client try another node. */
const patienceMs = 12_000;
const words = ['a', 'b', 'c'];
/** Each has topic names of its own, so that a message is for one group. */
const groups = ['$share/g/s/a/+', '$share/h/s/b/#', '$queue/s/c/+'];

export class Behaviour {
  readonly clients: SimClient[] = [];
  phase: Phase = 'wild';
  /** From then on everything answers in time. */
  wellSince: number = Number.POSITIVE_INFINITY;
  readonly #world: BrokerWorld;
  readonly #swarm: Swarm;
  readonly #prng: Prng;
  readonly #willPrng: Prng;
  readonly #shared: boolean;
  /** Clients go back to the node that has their session, also when it is down, and stay away for a while now and then. */
  readonly #homing: boolean;
  readonly #awayUntil: Map<SimClient, number> = new Map();

  constructor(world: BrokerWorld, history: History, swarm: Swarm) {
    this.#world = world;
    this.#swarm = swarm;
    this.#prng = world.world.prng.fork('behaviour');
    this.#shared = world.world.prng.fork('shared').chance(0.5);
    this.#homing = world.world.prng.fork('homing').chance(0.4);
    this.#willPrng = world.world.prng.fork('wills');
    for (let i = 0; i < swarm.clients; i++) this.clients.push(new SimClient(world, history, this.#profile(i, false), `client${i}`, i));
    if (swarm.double) {
      const double = this.#profile(90, true);
      this.clients.push(new SimClient(world, history, double, 'double-a', 90), new SimClient(world, history, double, 'double-b', 91));
    }
    for (const client of this.clients) {
      client.onSubscribed = (s) => this.#probe(client, s);
      this.#schedule(client);
    }
  }

  #profile(i: number, double: boolean): ClientProfile {
    const prng = this.#prng;
    return {
      clientId: double ? 'double' : `c${i}`,
      version: prng.chance(0.6) ? 5 : 4,
      lasting: prng.chance(0.8),
      receiveMaximum: prng.pick([1, 2, 5, 20, 100]),
      ackDelayMs: this.#swarm.slow && prng.chance(0.5) ? prng.pick([20, 200]) : 0,
      double,
      withWill: this.#swarm.wills && prng.chance(0.5),
      willQos: this.#willPrng.pick([1, 2]),
      willDelayS: this.#willPrng.pick([0, 0, 1, 3]),
      pings: prng.chance(0.7),
    };
  }

  #schedule(client: SimClient): void {
    const every = this.phase === 'silent' ? 200 : this.#swarm.actEveryMs;
    this.#world.world.after(
      client.prng.next() * 2 * every,
      () => {
        this.#act(client);
        this.#schedule(client);
      },
      client.scope,
    );
  }

  #act(client: SimClient): void {
    client.prompt = this.phase !== 'wild';
    client.ping();
    if (client.state === 'away') {
      // Two clients of one client id would displace each other for ever.
      if (this.phase === 'silent' && client.profile.double) return;
      if (this.phase === 'wild' && client.now < (this.#awayUntil.get(client) ?? 0)) return;
      if (client.now >= client.backoffUntil)
        client.connect(this.#home(client) ?? this.#anyNode(client), this.phase === 'wild' && client.prng.chance(0.08));
      return;
    }
    if (client.state === 'connecting') this.#waitForConnack(client);
    if (client.state !== 'connected') return;
    if (this.phase === 'wild') this.#wild(client);
    else if (this.phase === 'steady') this.#publish(client);
  }

  #waitForConnack(client: SimClient): void {
    const since = client.open.get('connect')?.at ?? client.now;
    if (client.now - since < patienceMs) return;
    if (since > this.wellSince)
      client.history.violation(`${client.name} got no answer from ${client.node?.name} to its CONNECT at ${since.toFixed(1)}`);
    client.drop();
  }

  #wild(client: SimClient): void {
    const { prng } = client;
    const swarm = this.#swarm;
    if (this.#homing && client.session?.lasting === true && prng.chance(0.04)) {
      this.#awayUntil.set(client, client.now + prng.range(500, 5_000));
      client.drop();
      return;
    }
    const roll = prng.next();
    for (const op of client.open.values()) {
      if (client.now - op.at < patienceMs) continue;
      client.history.count('impatient');
      client.drop();
      return;
    }
    if (roll < 0.03) client.disconnect();
    else if (roll < 0.06 && swarm.rude) client.drop();
    else if (roll < 0.1 && swarm.roaming) client.connect(this.#anyNode(client), prng.chance(0.1));
    else if (roll < 0.12 && swarm.slow) client.stopReading(prng.range(50, 2_000));
    else if (roll < 0.24) this.#subscribe(client);
    else if (roll < 0.28) this.#unsubscribe(client);
    else this.#publish(client);
  }

  /** The node that has the client's session, as far as it knows. */
  #home(client: SimClient): BrokerNode | undefined {
    if (!this.#homing || client.session?.lasting !== true || client.profile.double) return undefined;
    const name = client.session.nodes.at(-1)?.node;
    return this.#world.nodes.find((n) => n.name === name && !n.evacuating);
  }

  /** Mostly one that runs; which one serves is for the client to find out. */
  #anyNode(client: SimClient): BrokerNode {
    const up = this.#world.nodes.filter((n) => n.sim.up);
    return client.prng.pick(up.length > 0 && client.prng.chance(0.9) ? up : this.#world.nodes);
  }

  #subscribe(client: SimClient): void {
    const { prng } = client;
    const filters: [string, QoS][] = [];
    for (let i = prng.chance(0.3) ? prng.range(2, 4) : 1; i > 0; i--) {
      const filter = this.#shared && !client.profile.double && prng.chance(0.4) ? prng.pick(groups) : this.#filter(prng);
      const qos = prng.pick<QoS>([0, 1, 1, 2, 2]);
      if (client.wanted.has(filter) || filters.some((f) => f[0] === filter)) continue;
      client.wanted.set(filter, qos);
      filters.push([filter, qos]);
    }
    if (filters.length > 0) client.subscribe(filters);
  }

  #filter(prng: Prng): string {
    if (this.#swarm.wills && this.#willPrng.chance(0.15)) return 'will/+';
    const x = prng.pick(words);
    const y = prng.int(3);
    switch (prng.int(this.#swarm.retained ? 9 : 7)) {
      case 0:
        return `t/${x}/+`;
      case 1:
        return `t/+/${y}`;
      case 2:
        return `t/${x}/#`;
      case 3:
        return prng.chance(0.3) && !this.#shared ? '#' : 'will/+';
      case 7:
        return `r/${x}/+`;
      case 8:
        return `r/${x}/${y}`;
      default:
        return `t/${x}/${y}`;
    }
  }

  #unsubscribe(client: SimClient): void {
    const filters = [...client.wanted.keys()].filter((f) => client.session?.active(f)?.ackedAt !== Number.POSITIVE_INFINITY);
    if (filters.length > 0) client.unsubscribe(client.prng.pick(filters));
  }

  #publish(client: SimClient): void {
    const { prng } = client;
    const retained = this.#swarm.retained && prng.chance(0.15);
    const plain = this.#shared && prng.chance(0.3) ? 's' : 't';
    const topicName = `${retained ? 'r' : plain}/${prng.pick(words)}/${prng.int(3)}`;
    const times = this.#swarm.bursts && prng.chance(0.05) ? prng.range(5, 30) : prng.chance(0.2) ? prng.range(2, 4) : 1;
    for (let i = 0; i < times; i++) client.publish(topicName, this.#qos(client), retained, retained && prng.chance(0.15));
    // Away with it before it is answered.
    if (this.phase === 'wild' && this.#swarm.roaming && prng.chance(0.02)) client.connect(this.#anyNode(client), false);
  }

  #qos(client: SimClient): QoS {
    const qos = client.prng.pick<QoS>([0, 1, 1, 2]);
    // Two clients with one id would mix their packet identifiers.
    return client.profile.double && qos === 2 ? 1 : qos;
  }

  /** A filter was granted: somebody else publishes to it in the same moment. */
  #probe(subscriber: SimClient, s: SimSubscription): void {
    if (this.phase === 'silent' || !s.filter.startsWith('t/') || !subscriber.prng.chance(0.5)) return;
    const others = this.clients.filter((c) => c !== subscriber && c.state === 'connected' && c.node !== subscriber.node);
    if (others.length === 0) return;
    const publisher = subscriber.prng.pick(others);
    const topicName = s.filter.replace('+', 'a').replace('#', 'b');
    this.#world.world.after(
      0.01,
      () => publisher.publish(/\/\d$/.test(topicName) ? topicName : topicName.replace(/\/\w$/, '/1'), 1, false, false),
      publisher.scope,
    );
  }
}

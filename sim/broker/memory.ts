// The memory of the simulated nodes, in runs whose seed has a plan for it: what a node's watch over its memory reads is a
// gauge here, and one node or another passes the levels of its watermark (docs/operations.md), up and down, while clients and
// faults do as ever. Drawn from a stream of its own: all other seeds stay what they were. scope.ts makes it; what nodes said
// of their levels is what checkers may excuse a refusal with.
import { Prng } from '#base/prng.js';
import { levelNames } from '#broker/overload.js';
import { holderBytesMin } from '#listener/relief.js';
import type { MemoryWatchOptions } from '#node/memory-watch.js';
import type { BrokerNode, BrokerWorld } from './broker-world.js';
import type { SimClient } from './client.js';
import { restPart } from './gauge.js';
import type { History, SimMessage } from './history.js';

export interface MemoryPlan {
  readonly overload: MemoryWatchOptions;
  readonly watermarkBytes: number;
  /** Some messages are so long: backlogs count in bytes. */
  readonly longBytes: number;
  /** From the end of one node's shortage to the next one, at most. */
  readonly everyMs: number;
  readonly holdMsMax: number;
  /** Clients stop reading, so that it is worth while to let them go. */
  readonly mutes: boolean;
}

const MiB = 1_048_576;
/** Of all runs. */
const share = 0.2;
/** One message in so many is a long one; of those that cost the simulator most there are fewer. */
const longEach = 3;
const longestEach = 8;
const longestFrom = 10_000;
const shortBytes = 24;
/** A message of QoS 0 has been read by then. */
const sendingMs = 5_000;
/** On the way up, one of each line in turn or at once; on the way down as well. */
const ups: readonly (readonly number[])[] = [[0.83], [0.83, 0.92], [0.83, 0.92, 0.98], [0.98], [0.92, 0.98], [0.98, 0.92, 0.98]];
const downs: readonly (readonly number[])[] = [[], [], [0.88], [0.88, 0.82], [0.82, 0.74]];

const counted: readonly string[] = ['held_publishers', 'cut_clients', 'cut_strangers', 'refused_messages', 'refused_filters', 'dropped_qos0'];

export function drawMemoryPlan(seed: number): MemoryPlan | undefined {
  const prng = new Prng(seed).fork('memory');
  if (!prng.chance(share)) return undefined;
  // With a small one it is worth while to cut off who does not read.
  const watermarkBytes = prng.pick([MiB / 2, 100 * MiB]);
  return {
    watermarkBytes,
    overload: {
      watermark: { bytes: watermarkBytes },
      refuseNew: prng.chance(0.8),
      calmMs: prng.pick([100, 500]),
      lookBytesMin: prng.pick([1_000, 2 * MiB]),
    },
    longBytes: prng.pick([shortBytes, shortBytes, 3_000, 20_000, 80_000]),
    everyMs: prng.pick([500, 3_000]),
    holdMsMax: prng.pick([300, 2_000, 5_000]),
    mutes: prng.chance(0.4),
  };
}

export class MemoryPressure {
  readonly #world: BrokerWorld;
  readonly #history: History;
  readonly #prng: Prng;
  readonly #clients: readonly SimClient[];
  #over = false;

  constructor(world: BrokerWorld, history: History, clients: readonly SimClient[], plan: MemoryPlan | undefined, seed: number) {
    this.#world = world;
    this.#history = history;
    this.#prng = new Prng(seed).fork('shortages');
    this.#clients = clients;
    if (plan === undefined) return;
    const { longBytes, watermarkBytes } = plan;
    for (const n of world.nodes) n.gauge.watermarkBytes = watermarkBytes;
    const each = longBytes < longestFrom ? longEach : longestEach;
    world.payloadBytes = (id) => (id % each === 0 ? longBytes : shortBytes);
    world.cutOff = (n, clientId) => this.#cutOff(n, clientId);
    this.#next(plan);
    if (plan.mutes) this.#mute();
  }

  /** From now on every node has memory. */
  heal(): void {
    this.#over = true;
    for (const n of this.#world.nodes) n.gauge.part = restPart;
  }

  /** Nodes that are not at rest. */
  short(): string[] {
    return this.#world.nodes.filter((n) => n.sim.up && n.levels.now > 0).map((n) => `${n.name} is at level ${levelNames[n.levels.now]}`);
  }

  /** What the nodes' last processes have done for lack of memory. */
  count(): void {
    for (const name of counted)
      for (const n of this.#world.nodes) {
        const value = n.sim.metrics.value(`starmesh_overload_${name}_total`, {});
        if (value > 0) this.#history.count(`overload ${name}`, value);
      }
  }

  #next(plan: MemoryPlan): void {
    this.#world.world.after(this.#prng.range(100, plan.everyMs), () => {
      if (this.#over) return;
      const n = this.#prng.pick(this.#world.nodes);
      const parts = [...this.#prng.pick(ups), ...this.#prng.pick(downs), restPart];
      this.#history.count('shortages');
      this.#step(n, parts, plan);
      // Two at a time now and then.
      if (this.#prng.chance(0.2)) this.#next(plan);
    });
  }

  #mute(): void {
    this.#world.world.after(this.#prng.range(200, 2_000), () => {
      if (this.#over) return;
      const client = this.#prng.pick(this.#clients);
      if (client.state === 'connected') client.stopReading(this.#prng.range(1_000, 8_000));
      this.#mute();
    });
  }

  /** Only where memory is critical, and not who reads, whose session keeps what waits. */
  #cutOff(n: BrokerNode, clientId: string): void {
    this.#history.count('cutOff');
    const client = this.#clients.find((c) => c.profile.clientId === clientId && c.node === n);
    if (!n.levels.reached(2, this.#world.world.now, this.#world.world.now))
      this.#history.violation(`${n.name} lets ${clientId} go for lack of memory, of which it has enough`);
    if (client?.readsAll === true && !this.#sendsLong(client))
      this.#history.violation(`${n.name} lets ${client.name} go, which has read all that it was sent`);
  }

  /** Where memory is short a long packet is read in pieces, and counts as not finished meanwhile. */
  #sendsLong({ name }: SimClient): boolean {
    const { messages } = this.#history;
    for (let i = messages.length - 1; i >= 0; i--) {
      const m = messages[i] as SimMessage;
      if (m.publisher !== name || this.#world.payloadBytes(m.id) < holderBytesMin) continue;
      if (m.sentAt >= this.#world.world.now - sendingMs || (m.qos > 0 && m.ackedAt === Number.POSITIVE_INFINITY && !m.refused)) return true;
    }
    return false;
  }

  #step(n: BrokerNode, parts: readonly number[], plan: MemoryPlan): void {
    if (this.#over) return;
    const [part, ...rest] = parts;
    if (part === undefined) {
      this.#next(plan);
      return;
    }
    n.gauge.part = part;
    this.#history.note(n.name, () => `has ${Math.round(100 * part)} % of its memory in use`);
    this.#world.world.after(this.#prng.range(50, plan.holdMsMax), () => this.#step(n, rest, plan));
  }
}

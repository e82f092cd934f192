// Cores with a round trip of 100 ms and more between them: no election without need, and writes that are
// slower, not fewer. Every core is behind a proxy of its own, through which the others dial it.

import { freePorts } from '../cluster/nodes.js';
import type { Burst } from '../library/register-node.js';
import { Lab } from './lab.js';
import { Load, pause } from './load.js';
import { longestStall } from './machine.js';
import { SlowProxy } from './slow-proxy.js';

const host = '127.0.0.1';
/** Links are made anew after the delay changed; there are no elections any more when there were none for so long. */
const settleMs = 5_000;
const settlePollMs = 500;
const settleMsMax = 60_000;

export interface Measured extends Burst {
  readonly roundTripMs: number;
  readonly from: 'leader' | 'follower';
  readonly writers: number;
}

export interface Elections {
  readonly elections: number;
  readonly stalledMs: number;
}

export class SlowLab {
  readonly lab: Lab;
  readonly proxies: readonly SlowProxy[];

  private constructor(lab: Lab, proxies: readonly SlowProxy[]) {
    this.lab = lab;
    this.proxies = proxies;
  }

  static async start(cores: number): Promise<SlowLab> {
    const ports = await freePorts(2 * cores);
    const own = ports.slice(0, cores);
    const seen = ports.slice(cores);
    const proxies = await Promise.all(own.map((port, i) => SlowProxy.open(seen[i] ?? 0, port)));
    const hosts = own.map((port, i) => ({ host, port, advertise: { host, port: seen[i] ?? 0 }, under: [] }));
    try {
      return new SlowLab(await Lab.start({ cores, replicants: 0, hosts }), proxies);
    } catch (error) {
      await Promise.all(proxies.map((p) => p.close()));
      throw error;
    }
  }

  /** Changes the round trip between all nodes; their connections begin anew. */
  async roundTrip(ms: number): Promise<void> {
    for (const p of this.proxies) p.way.delayMs = ms / 2;
    for (const p of this.proxies) p.reset();
    await this.settled();
    await this.lab.leader();
    await this.lab.caughtUp();
  }

  /** Until no shard has had an election for a while: what comes afterwards is nobody's but the load's. */
  async settled(): Promise<void> {
    let terms = await this.terms();
    let since = performance.now();
    for (const end = since + settleMsMax; performance.now() - since < settleMs && performance.now() < end; ) {
      await pause(settlePollMs);
      const now = await this.terms();
      if (now !== terms) since = performance.now();
      terms = now;
    }
  }

  /** How many elections there were during `what`, and how long this process stood still meanwhile at most. */
  async elections(what: () => Promise<void>): Promise<Elections> {
    const before = await this.terms();
    const stalledMs = await longestStall(what());
    return { elections: (await this.terms()) - before, stalledMs };
  }

  /** Highest terms of all shards together: grows with every election. */
  async terms(): Promise<number> {
    const highest = new Map<string, number>();
    for (const n of this.lab.cores)
      for (const s of (await n.report())?.shards ?? []) highest.set(s.shard, Math.max(highest.get(s.shard) ?? 0, s.term));
    return [...highest.values()].reduce((sum, t) => sum + t, 0);
  }

  async burst(roundTripMs: number, from: 'leader' | 'follower', writers: number, ms: number): Promise<Measured> {
    const node = from === 'leader' ? await this.lab.leader() : await this.lab.follower();
    const burst = await node.asJson<Burst>({ op: 'burst', writers, ms });
    if (burst === undefined) throw new Error(`${node.name} ended`);
    return { ...burst, roundTripMs, from, writers };
  }

  /** A recorded load for `ms`; checks it, and returns what was acknowledged. */
  async load(name: string, ms: number): Promise<number> {
    const load = new Load({ name, seed: 7, clientsPerNode: 3, pauseMs: 10 });
    load.start(this.lab.nodes);
    await pause(ms);
    await load.stop();
    // Only its own rows: a node that says millions of them stands still meanwhile, and its followers elect.
    load.checkRows(name, await this.lab.equal(this.lab.nodes, `${name}/`));
    load.checkOrder();
    return load.counts.acknowledged;
  }

  async close(): Promise<void> {
    await this.lab.close();
    await Promise.all(this.proxies.map((p) => p.close()));
  }
}

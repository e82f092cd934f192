// Three near cores and two replicants, each behind proxies of its own: one dials the cores over a short way, the
// other over a long one. What writes and leases do then. Used by far-replicants.test.ts.
import assert from 'node:assert/strict';
import { freePorts } from '../cluster/nodes.js';
import type { RegisterProcess } from '../library/register-process.js';
import { Lab } from './lab.js';
import { pause } from './load.js';
import { SlowProxy } from './slow-proxy.js';

const host = '127.0.0.1';
const cores = 3;
const lookMs = 50;

export interface FarShape {
  readonly nearMs: number;
  readonly farMs: number;
  readonly bounds?: object;
}

export interface Seen {
  readonly looks: number;
  /** Of those, at which it was in sync in all shards. */
  readonly inSync: number;
}

export class FarLab {
  readonly lab: Lab;
  /** Between the far replicant and each core. */
  readonly long: readonly SlowProxy[];
  readonly #proxies: readonly SlowProxy[];

  private constructor(lab: Lab, long: readonly SlowProxy[], proxies: readonly SlowProxy[]) {
    this.lab = lab;
    this.long = long;
    this.#proxies = proxies;
  }

  /** Round trips in ms. The far replicant does not run yet. */
  static async start(shape: FarShape): Promise<FarLab> {
    const ports = await freePorts(cores + 2 + 2 * cores);
    const own = ports.slice(0, cores + 2);
    const ways = async (at: number, roundTripMs: number): Promise<SlowProxy[]> => {
      const opened = await Promise.all(own.slice(0, cores).map((port, i) => SlowProxy.open(ports[at + i] ?? 0, port)));
      for (const p of opened) p.way.delayMs = roundTripMs / 2;
      return opened;
    };
    const short = await ways(cores + 2, shape.nearMs);
    const long = await ways(cores + 2 + cores, shape.farMs);
    const through = (at: number): object => ({ dialThrough: Object.fromEntries(own.slice(0, cores).map((port, i) => [port, ports[at + i]])) });
    const lab = await Lab.plan({
      cores,
      replicants: 2,
      hosts: own.map((port) => ({ host, port, under: [] })),
      options: { bounds: { ...shape.bounds } },
      optionsOf: { replicant1: through(cores + 2), replicant2: through(cores + 2 + cores) },
    });
    const all = new FarLab(lab, long, [...short, ...long]);
    try {
      await Promise.all([...lab.cores, all.near].map((n) => lab.startNode(n)));
    } catch (error) {
      await all.close();
      throw error;
    }
    return all;
  }

  get near(): RegisterProcess {
    return this.#replicant(0);
  }

  get far(): RegisterProcess {
    return this.#replicant(1);
  }

  #replicant(i: number): RegisterProcess {
    const found = this.lab.replicants[i];
    assert.ok(found !== undefined);
    return found;
  }

  /** The far replicant falls silent, for everybody, and everybody for it; its connections stay. */
  silence(): void {
    for (const p of this.long) p.hold();
  }

  heard(): void {
    for (const p of this.long) p.release();
  }

  async close(): Promise<void> {
    await this.lab.close();
    await Promise.all(this.#proxies.map((p) => p.close()));
  }
}

let writers = 0;

/** A client that writes one row after the other; what it was told, and after how long, in ms. */
export class Writer {
  readonly tookMs: number[] = [];
  readonly failures: string[] = [];
  readonly name: string;
  readonly #on: RegisterProcess;
  readonly #until: 'committed' | 'effective';
  readonly #key: string;
  #n = 0;

  constructor(on: RegisterProcess, until: 'committed' | 'effective') {
    this.name = `${until} on ${on.name}`;
    this.#on = on;
    this.#until = until;
    this.#key = `writer${++writers}`;
  }

  /** One write; how long it took. */
  async write(): Promise<number> {
    const n = this.#n++;
    const from = performance.now();
    const reply = await this.#on.ask({ op: 'write', key: `${this.#key}/${n}`, value: n, until: this.#until });
    const ms = performance.now() - from;
    this.tookMs.push(ms);
    if (reply === undefined || !('value' in reply)) this.failures.push(`write ${n} ${this.name}, after ${ms} ms: ${JSON.stringify(reply)}`);
    return ms;
  }

  async times(n: number): Promise<this> {
    for (let i = 0; i < n; i++) await this.write();
    return this;
  }

  /** Until `work` is done. */
  async until(work: Promise<unknown>): Promise<void> {
    let over = false;
    const done = work.finally(() => {
      over = true;
    });
    while (!over) await this.write();
    await done;
  }
}

/** Looks at a node until `work` is done. */
export async function watched(node: RegisterProcess, work: Promise<unknown>): Promise<Seen> {
  let over = false;
  const done = work.finally(() => {
    over = true;
  });
  let [looks, inSync] = [0, 0];
  const looking = async (): Promise<void> => {
    for (; !over; looks++) {
      // Serving is: it has joined, and each of its shards is among `shards_in_sync`.
      if ((await node.report())?.serving === true) inSync++;
      await pause(lookMs);
    }
  };
  await Promise.all([done, looking()]);
  return { looks, inSync };
}

export function median(all: readonly number[]): number {
  return [...all].sort((a, b) => a - b)[all.length >> 1] ?? Number.NaN;
}

// A simulated node: a host with a disk, and on it a process that can be killed, paused and started
// again. Each life of the process has an `Env` of its own; timers, callbacks and connections of a
// life that has ended never come back. Scenarios and tests start here:
//
//   const world = new World({ seed: 1 });
//   const net = new SimNet(world);
//   const node = createSimNode(world, net, 'core1@core1.sim');
//   startSomething(node.env);
//   world.runFor(1_000);
//   node.crash();            // power cut; crash({ kind: 'kill' }) is kill -9
//   startSomething(node.restart());
import { assert } from '#base/assert.js';
import type { Prng } from '#base/prng.js';
import type { Clock } from '#env/clock.js';
import type { Env } from '#env/env.js';
import { eventKinds, Scope, type World } from './scheduler.js';
import { SimDisk } from './sim-files.js';
import { simHash } from './sim-hash.js';
import type { SimNet } from './sim-net.js';
import { LogRing, SimMetrics } from './sim-observe.js';
import { SimTables } from './sim-tables.js';

export interface SimNodeOptions {
  /** Default: what follows '@' in the name, or the name. */
  readonly host?: string;
  /** Timers come late by up to this. */
  readonly timerLateMs?: number;
}

/**
 * - power: unsynced data is lost as the disk's rules say; peers hear of it when the host answers again
 *   (`silent`), or at once as if it had been the process alone (default).
 * - kill: kill -9; the operating system keeps what was written, and closes the connections.
 */
export interface CrashOptions {
  readonly kind?: 'power' | 'kill';
  readonly silent?: boolean;
}

const wallStartMs = 1_750_000_000_000;
const reportLines = 30;

export class SimNode {
  readonly world: World;
  readonly net: SimNet;
  readonly name: string;
  readonly host: string;
  readonly number: number;
  readonly disk: SimDisk;
  readonly tables: SimTables;
  readonly logs: LogRing;
  /** Of the current life. */
  env: Env;
  metrics: SimMetrics;
  scope: Scope;
  lives = 0;
  readonly #prng: Prng;
  readonly #timerLateMs: number;
  readonly #clock: NodeClock;

  constructor(world: World, net: SimNet, name: string, options: SimNodeOptions) {
    this.world = world;
    this.net = net;
    this.name = name;
    this.host = options.host ?? name.slice(name.indexOf('@') + 1);
    this.number = world.nextNode();
    this.#prng = world.prng.fork(name);
    this.#timerLateMs = options.timerLateMs ?? 0.5;
    this.disk = new SimDisk(world, this.#prng.fork('disk'));
    this.tables = new SimTables(world, this.disk, this.#prng.fork('tables'));
    this.logs = new LogRing(() => world.now);
    this.#clock = new NodeClock(world, 1 + this.#prng.int(1_000_000), wallStartMs);
    net.addHost(this.host, name);
    world.reporters.push(() => `-- ${name}${this.up ? '' : ' (down)'}${this.scope.paused ? ' (paused)' : ''}\n${this.logs.tail(reportLines)}`);
    this.scope = new Scope(this.number);
    this.metrics = new SimMetrics();
    this.env = this.#newLife();
  }

  get up(): boolean {
    return !this.scope.dead;
  }

  /** Ends the process. Nothing it had scheduled runs after this. */
  crash(options: CrashOptions = {}): void {
    assert(this.up, `${this.name} is up`);
    const kill = options.kind === 'kill';
    assert(!(kill && options.silent === true), 'a killed process does not silence its host');
    this.scope.dead = true;
    this.scope.held.length = 0;
    this.net.processDied(this.name, this.scope, options.silent === true);
    if (kill) {
      this.disk.killed();
      this.tables.killed();
    } else {
      // Order: the disk's crash drops directories, and with them table stores.
      this.disk.crash();
      this.tables.crash();
    }
  }

  /** A new process on the same disk. */
  restart(): Env {
    assert(!this.up, `${this.name} is down`);
    this.net.hostIsBack(this.name);
    this.scope = new Scope(this.number);
    this.metrics = new SimMetrics();
    this.env = this.#newLife();
    return this.env;
  }

  /** The host answers again, and refuses connections: the process was not started yet. */
  powerOn(): void {
    this.net.hostIsBack(this.name);
  }

  /** The data directory is lost. Only while the node is down. */
  wipe(): void {
    assert(!this.up, `${this.name} is down`);
    this.disk.wipe();
  }

  pause(): void {
    this.world.pause(this.scope);
  }

  resume(): void {
    this.world.resume(this.scope);
  }

  /** The node's clock runs at `rate` from now on (1 is right). */
  setDrift(rate: number): void {
    this.#clock.setRate(rate);
  }

  /** The node's wall clock jumps. */
  jumpWall(ms: number): void {
    this.#clock.wallOffset += ms;
  }

  /** Runs `fn` as an event of this node, now. */
  run(fn: (env: Env) => void): void {
    const { env } = this;
    this.world.after(0, () => fn(env), this.scope);
  }

  #newLife(): Env {
    const { scope } = this;
    const life = ++this.lives;
    const random = this.#prng.fork(`life ${life}`);
    if (life > 1) this.#clock.restart(this.#prng.int(1_000_000));
    return {
      clock: this.#envClock(scope, this.#prng.fork('late')),
      random: { next: () => random.next(), int: (limit) => random.int(limit), bytes: (n) => random.bytes(n) },
      files: this.disk.filesFor(scope),
      tables: this.tables.tablesFor(scope),
      net: this.net.netFor(this.name, this.host, scope),
      hash: simHash,
      log: this.logs.logger(),
      metrics: this.metrics,
    };
  }

  #envClock(scope: Scope, late: Prng): Clock {
    const { world } = this;
    const clock = this.#clock;
    return {
      now: () => clock.now(),
      wallNow: () => clock.wallNow(),
      setTimer: (delayMs, fn) => {
        assert(Number.isFinite(delayMs), 'a timer has a finite delay');
        return world.after(Math.max(0, delayMs) / clock.rate + late.next() * this.#timerLateMs, fn, scope, eventKinds.timer);
      },
      endOfTurn: (fn) => world.endOfTurn(scope, fn),
    };
  }
}

/** A clock with an origin of its own, so that comparing two nodes' clocks shows as a bug. */
class NodeClock {
  readonly #world: World;
  rate = 1;
  wallOffset: number;
  #base: number;
  #since = 0;
  #wallBase = 0;

  constructor(world: World, start: number, wallOffset: number) {
    this.#world = world;
    this.#base = start;
    this.#since = world.now;
    this.wallOffset = wallOffset;
  }

  now(): number {
    return this.#base + (this.#world.now - this.#since) * this.rate;
  }

  wallNow(): number {
    return Math.floor(this.wallOffset + this.#wallBase + (this.#world.now - this.#since) * this.rate);
  }

  setRate(rate: number): void {
    assert(rate > 0, 'clocks go forward');
    this.#wallBase += (this.#world.now - this.#since) * this.rate;
    this.#base = this.now();
    this.#since = this.#world.now;
    this.rate = rate;
  }

  /** A reboot: monotonic time begins anew. */
  restart(start: number): void {
    this.setRate(this.rate);
    this.#base = start;
  }
}

/** A node whose first process runs already. `name` as in the cluster: `core1@host`. */
export function createSimNode(world: World, net: SimNet, name: string, options: SimNodeOptions = {}): SimNode {
  return new SimNode(world, net, name, options);
}

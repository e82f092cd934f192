// The simulated network: who is reachable from whom, with which delay, and what listens where.
// World-wide; each process sees it through its own `Net` (made by sim-env.ts). Faults are set here by
// scenarios: cuts (one-way or two-way), delays, bandwidth, random resets.
//
// TCP is what is modelled: a connection never loses, repeats or reorders bytes; it only stalls or breaks.
import { assert } from '#base/assert.js';
import type { Prng } from '#base/prng.js';
import { type Connection, type ConnectOptions, type Listening, type Net, type NetAddress, NetError } from '#env/net.js';
import { eventKinds, type Scope, type World } from './scheduler.js';
import { type Fabric, type NetFaults, SimConnection, SimPipe } from './sim-connection.js';

/** Of one direction of a pair of nodes. */
export interface WayOptions {
  /** One-way delay. */
  readonly delayMs: number;
  /** Added at random, up to this. */
  readonly jitterMs: number;
  /** 0: as much as one likes. */
  readonly bytesPerMs: number;
}

interface Listener {
  readonly nodeName: string;
  readonly scope: Scope;
  readonly onConnection: (c: Connection) => void;
}

const synRetryMs = 1_000;
const firstFreePort = 40_000;
/** Clients are nodes here too. */
const nodesMax = 1_000_000;

export class SimNet implements Fabric {
  readonly world: World;
  readonly prng: Prng;
  readonly faults: NetFaults = { splitChance: 0.1, mergeChance: 0.5, resetChance: 0, stallResetMs: [8_000, 20_000], retransmitMs: 200 };
  /** For pairs without a setting of their own. */
  way: WayOptions = { delayMs: 0.2, jitterMs: 0.3, bytesPerMs: 0 };
  /** Checks that nobody changes bytes after writing them. */
  checkOwnership = true;
  bytesDelivered = 0;
  readonly stalledPipes: Set<SimPipe> = new Set();
  readonly #ids = new Map<string, number>();
  readonly #ways = new Map<number, WayOptions>();
  readonly #busyUntil = new Map<number, number>();
  readonly #cuts = new Set<number>();
  /** `host:port` → who listens. */
  readonly #listeners = new Map<string, Listener>();
  /** `host:port` → node that listened there last: a cut to it makes a dial time out instead of being refused. */
  readonly #lastOwner = new Map<string, string>();
  /** host → node, for ports where nobody ever listened. */
  readonly #hosts = new Map<string, string>();
  /** Nodes whose host has no power: dials to them get no answer. */
  readonly #dark = new Set<number>();
  readonly #open = new Map<Scope, Set<SimConnection>>();
  #nextPort = firstFreePort;

  constructor(world: World) {
    this.world = world;
    this.prng = world.prng.fork('net');
  }

  // Settings and faults.

  addHost(host: string, nodeName: string): void {
    if (!this.#hosts.has(host)) this.#hosts.set(host, nodeName);
  }

  /** Delay and bandwidth between two nodes, both ways. */
  setWay(a: string, b: string, way: Partial<WayOptions>): void {
    this.setOneWay(a, b, way);
    this.setOneWay(b, a, way);
  }

  /** Of one direction only. */
  setOneWay(from: string, to: string, way: Partial<WayOptions>): void {
    const key = this.#pair(from, to);
    this.#ways.set(key, { ...(this.#ways.get(key) ?? this.way), ...way });
  }

  /** Every way is the common one again. */
  clearWays(): void {
    this.#ways.clear();
  }

  /** Nothing passes from `from` to `to`; the other direction is as it was. */
  cutOneWay(from: string, to: string): void {
    this.#cuts.add(this.#pair(from, to));
  }

  cut(a: string, b: string): void {
    this.cutOneWay(a, b);
    this.cutOneWay(b, a);
  }

  /** Cuts every node of `left` from every node of `right`. */
  partition(left: readonly string[], right: readonly string[]): void {
    for (const a of left) for (const b of right) if (a !== b) this.cut(a, b);
  }

  heal(a: string, b: string): void {
    this.#cuts.delete(this.#pair(a, b));
    this.#cuts.delete(this.#pair(b, a));
    for (const pipe of [...this.stalledPipes]) pipe.healed();
  }

  healAll(): void {
    this.#cuts.clear();
    for (const pipe of [...this.stalledPipes]) pipe.healed();
  }

  isCut(from: number, to: number): boolean {
    if (this.#dark.size > 0 && (this.#dark.has(from) || this.#dark.has(to))) return true;
    return this.#cuts.size > 0 && this.#cuts.has(pairKey(from, to));
  }

  /** Breaks every connection between two nodes: both ends hear of a reset. */
  resetConnections(a: string, b: string): void {
    for (const ends of [...this.#open.values()])
      for (const end of [...ends]) if (end.nodeName === a && end.out?.to.nodeName === b) this.resetBoth(end);
  }

  /** Connections to `b` break at the end of `a` alone: `b` hears of it when it sends something, and the ways are open. */
  breakEnds(a: string, b: string): void {
    for (const ends of [...this.#open.values()])
      for (const end of [...ends]) if (end.nodeName === a && end.out?.to.nodeName === b) end.die(new NetError('ECONNRESET', 'connection broke'));
  }

  /** Connections that are open at a process; for checks. */
  openCount(scope: Scope): number {
    return this.#open.get(scope)?.size ?? 0;
  }

  // What a process uses.

  netFor(nodeName: string, host: string, scope: Scope): Net {
    return {
      connect: (to, options, connected, failed) => this.#connect(nodeName, host, scope, to, options, connected, failed),
      listen: (at, onConnection, onListening, onError) => this.#listen(nodeName, host, scope, at, onConnection, onListening, onError),
    };
  }

  /** The process is gone. `silent`: its host too, and nobody is told. */
  processDied(nodeName: string, scope: Scope, silent: boolean): void {
    for (const [key, listener] of [...this.#listeners]) if (listener.scope === scope) this.#listeners.delete(key);
    if (silent) this.#dark.add(this.idOf(nodeName));
    for (const end of [...(this.#open.get(scope) ?? [])]) {
      if (silent) end.vanish();
      else end.killed();
    }
    this.#open.delete(scope);
  }

  /** The host has power again (its process need not run yet). */
  hostIsBack(nodeName: string): void {
    if (!this.#dark.delete(this.idOf(nodeName))) return;
    for (const pipe of [...this.stalledPipes]) pipe.healed();
  }

  #connect(
    nodeName: string,
    ownHost: string,
    scope: Scope,
    to: NetAddress,
    options: ConnectOptions,
    connected: (c: Connection) => void,
    failed: (e: NetError) => void,
  ): void {
    const host = isOwn(to.host) ? ownHost : to.host;
    const key = `${host}:${to.port}`;
    const node = this.idOf(nodeName);
    const deadline = this.world.now + options.timeoutMs;
    const fail = (at: number, code: string): void => {
      this.world.at(at, () => failed(new NetError(code, `connect to ${key}: ${code}`)), scope, eventKinds.connect);
    };
    const owner = (): string | undefined => this.#listeners.get(key)?.nodeName ?? this.#lastOwner.get(key) ?? this.#hosts.get(host);
    if (owner() === undefined) {
      fail(this.world.now, 'ENOTFOUND');
      return;
    }
    const attempt = (): void => {
      const target = this.idOf(owner() as string);
      const arrival = this.arrivalTime(node, target, 0);
      if (arrival >= deadline) {
        fail(deadline, 'ETIMEDOUT');
        return;
      }
      this.world.at(arrival, () => {
        if (scope.dead) return;
        if (this.isCut(node, target) || this.isCut(target, node)) {
          if (this.world.now + synRetryMs >= deadline) fail(deadline, 'ETIMEDOUT');
          else this.world.after(synRetryMs, attempt);
          return;
        }
        const back = this.arrivalTime(target, node, 0);
        const listener = this.#listeners.get(key);
        if (listener === undefined) fail(back, 'ECONNREFUSED');
        else if (back > deadline) fail(deadline, 'ETIMEDOUT');
        else this.#establish(nodeName, scope, to, listener, ownHost, back, connected);
      });
    };
    attempt();
  }

  #establish(
    nodeName: string,
    scope: Scope,
    to: NetAddress,
    listener: Listener,
    ownHost: string,
    at: number,
    connected: (c: Connection) => void,
  ): void {
    const dialer = new SimConnection(this, nodeName, scope, to);
    const acceptor = new SimConnection(this, listener.nodeName, listener.scope, { host: ownHost, port: this.#nextPort++ });
    dialer.out = acceptor.in = new SimPipe(this, dialer, acceptor, this.world.now);
    acceptor.out = dialer.in = new SimPipe(this, acceptor, dialer, at);
    this.#remember(dialer);
    this.#remember(acceptor);
    // The kernel accepts on behalf of a paused process, so the dialer's success does not wait for it.
    this.world.after(0, () => this.#handOver(acceptor, listener.onConnection), listener.scope, eventKinds.connect);
    this.world.at(at, () => this.#handOver(dialer, connected), scope, eventKinds.connect);
  }

  #handOver(end: SimConnection, to: (c: Connection) => void): void {
    to(end);
    // It broke before the process heard of it: it hears of it now.
    if (end.closed) this.world.after(0, () => end.tellClose(), end.scope, eventKinds.close);
  }

  #listen(
    nodeName: string,
    ownHost: string,
    scope: Scope,
    at: NetAddress,
    onConnection: (c: Connection) => void,
    onListening: (l: Listening) => void,
    onError: (e: NetError) => void,
  ): void {
    const port = at.port === 0 ? this.#nextPort++ : at.port;
    const key = `${ownHost}:${port}`;
    if (this.#listeners.has(key)) {
      this.world.after(0, () => onError(new NetError('EADDRINUSE', `${key} is in use`)), scope, eventKinds.connect);
      return;
    }
    const listener: Listener = { nodeName, scope, onConnection };
    this.#listeners.set(key, listener);
    this.#lastOwner.set(key, nodeName);
    const listening: Listening = {
      address: { host: ownHost, port },
      close: (done) => {
        if (this.#listeners.get(key) === listener) this.#listeners.delete(key);
        this.world.after(0, done, scope, eventKinds.close);
      },
    };
    this.world.after(0, () => onListening(listening), scope, eventKinds.connect);
  }

  // What connections use.

  idOf(nodeName: string): number {
    let id = this.#ids.get(nodeName);
    if (id === undefined) {
      id = this.#ids.size;
      assert(id < nodesMax, 'the nodes have numbers');
      this.#ids.set(nodeName, id);
    }
    return id;
  }

  #pair(from: string, to: string): number {
    return pairKey(this.idOf(from), this.idOf(to));
  }

  arrivalTime(from: number, to: number, size: number): number {
    if (this.#ways.size === 0 && this.way.bytesPerMs === 0) return this.world.now + this.way.delayMs + this.prng.next() * this.way.jitterMs;
    const key = pairKey(from, to);
    const way = this.#ways.get(key) ?? this.way;
    let departure = this.world.now;
    if (way.bytesPerMs > 0 && size > 0) {
      departure = Math.max(departure, this.#busyUntil.get(key) ?? 0) + size / way.bytesPerMs;
      this.#busyUntil.set(key, departure);
    }
    return departure + way.delayMs + this.prng.next() * way.jitterMs;
  }

  /** A reset packet: lost when the way is cut. */
  sendReset(from: SimConnection, to: SimConnection): void {
    if (this.isCut(from.nodeId, to.nodeId)) return;
    this.world.at(this.arrivalTime(from.nodeId, to.nodeId, 0), () => {
      if (!this.isCut(from.nodeId, to.nodeId)) to.die(new NetError('ECONNRESET', 'reset by the peer'));
    });
  }

  resetBoth(end: SimConnection): void {
    const other = end.out?.to;
    end.die(new NetError('ECONNRESET', 'connection broke'));
    other?.die(new NetError('ECONNRESET', 'connection broke'));
  }

  #remember(end: SimConnection): void {
    const ends = this.#open.get(end.scope);
    if (ends === undefined) this.#open.set(end.scope, new Set([end]));
    else ends.add(end);
  }

  forget(end: SimConnection): void {
    const ends = this.#open.get(end.scope);
    assert(ends === undefined || ends.has(end), 'an end of a connection closes once');
    ends?.delete(end);
  }
}

function pairKey(from: number, to: number): number {
  return from * nodesMax + to;
}

function isOwn(host: string): boolean {
  return host === '127.0.0.1' || host === 'localhost' || host === '0.0.0.0' || host === '::1';
}

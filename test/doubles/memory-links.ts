// Links between nodes in memory: one latency per pair, frames in order, cuts that lose what is in
// flight, processes that die, lanes that are full.
import { assert } from '#base/assert.js';
import { concatBytes, copyBytes, emptyBytes } from '#base/bytes.js';
import type { DownReason, Lane, LinkListener, Links, PeerHello, RpcFailure, RpcReply, SendResult } from '#link/api.js';
import type { ManualClock } from './manual-clock.js';

type FrameHandler = (from: PeerHello, frame: Uint8Array) => void;
type CallHandler = (from: PeerHello, body: Uint8Array, reply: RpcReply) => void;

interface Call {
  readonly to: string;
  finish(failure: RpcFailure | undefined, body: Uint8Array): void;
}

export class MemoryNetwork {
  readonly clock: ManualClock;
  latencyMs = 1;
  readonly nodes: Map<string, MemoryLinks> = new Map();
  /** Pairs that are linked, with a number that changes with every reconnect. */
  readonly #links: Map<string, number> = new Map();
  #era = 0;

  constructor(clock: ManualClock) {
    this.clock = clock;
  }

  /** A node's process starts, linked with nobody yet. */
  start(nodeId: string, incarnation: number, role: 'core' | 'replicant' = 'core'): MemoryLinks {
    const self: PeerHello = { nodeId, name: `n${nodeId.slice(0, 2)}`, role, clusterId: 'c', incarnation, host: '', port: 0, info: emptyBytes };
    const links = new MemoryLinks(this, self);
    this.nodes.set(nodeId, links);
    return links;
  }

  linkAll(): void {
    const ids = [...this.nodes.keys()];
    for (const a of ids) for (const b of ids) if (a < b) this.heal(a, b);
  }

  /** Undefined while the two are not linked. */
  era(a: string, b: string): number | undefined {
    return this.#links.get(pair(a, b));
  }

  heal(a: string, b: string): void {
    if (this.era(a, b) !== undefined) return;
    this.#links.set(pair(a, b), ++this.#era);
    this.#node(a).up(this.#node(b));
    this.#node(b).up(this.#node(a));
  }

  cut(a: string, b: string, reason: DownReason = 'closed'): void {
    if (!this.#links.delete(pair(a, b))) return;
    this.nodes.get(a)?.down(b, reason);
    this.nodes.get(b)?.down(a, reason);
  }

  /** The process is gone: its links close, and reconnects are refused. */
  kill(nodeId: string): void {
    const links = this.#node(nodeId);
    this.nodes.delete(nodeId);
    links.closed = true;
    for (const other of this.nodes.values()) {
      if (!this.#links.delete(pair(nodeId, other.self.nodeId))) continue;
      other.down(nodeId, 'closed', links.self);
      other.dead(links.self);
    }
  }

  #node(nodeId: string): MemoryLinks {
    const node = this.nodes.get(nodeId);
    assert(node !== undefined, 'no such node');
    return node;
  }
}

function pair(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}

export class MemoryLinks implements Links {
  self: PeerHello;
  closed = false;
  readonly #network: MemoryNetwork;
  readonly #listeners: LinkListener[] = [];
  readonly #frames: Map<Lane, FrameHandler> = new Map();
  readonly #handlers: Map<string, CallHandler> = new Map();
  readonly #calls: Set<Call> = new Set();
  readonly #full: Set<string> = new Set();
  readonly sent: Map<Lane, number> = new Map();

  constructor(network: MemoryNetwork, self: PeerHello) {
    this.#network = network;
    this.self = self;
  }

  updateSelf(change: Partial<Pick<PeerHello, 'clusterId' | 'incarnation' | 'info' | 'role'>>): void {
    this.self = { ...this.self, ...change };
  }

  setTargets(): void {}

  listen(listener: LinkListener): void {
    this.#listeners.push(listener);
  }

  up(other: MemoryLinks): void {
    for (const l of this.#listeners) l.onUp?.(other.self);
  }

  down(nodeId: string, reason: DownReason, self: PeerHello | undefined = this.#network.nodes.get(nodeId)?.self): void {
    for (const call of this.#calls) if (call.to === nodeId) call.finish({ kind: 'down' }, emptyBytes);
    if (self !== undefined) for (const l of this.#listeners) l.onDown?.(self, reason);
  }

  dead(peer: PeerHello): void {
    for (const l of this.#listeners) l.onDead?.(peer);
  }

  peers(): readonly PeerHello[] {
    return [...this.#network.nodes.values()].filter((n) => this.#era(n.self.nodeId) !== undefined).map((n) => n.self);
  }

  peer(nodeId: string): PeerHello | undefined {
    return this.#era(nodeId) === undefined ? undefined : this.#network.nodes.get(nodeId)?.self;
  }

  send(to: string, lane: Lane, frame: Uint8Array, shared: Uint8Array = emptyBytes): SendResult {
    const era = this.#era(to);
    if (era === undefined) return 'down';
    if (this.#full.has(`${to} ${lane}`)) return 'full';
    this.sent.set(lane, (this.sent.get(lane) ?? 0) + 1);
    const bytes = concatBytes([frame, shared]);
    this.#deliver(to, era, (peer) => peer.#frames.get(lane)?.(this.self, bytes));
    return 'sent';
  }

  /** The lane takes nothing until it is opened again. */
  fill(to: string, lane: Lane, full: boolean): void {
    if (full) {
      this.#full.add(`${to} ${lane}`);
      return;
    }
    if (!this.#full.delete(`${to} ${lane}`)) return;
    const peer = this.peer(to);
    if (peer !== undefined) for (const l of this.#listeners) l.onDrain?.(peer, lane);
  }

  backlogBytes(): number {
    return 0;
  }

  onFrame(lane: Exclude<Lane, 'rpc'>, handler: FrameHandler): void {
    this.#frames.set(lane, handler);
  }

  pauseLane(): void {}

  resumeLane(): void {}

  handle(method: string, handler: CallHandler): void {
    this.#handlers.set(method, handler);
  }

  call(to: string, method: string, body: Uint8Array, deadlineMs: number, done: (failure: RpcFailure | undefined, body: Uint8Array) => void): void {
    let open = true;
    const call: Call = {
      to,
      finish: (failure, reply) => {
        if (!open) return;
        open = false;
        this.#calls.delete(call);
        if (!this.closed) done(failure, reply);
      },
    };
    const era = this.#era(to);
    if (era === undefined) {
      this.#network.clock.setTimer(0, () => call.finish({ kind: 'down' }, emptyBytes));
      return;
    }
    this.#calls.add(call);
    this.#network.clock.setTimer(deadlineMs, () => call.finish({ kind: 'timeout' }, emptyBytes));
    const bytes = copyBytes(body);
    this.#deliver(to, era, (peer) => peer.#answer(this, method, bytes, era, call));
  }

  #answer(from: MemoryLinks, method: string, body: Uint8Array, era: number, call: Call): void {
    const handler = this.#handlers.get(method);
    if (handler === undefined) {
      call.finish({ kind: 'refused', message: 'no such method' }, emptyBytes);
      return;
    }
    let answered = false;
    handler(from.self, body, (error, reply) => {
      assert(!answered, 'reply is called once');
      answered = true;
      const bytes = copyBytes(reply ?? emptyBytes);
      this.#deliver(from.self.nodeId, era, () => call.finish(error === undefined ? undefined : { kind: 'refused', message: error }, bytes));
    });
  }

  lastHeardAt(): number | undefined {
    return undefined;
  }

  roundTripMs(): number | undefined {
    return undefined;
  }

  speaks(): boolean {
    return true;
  }

  drop(nodeId: string): void {
    this.#network.cut(this.self.nodeId, nodeId, 'local');
  }

  answeredAt(): undefined {
    return undefined;
  }

  reloadCertificates(): undefined {
    return undefined;
  }

  close(done: () => void): void {
    done();
  }

  #era(nodeId: string): number | undefined {
    return this.closed ? undefined : this.#network.era(this.self.nodeId, nodeId);
  }

  #deliver(to: string, era: number, run: (peer: MemoryLinks) => void): void {
    this.#network.clock.setTimer(this.#network.latencyMs, () => {
      const peer = this.#network.nodes.get(to);
      if (peer !== undefined && !this.closed && this.#era(to) === era) run(peer);
    });
  }
}

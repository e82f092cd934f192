// The links of a node (see api.ts), put together from: accept.ts and dialler.ts, which set links up;
// link.ts, one link that is up; rpc.ts, requests and replies. Made once per node by `node` or a test.
//
// Invariants: at most one link per nodeId is up; `onDown` follows every `onUp`, once; nothing of a
// link is heard before its `onUp` or after its `onDown`.
import { assert } from '#base/assert.js';
import { MalformedError } from '#base/byte-reader.js';
import { utf8Encode } from '#base/utf8.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Listening, ListenOptions, NetError } from '#env/net.js';
import { Acceptor } from './accept.js';
import type { DownReason, Lane, LinkListener, Links, NodeId, PeerHello, PeerTarget, RpcFailure, RpcReply, SendResult } from './api.js';
import { Dialler } from './dialler.js';
import { decodeHello } from './hello.js';
import { Link, type LinkOwner, type ReadyLink } from './link.js';
import { LinkContext } from './link-context.js';
import { downsCounter, linkCounters, upsCounter } from './link-metrics.js';
import { LinkTls } from './link-tls.js';
import { defaultLimits, type LinkLimits, type LinksOptions } from './options.js';
import { hasFeature, type ProtocolFeature } from './protocol.js';
import { Rpc } from './rpc.js';

type FrameHandler = (from: PeerHello, frame: Uint8Array) => void;

/** Starts to listen at once and to dial as soon as targets are set and our own address is known. */
export function createLinks(env: Env, options: LinksOptions): Links {
  return new NodeLinks(env, options);
}

class NodeLinks implements Links, LinkOwner {
  readonly #env: Env;
  readonly #limits: LinkLimits;
  readonly #context: LinkContext;
  readonly #rpc: Rpc;
  readonly #acceptor: Acceptor;
  readonly #dialler: Dialler;
  readonly #tls: LinkTls | undefined;
  readonly #links = new Map<NodeId, Link>();
  readonly #listeners: LinkListener[] = [];
  readonly #handlers = new Map<Lane, FrameHandler>();
  #listening: Listening | undefined;
  #tickTimer: Timer | undefined;
  #tickAt = 0;
  #announceDue = false;
  #closed = false;

  constructor(env: Env, options: LinksOptions) {
    assert(options.cookie.length > 0, 'a cluster has a cookie');
    this.#env = env;
    this.#limits = { ...defaultLimits, ...options.limits };
    const counters = linkCounters(env.metrics);
    this.#tls = options.tls === undefined ? undefined : new LinkTls(env, options.tls, this.#limits.certificateCheckMs);
    this.#context = new LinkContext(env, this.#limits, counters, utf8Encode(options.cookie), options.self, this.#tls);
    this.#rpc = new Rpc(env.clock, this.#limits, counters);
    this.#acceptor = new Acceptor(this.#context, {
      linked: (nodeId) => this.#links.get(nodeId)?.peer,
      isOwnAttempt: (linkId) => this.#dialler.isOwn(linkId),
      currentLinkId: (nodeId) => {
        const link = this.#links.get(nodeId);
        return link?.dialled === undefined ? link?.linkId : undefined;
      },
      onLink: (ready) => this.#adopt(ready),
    });
    this.#dialler = new Dialler(this.#context, {
      isLinked: (nodeId) => this.#links.has(nodeId),
      isLinkedByName: (name) => this.#isLinkedByName(name),
      onLink: (ready) => this.#adopt(ready),
      onDead: (peer) => this.#onDead(peer),
    });
    env.metrics.gaugeFn('starmesh_link_peers', 'Peers whose link is up', {}, () => this.#links.size);
    if (options.listen === undefined) this.#dialler.start();
    else this.#listen(options);
    this.#tickAt = env.clock.now() + this.#limits.pingIntervalMs;
    this.#tickTimer = env.clock.setTimer(this.#limits.pingIntervalMs, () => this.#tick());
  }

  get self(): PeerHello {
    return this.#context.self;
  }

  updateSelf(change: Partial<Pick<PeerHello, 'clusterId' | 'incarnation' | 'info' | 'role'>>): void {
    this.#context.self = { ...this.#context.self, ...change };
    if (this.#announceDue) return;
    this.#announceDue = true;
    this.#env.clock.endOfTurn(() => {
      this.#announceDue = false;
      for (const link of this.#links.values()) link.announce(this.#context.encodedHello);
    });
  }

  setTargets(targets: readonly PeerTarget[]): void {
    const removed = new Set(this.#dialler.setTargets(targets));
    const wanted = new Set(targets.map((t) => t.name));
    for (const link of [...this.#links.values()]) {
      const { name } = link.peer;
      const dialled = link.dialled ?? name;
      // A node may be known by its address first, and by its name later.
      const gone = (removed.has(name) || removed.has(dialled)) && !wanted.has(name) && !wanted.has(dialled);
      if (gone && link.up) this.#down(link, 'local', 'no longer a target');
    }
  }

  speaks(nodeId: NodeId, feature: ProtocolFeature): boolean {
    return hasFeature(this.#links.get(nodeId)?.version ?? 0, feature);
  }

  drop(nodeId: NodeId, why: string): void {
    const link = this.#links.get(nodeId);
    if (link?.up === true) this.#down(link, 'local', why);
  }

  answeredAt(target: string): NodeId | undefined {
    return this.#dialler.answeredAt(target);
  }

  listen(listener: LinkListener): void {
    this.#listeners.push(listener);
  }

  peers(): readonly PeerHello[] {
    return [...this.#links.values()].map((l) => l.peer);
  }

  peer(nodeId: NodeId): PeerHello | undefined {
    return this.#links.get(nodeId)?.peer;
  }

  send(to: NodeId, lane: Lane, frame: Uint8Array, shared?: Uint8Array): SendResult {
    const link = this.#links.get(to);
    assert(lane !== 'rpc', 'the rpc lane carries calls only');
    return link === undefined ? 'down' : link.lane(lane).send(frame, shared);
  }

  backlogBytes(to: NodeId, lane: Lane): number {
    return this.#links.get(to)?.lane(lane).backlogBytes ?? 0;
  }

  onFrame(lane: Exclude<Lane, 'rpc'>, handler: FrameHandler): void {
    assert(!this.#handlers.has(lane), `a lane has one handler: ${lane}`);
    this.#handlers.set(lane, handler);
  }

  pauseLane(from: NodeId, lane: Lane): void {
    this.#links.get(from)?.lane(lane).pause();
  }

  resumeLane(from: NodeId, lane: Lane): void {
    this.#links.get(from)?.lane(lane).resume();
  }

  handle(method: string, handler: (from: PeerHello, body: Uint8Array, reply: RpcReply) => void): void {
    this.#rpc.handle(method, handler);
  }

  call(to: NodeId, method: string, body: Uint8Array, deadlineMs: number, done: (failure: RpcFailure | undefined, body: Uint8Array) => void): void {
    this.#rpc.call(this.#links.get(to)?.rpc, method, body, deadlineMs, done);
  }

  lastHeardAt(nodeId: NodeId): number | undefined {
    return this.#links.get(nodeId)?.lastHeardAt;
  }

  roundTripMs(nodeId: NodeId): number | undefined {
    return this.#links.get(nodeId)?.roundTripMs;
  }

  reloadCertificates(): NetError | undefined {
    return this.#tls?.reload();
  }

  close(done: () => void): void {
    assert(!this.#closed, 'links are closed once');
    this.#closed = true;
    this.#tickTimer?.cancel();
    this.#tls?.stop();
    this.#dialler.close();
    this.#acceptor.close();
    // What must end before `done`: every lane's connection, and the listener.
    let open = 1;
    const ended = (): void => {
      if (--open === 0) done();
    };
    for (const link of [...this.#links.values()]) {
      if (!link.up) continue;
      open += this.#limits.lanes.length;
      this.#down(link, 'local', 'this node is closing', ended);
    }
    this.#rpc.close();
    if (this.#listening === undefined) this.#env.clock.endOfTurn(ended);
    else this.#listening.close(ended);
  }

  // From a link that is up.

  onLinkFrame(link: Link, lane: Lane, payload: Uint8Array): void {
    try {
      this.#handlers.get(lane)?.(link.peer, payload);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      if (link.up) this.#down(link, 'protocol', `${lane}: ${error.message}`);
    }
  }

  onRpcFrame(link: Link, type: number, payload: Uint8Array): boolean {
    return this.#rpc.onFrame(link.rpc, type, payload);
  }

  onHello(link: Link, encoded: Uint8Array): boolean {
    const hello = decodeHello(link.peer.nodeId, encoded);
    if (hello === undefined) return false;
    if (hello.name !== link.peer.name) return false;
    // A replicant may become a core while it runs; a core never becomes anything else.
    if (hello.role !== link.peer.role && hello.role !== 'core') return false;
    link.peer = hello;
    if (this.#context.objection(hello) !== undefined) {
      this.#env.log.warn('a linked node belongs to another cluster now; link closed', { name: hello.name, theirs: hello.clusterId });
      return false;
    }
    for (const listener of this.#listeners) listener.onChange?.(hello);
    return true;
  }

  onBroken(link: Link, reason: DownReason, lane: Lane, detail: string): void {
    this.#down(link, reason, `${lane}: ${detail}`);
  }

  onDrained(link: Link, lane: Lane): void {
    for (const listener of this.#listeners) if (link.up) listener.onDrain?.(link.peer, lane);
  }

  #listen(options: LinksOptions): void {
    const { net, log } = this.#env;
    const at = options.listen;
    if (at === undefined) return;
    net.listen(
      at,
      (connection) => {
        if (this.#closed) {
          connection.handler = { onData: () => {}, onDrain: () => {}, onClose: () => {} };
          connection.destroy();
        } else this.#acceptor.accept(connection);
      },
      (listening) => {
        if (this.#closed) {
          listening.close(() => {});
          return;
        }
        this.#listening = listening;
        this.#tls?.start(listening);
        if (this.self.port === 0) this.#context.self = { ...this.self, port: listening.address.port };
        options.onListening?.(listening.address);
        this.#dialler.start();
      },
      (error) => {
        log.error('cannot listen for other nodes', { host: at.host, port: at.port, code: error.code, why: error.message });
        options.onListenError?.(error);
      },
      this.#staged(),
    );
  }

  /** What comes before the first byte of ours. */
  #staged(): ListenOptions {
    if (this.#tls === undefined) return {};
    return {
      tls: this.#tls.dialling,
      handshakeTimeoutMs: this.#limits.handshakeMs,
      handshakesMax: this.#limits.unauthenticatedMax,
      onRefused: () => {
        this.#context.counters.handshakeFailures.value++;
      },
      onTlsRefused: (remote, reason) => this.#context.tlsRefused(remote, reason),
    };
  }

  #isLinkedByName(name: string): boolean {
    for (const link of this.#links.values()) if (link.peer.name === name || link.dialled === name) return true;
    return false;
  }

  /** A link with all its lanes takes the place of an older one with the same node. */
  #adopt(ready: ReadyLink): void {
    const older = this.#links.get(ready.hello.nodeId);
    if (older !== undefined) this.#down(older, 'replaced', 'a newer link is up');
    const link = new Link(this.#env, this.#limits, ready, this);
    this.#links.set(link.peer.nodeId, link);
    const { name, role, host, port, nodeId } = link.peer;
    this.#env.log.info('link up', { name, role, host, port, nodeId, version: ready.version });
    upsCounter(this.#env.metrics, name).value++;
    this.#dialler.linkUp(link);
    for (const listener of this.#listeners) if (link.up) listener.onUp?.(link.peer);
    link.announce(this.#context.encodedHello);
    link.start();
  }

  #down(link: Link, reason: DownReason, detail: string, gone?: () => void): void {
    assert(link.up, 'a link goes down once');
    this.#links.delete(link.peer.nodeId);
    link.close(reason, gone);
    this.#env.log.info('link down', { name: link.peer.name, nodeId: link.peer.nodeId, reason, detail });
    downsCounter(this.#env.metrics, link.peer.name, reason).value++;
    for (const listener of this.#listeners) listener.onDown?.(link.peer, reason);
    this.#rpc.onDown(link.rpc);
    this.#dialler.linkDown(link, reason);
  }

  #onDead(peer: PeerHello): void {
    this.#env.log.warn('the process of a node is dead: its host refuses connections', { name: peer.name, nodeId: peer.nodeId });
    for (const listener of this.#listeners) listener.onDead?.(peer);
  }

  #tick(): void {
    const now = this.#env.clock.now();
    const late = now - this.#tickAt;
    this.#tickAt = now + this.#limits.pingIntervalMs;
    this.#tickTimer = this.#env.clock.setTimer(this.#limits.pingIntervalMs, () => this.#tick());
    for (const link of [...this.#links.values()]) {
      // This process stood still: what peers sent meanwhile lies unread.
      if (late > this.#limits.pingIntervalMs) link.excuse(late);
      if (link.up) link.tick(now, this.self.role);
    }
  }
}

// The accepting side: connections that have not proved themselves (few, short-lived, told nothing),
// and links of which some lanes have arrived. A link is handed over when its four lanes are there.
// Used by links.ts.
import type { Timer } from '#env/clock.js';
import type { Connection } from '#env/net.js';
import type { Lane, PeerHello } from './api.js';
import { AcceptorHandshake, type HandshakeFault, type HandshakeStep, type Refusal, type RemoteSide, refusals } from './handshake.js';
import { Handshaking, type ReadyLane } from './handshaking.js';
import { decodeHello } from './hello.js';
import type { ReadyLink } from './link.js';
import type { LinkContext } from './link-context.js';
import { lanes } from './options.js';

interface Unproved {
  readonly handshaking: Handshaking;
  readonly machine: AcceptorHandshake;
  readonly timer: Timer;
}

interface Assembly {
  readonly nodeId: string;
  readonly linkId: string;
  readonly lanes: Map<Lane, ReadyLane>;
  readonly timer: Timer;
  hello: PeerHello | undefined;
  version: number;
  toldHello: Uint8Array;
}

export interface AcceptorOwner {
  /** The node with this id whose link is up. */
  linked(nodeId: string): PeerHello | undefined;
  /** This process dialled it: one of its targets is itself. */
  isOwnAttempt(linkId: string): boolean;
  /** The linkId of the link that is up with this node. */
  currentLinkId(nodeId: string): string | undefined;
  onLink(link: ReadyLink): void;
}

export class Acceptor {
  readonly #context: LinkContext;
  readonly #owner: AcceptorOwner;
  readonly #unproved = new Map<Handshaking, Unproved>();
  readonly #assemblies = new Map<string, Assembly>();
  readonly #assemblyOf = new Map<Handshaking, Assembly>();
  #closing = false;

  constructor(context: LinkContext, owner: AcceptorOwner) {
    this.#context = context;
    this.#owner = owner;
  }

  /** A new connection from outside. */
  accept(connection: Connection): void {
    const { env, limits, counters } = this.#context;
    if (this.#unproved.size >= limits.unauthenticatedMax) {
      const oldest = this.#unproved.values().next().value;
      counters.unauthenticatedDropped.value++;
      if (oldest !== undefined) this.#drop(oldest);
    }
    const machine = new AcceptorHandshake(this.#context.localSide(new Uint8Array(0)));
    const handshaking = new Handshaking(connection, machine, {
      onProved: (h, remote, step) => this.#onProved(h, machine, remote, step),
      onFailed: (h, fault) => this.#onFailed(h, fault),
    });
    const timer = env.clock.setTimer(limits.handshakeMs, () => {
      const late = this.#unproved.get(handshaking);
      counters.handshakeFailures.value++;
      if (late !== undefined) this.#drop(late);
    });
    this.#unproved.set(handshaking, { handshaking, machine, timer });
  }

  /** Everything that is not a link yet is dropped, now and from now on. */
  close(): void {
    this.#closing = true;
    for (const one of [...this.#unproved.values()]) this.#drop(one);
    for (const one of [...this.#assemblies.values()]) this.#abandon(one);
  }

  #drop(one: Unproved): void {
    one.timer.cancel();
    this.#unproved.delete(one.handshaking);
    one.handshaking.abandon();
  }

  #onFailed(handshaking: Handshaking, fault: HandshakeFault | 'closed'): void {
    const { counters, env } = this.#context;
    const one = this.#unproved.get(handshaking);
    if (one === undefined) {
      // A lane that was proved closed before its link was complete.
      const assembly = this.#assemblyOf.get(handshaking);
      if (assembly !== undefined) this.#abandon(assembly);
      return;
    }
    one.timer.cancel();
    this.#unproved.delete(handshaking);
    // A bare connect and close is how a node looks whether another lives.
    if (fault === 'closed') return;
    counters.handshakeFailures.value++;
    const { host, port } = handshaking.connection.remote;
    if (fault === 'cookie') this.#context.authFailed(host, port);
    else env.log.info('a connection to the cluster port was closed: no peer of ours', { host, port, fault });
  }

  #onProved(handshaking: Handshaking, machine: AcceptorHandshake, remote: RemoteSide, step: HandshakeStep & { readonly kind: 'done' }): void {
    const one = this.#unproved.get(handshaking);
    one?.timer.cancel();
    this.#unproved.delete(handshaking);
    const lane = lanes[remote.lane];
    const hello = lane === 'rpc' ? decodeHello(remote.nodeId, remote.hello) : undefined;
    if (lane === undefined || !this.#context.limits.lanes.includes(lane) || (lane === 'rpc' && hello === undefined)) {
      this.#context.counters.handshakeFailures.value++;
      this.#context.env.log.warn('a peer that knows the cookie sent a malformed hello; connection closed', { nodeId: remote.nodeId });
      handshaking.abandon();
      return;
    }
    const refusal = this.#refusal(remote, hello);
    const told = this.#context.encodedHello;
    const { send, writeSeed } = machine.answer(refusal, lane === 'rpc' ? told : new Uint8Array(0));
    const { connection } = handshaking;
    connection.write(send);
    if (refusal !== refusals.none) {
      this.#context.counters.handshakeFailures.value++;
      connection.end();
      this.#context.env.clock.setTimer(this.#context.limits.lingerMs, () => connection.destroy());
      return;
    }
    this.#assemble(remote, lane, hello, told, { connection, handshaking, rest: step.rest, readSeed: step.readSeed, writeSeed });
  }

  #refusal(remote: RemoteSide, hello: PeerHello | undefined): Refusal {
    const { log } = this.#context.env;
    const { self } = this.#context;
    if (this.#closing) return refusals.closing;
    if (remote.nodeId === self.nodeId) {
      if (this.#owner.isOwnAttempt(remote.linkId)) return refusals.self;
      log.error('a node with the identity of this node dialled it: a copied data directory, or its own address among its peers', {
        nodeId: remote.nodeId,
      });
      return refusals.self;
    }
    const newest = this.#assemblies.get(remote.nodeId)?.linkId ?? this.#owner.currentLinkId(remote.nodeId);
    if (newest !== undefined && isOlder(remote.linkId, newest)) return refusals.stale;
    // The same identity at another address while the first one is connected: a copied data directory. A node that
    // moved is let in once the link to where it was is down.
    const linked = hello === undefined ? undefined : this.#owner.linked(remote.nodeId);
    if (hello !== undefined && linked !== undefined && (linked.host !== hello.host || linked.port !== hello.port)) {
      const { name, host, port } = hello;
      log.error('a node with the identity of a connected one dialled this one: a copied data directory; refused', {
        name,
        host,
        port,
        nodeId: remote.nodeId,
        connected: `${linked.name} at ${linked.host}:${linked.port}`,
      });
      return refusals.copy;
    }
    if (hello !== undefined && this.#context.objection(hello) === 'cluster') {
      log.warn('a node of another cluster dialled this one; refused', { name: hello.name, theirs: hello.clusterId, ours: self.clusterId });
      return refusals.cluster;
    }
    return refusals.none;
  }

  #assemble(remote: RemoteSide, lane: Lane, hello: PeerHello | undefined, told: Uint8Array, ready: ReadyLane): void {
    const { env, limits } = this.#context;
    let assembly = this.#assemblies.get(remote.nodeId);
    if (assembly !== undefined && (assembly.linkId !== remote.linkId || assembly.lanes.has(lane))) {
      this.#abandon(assembly);
      assembly = undefined;
    }
    if (assembly === undefined) {
      const oldest = this.#assemblies.values().next().value;
      if (this.#assemblies.size >= limits.assemblingMax && oldest !== undefined) {
        this.#context.counters.assembliesDropped.value++;
        this.#abandon(oldest);
      }
      const timer = env.clock.setTimer(limits.handshakeMs, () => this.#abandon(made));
      const made: Assembly = { nodeId: remote.nodeId, linkId: remote.linkId, lanes: new Map(), timer, hello: undefined, version: 0, toldHello: told };
      this.#assemblies.set(remote.nodeId, made);
      assembly = made;
    }
    assembly.lanes.set(lane, ready);
    this.#assemblyOf.set(ready.handshaking, assembly);
    if (hello !== undefined) {
      assembly.hello = hello;
      assembly.version = remote.version;
      assembly.toldHello = told;
    }
    if (assembly.lanes.size < limits.lanes.length || assembly.hello === undefined) return;
    this.#forget(assembly);
    const { linkId, toldHello, version } = assembly;
    this.#owner.onLink({ hello: assembly.hello, linkId, version, lanes: assembly.lanes, toldHello, dialled: undefined });
  }

  #abandon(assembly: Assembly): void {
    if (this.#assemblies.get(assembly.nodeId) !== assembly) return;
    this.#context.counters.handshakeFailures.value++;
    this.#forget(assembly);
    for (const ready of assembly.lanes.values()) ready.handshaking.abandon();
  }

  #forget(assembly: Assembly): void {
    assembly.timer.cancel();
    this.#assemblies.delete(assembly.nodeId);
    for (const ready of assembly.lanes.values()) this.#assemblyOf.delete(ready.handshaking);
  }
}

/** linkId: 8 bytes that name the dialling process, then its count of attempts. Only within a process is there an order. */
function isOlder(linkId: string, than: string): boolean {
  return linkId.slice(0, 16) === than.slice(0, 16) && linkId.slice(16) < than.slice(16);
}

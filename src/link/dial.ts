// One attempt to set up a link to a target: first the rpc lane, which tells who answers there, then
// the other three at once. Used by dialler.ts, which decides when to try.
import type { Timer } from '#env/clock.js';
import type { Connection, NetError } from '#env/net.js';
import type { Lane, PeerHello, PeerTarget } from './api.js';
import { DialerHandshake, type HandshakeFault, type HandshakeStep, type RemoteSide, refusals } from './handshake.js';
import { Handshaking, type ReadyLane } from './handshaking.js';
import { decodeHello } from './hello.js';
import type { ReadyLink } from './link.js';
import type { LinkContext } from './link-context.js';
import { lanes } from './options.js';

/**
 * - refused: nothing listens there: the process is dead.
 * - known: the node that answers is linked already.
 * - unwelcome: it will not have us, or we not it; trying soon is of no use.
 * - failed: anything else.
 */
export type DialFailure = 'refused' | 'known' | 'unwelcome' | 'failed';

export interface DialOwner {
  isLinked(nodeId: string): boolean;
  /** This node answers there, whatever comes of it. */
  onAnswered(attempt: DialAttempt, nodeId: string): void;
  onLink(attempt: DialAttempt, link: ReadyLink): void;
  onFailure(attempt: DialAttempt, failure: DialFailure, detail: string): void;
}

export class DialAttempt {
  readonly #context: LinkContext;
  readonly #target: PeerTarget;
  readonly #linkId: Uint8Array;
  readonly #owner: DialOwner;
  readonly #timer: Timer;
  readonly #open = new Set<Handshaking>();
  readonly #ready = new Map<Lane, ReadyLane>();
  #toldHello: Uint8Array = new Uint8Array(0);
  #hello: PeerHello | undefined;
  #linkIdHex = '';
  #version = 0;
  #over = false;

  constructor(context: LinkContext, target: PeerTarget, linkId: Uint8Array, owner: DialOwner) {
    this.#context = context;
    this.#target = target;
    this.#linkId = linkId;
    this.#owner = owner;
    context.counters.dials.value++;
    this.#timer = context.env.clock.setTimer(context.limits.handshakeMs, () => this.#fail('failed', 'the handshake took too long'));
    this.#dial('rpc');
  }

  /** Gives up; nothing is told. */
  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer.cancel();
    for (const handshaking of this.#open) handshaking.abandon();
    this.#open.clear();
  }

  #fail(failure: DialFailure, detail: string): void {
    if (this.#over) return;
    this.abort();
    this.#owner.onFailure(this, failure, detail);
  }

  #dial(lane: Lane): void {
    const { env, limits } = this.#context;
    const { host, port } = this.#target;
    env.net.connect(
      { host, port },
      { timeoutMs: limits.connectTimeoutMs, tls: this.#context.dialTls },
      (connection) => this.#onConnected(lane, connection),
      (error: NetError) => this.#onUnconnected(error),
    );
  }

  #onUnconnected(error: NetError): void {
    if (error.code === 'ETLS') this.#fail('unwelcome', `TLS: ${error.message}`);
    else this.#fail(error.code === 'ECONNREFUSED' ? 'refused' : 'failed', error.code);
  }

  #onConnected(lane: Lane, connection: Connection): void {
    if (this.#over) {
      connection.handler = { onData: () => {}, onDrain: () => {}, onClose: () => {} };
      connection.destroy();
      return;
    }
    const told = lane === 'rpc' ? this.#context.encodedHello : new Uint8Array(0);
    if (lane === 'rpc') this.#toldHello = told;
    const machine = new DialerHandshake(this.#context.localSide(told), lanes.indexOf(lane), this.#linkId);
    const handshaking = new Handshaking(connection, machine, {
      onProved: (h, remote, step) => this.#onProved(lane, h, remote, step),
      onFailed: (h, fault) => this.#onHandshakeFailed(h, fault),
    });
    this.#open.add(handshaking);
    connection.write(machine.start());
  }

  #onHandshakeFailed(handshaking: Handshaking, fault: HandshakeFault | 'closed'): void {
    this.#open.delete(handshaking);
    if (this.#over) return;
    const { host, port } = this.#target;
    if (fault === 'cookie') this.#context.authFailed(host, port);
    this.#context.counters.handshakeFailures.value++;
    // An acceptor that does not accept our proof closes without a word.
    const doubt = this.#context.dialTls === undefined ? 'another cookie, or it wants TLS?' : 'another cookie, or it does not accept our certificate?';
    this.#fail('failed', fault === 'closed' ? `the peer closed the connection during the handshake (${doubt})` : fault);
  }

  #onProved(lane: Lane, handshaking: Handshaking, remote: RemoteSide, step: HandshakeStep & { readonly kind: 'done' }): void {
    if (this.#over) return;
    if (lane === 'rpc') this.#owner.onAnswered(this, remote.nodeId);
    if (remote.refusal !== refusals.none) {
      this.#fail(remote.refusal === refusals.stale ? 'failed' : 'unwelcome', `refused by the peer: ${refusalName(remote.refusal)}`);
      return;
    }
    const { connection } = handshaking;
    this.#ready.set(lane, { connection, handshaking, rest: step.rest, readSeed: step.readSeed, writeSeed: step.writeSeed });
    if (lane === 'rpc') this.#onPeerKnown(remote);
    else if (remote.nodeId !== this.#hello?.nodeId) this.#fail('failed', 'another node answered on the same address');
    if (this.#over || this.#hello === undefined || this.#ready.size < this.#context.limits.lanes.length) return;
    this.#over = true;
    this.#timer.cancel();
    this.#owner.onLink(this, {
      hello: this.#hello,
      linkId: this.#linkIdHex,
      version: this.#version,
      lanes: this.#ready,
      toldHello: this.#toldHello,
      dialled: this.#target.name,
    });
  }

  #onPeerKnown(remote: RemoteSide): void {
    const hello = decodeHello(remote.nodeId, remote.hello);
    if (hello === undefined) {
      this.#fail('failed', 'malformed hello');
      return;
    }
    const objection = this.#context.objection(hello);
    if (objection !== undefined) {
      this.#fail('unwelcome', objection === 'self' ? 'it has the identity of this node' : 'it belongs to another cluster');
      return;
    }
    if (this.#owner.isLinked(hello.nodeId)) {
      this.#fail('known', `it is ${hello.name}, which is linked already`);
      return;
    }
    this.#hello = hello;
    this.#linkIdHex = remote.linkId;
    this.#version = remote.version;
    for (const other of this.#context.limits.lanes) if (other !== 'rpc') this.#dial(other);
  }
}

function refusalName(refusal: number): string {
  if (refusal === refusals.self) return 'this node has its identity';
  if (refusal === refusals.cluster) return 'this node belongs to another cluster';
  if (refusal === refusals.copy) return 'a node with this identity is connected to it: was the data directory copied?';
  if (refusal === refusals.closing) return 'it is closing';
  return 'an older attempt';
}

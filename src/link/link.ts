// A link that is up: the peer and its four lanes. Owned by links.ts. When any lane breaks, the whole
// link is down: a peer is either fully there or not at all.
import { defined } from '#base/assert.js';
import { emptyBytes } from '#base/bytes.js';
import type { Env } from '#env/env.js';
import type { DownReason, Lane, PeerHello } from './api.js';
import { frameTypes } from './frame.js';
import type { ReadyLane } from './handshaking.js';
import { LaneConnection, type LaneOwner } from './lane.js';
import { laneCounters } from './link-metrics.js';
import { type LinkLimits, quietLanes } from './options.js';
import { RpcPeer } from './rpc.js';

/**
 * Of a new round trip one part of so many counts. There are few of them, and what makes one long has often to do with
 * the two processes: a shorter one says more.
 */
const shorterShare = 2;
const longerShare = 4;

/** All lanes authenticated: what dial.ts and accept.ts hand over. */
export interface ReadyLink {
  readonly hello: PeerHello;
  readonly linkId: string;
  /** Of the protocol. */
  readonly version: number;
  readonly lanes: ReadonlyMap<Lane, ReadyLane>;
  /** Our own hello as the peer knows it. */
  readonly toldHello: Uint8Array;
  /** Name of the target that was dialled; undefined when the peer dialled us. */
  readonly dialled: string | undefined;
}

export interface LinkOwner {
  onLinkFrame(link: Link, lane: Lane, payload: Uint8Array): void;
  /** Request or reply; false when malformed. */
  onRpcFrame(link: Link, type: number, payload: Uint8Array): boolean;
  /** False when the link cannot go on with this hello. */
  onHello(link: Link, encoded: Uint8Array): boolean;
  onBroken(link: Link, reason: DownReason, lane: Lane, detail: string): void;
  onDrained(link: Link, lane: Lane): void;
}

export class Link implements LaneOwner {
  peer: PeerHello;
  readonly linkId: string;
  readonly version: number;
  readonly dialled: string | undefined;
  readonly rpc: RpcPeer;
  readonly upAt: number;
  up = true;
  #toldHello: Uint8Array;
  #roundTripMs: number | undefined;
  readonly #lanes: ReadonlyMap<Lane, LaneConnection>;
  readonly #owner: LinkOwner;

  constructor(env: Env, limits: LinkLimits, ready: ReadyLink, owner: LinkOwner) {
    this.peer = ready.hello;
    this.linkId = ready.linkId;
    this.version = ready.version;
    this.dialled = ready.dialled;
    this.#toldHello = ready.toldHello;
    this.#owner = owner;
    this.upAt = env.clock.now();
    const made = new Map<Lane, LaneConnection>();
    for (const lane of limits.lanes) {
      const parts = defined(ready.lanes.get(lane), 'a link has all its lanes');
      made.set(lane, new LaneConnection(lane, parts, env.clock, limits, laneCounters(env.metrics, ready.hello.name, lane), this));
    }
    this.#lanes = made;
    this.rpc = new RpcPeer(this.lane('rpc'), () => this.peer);
  }

  lane(lane: Lane): LaneConnection {
    return this.#lanes.get(lane) as LaneConnection;
  }

  /** Begins to read, once everybody knows that the link is up. */
  start(): void {
    for (const lane of this.#lanes.values()) if (this.up) lane.start();
  }

  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  get lastHeardAt(): number {
    let last = 0;
    for (const lane of this.#lanes.values()) if (lane.lastHeardAt > last) last = lane.lastHeardAt;
    return last;
  }

  /** Tells the peer what we are now, unless it knows. */
  announce(hello: Uint8Array): void {
    if (hello === this.#toldHello || !this.up) return;
    this.#toldHello = hello;
    this.lane('rpc').control(frameTypes.hello, emptyBytes, hello);
  }

  /** `ownRole`: the one that this node has. */
  tick(now: number, ownRole: PeerHello['role']): void {
    for (const lane of this.#lanes.values()) {
      if (!this.up) return;
      const raft = lane.lane === 'raft';
      lane.tick(now, !raft ? undefined : this.#measured(lane, now, ownRole) ? 'often' : 'seldom', raft ? 1 : quietLanes);
    }
  }

  /** How far away a core is counts, and a replicant for those replicants that it feeds. */
  #measured(raft: LaneConnection, now: number, ownRole: PeerHello['role']): boolean {
    return this.peer.role === 'core' || (ownRole !== 'core' && raft.inUse(now));
  }

  excuse(ms: number): void {
    for (const lane of this.#lanes.values()) lane.excuse(ms);
  }

  /** `gone` is called for each lane once its connection has ended. */
  close(reason: DownReason, gone?: () => void): void {
    this.up = false;
    const abort = reason === 'silent' || reason === 'protocol';
    for (const lane of this.#lanes.values()) lane.close(reason, abort, gone);
  }

  onLaneFrame(lane: LaneConnection, type: number, payload: Uint8Array): void {
    if (!this.up) return;
    if (lane.lane !== 'rpc') {
      if (type === frameTypes.data) this.#owner.onLinkFrame(this, lane.lane, payload);
      else this.onLaneBroken(lane, 'protocol', 'a frame that is none of this lane');
      return;
    }
    if (type === frameTypes.request || type === frameTypes.reply) {
      if (!this.#owner.onRpcFrame(this, type, payload)) this.onLaneBroken(lane, 'protocol', 'malformed request or reply');
    } else if (type !== frameTypes.hello || !this.#owner.onHello(this, payload)) this.onLaneBroken(lane, 'protocol', 'unacceptable hello or frame');
  }

  onLaneBroken(lane: LaneConnection, reason: DownReason, detail: string): void {
    if (this.up) this.#owner.onBroken(this, reason, lane.lane, detail);
  }

  onLaneDrained(lane: LaneConnection): void {
    if (this.up) this.#owner.onDrained(this, lane.lane);
  }

  onRoundTrip(ms: number): void {
    const before = this.#roundTripMs ?? ms;
    this.#roundTripMs = before + (ms - before) / (ms < before ? shorterShare : longerShare);
  }
}

// What other rooms see of the links between nodes. `link/links.ts` implements it over env's net;
// the simulator may implement it without byte streams.
//
// Between two nodes there is one link, made of one connection per lane, so that a flooded or
// frozen lane cannot delay Raft. Frames of one lane arrive in order, each at most once; when a
// link goes down, frames in flight may be lost on any lane, and both sides hear of it.

import type { NetError } from '#env/net.js';
import type { ProtocolFeature } from './protocol.js';

/** raft: consensus, small and urgent · rlog: log streams and bootstraps · rpc: requests and replies · forward: MQTT messages. */
export type Lane = 'raft' | 'rlog' | 'rpc' | 'forward';

/** 128 random bits as 32 hexadecimal digits. */
export type NodeId = string;

export type NodeRole = 'core' | 'replicant';

/** What a peer says of itself; name and nodeId are fixed while the link is up. */
export interface PeerHello {
  readonly nodeId: NodeId;
  /** `core1@10.0.0.5`. */
  readonly name: string;
  readonly role: NodeRole;
  /** Empty while the peer belongs to no cluster yet. */
  readonly clusterId: string;
  /** 0 before the peer has joined. */
  readonly incarnation: number;
  /** Where the peer's own cluster port can be dialled. */
  readonly host: string;
  readonly port: number;
  /** Opaque to `link`; the cluster room puts its formation state here. Bounded to 64 KiB. */
  readonly info: Uint8Array;
}

/** A node to be linked with, whoever dials. */
export interface PeerTarget {
  readonly name: string;
  readonly role: NodeRole;
  readonly host: string;
  readonly port: number;
  /** We dial, whoever is the smaller: the other may not know yet where this node is. */
  readonly dial?: boolean;
}

export type DownReason = 'closed' | 'silent' | 'protocol' | 'replaced' | 'local';

export interface LinkListener {
  /** All lanes are up and authenticated. */
  onUp?(peer: PeerHello): void;
  onDown?(peer: PeerHello, reason: DownReason): void;
  /** The peer announced a changed hello while its link is up. */
  onChange?(peer: PeerHello): void;
  /** The peer's host refuses connections after the link went down: its process is dead. */
  onDead?(peer: PeerHello): void;
  /** A lane that answered 'full' takes frames again. */
  onDrain?(peer: PeerHello, lane: Lane): void;
}

/** 'full': the lane's buffer bound is reached, the frame was not taken; `onDrain` follows. */
export type SendResult = 'sent' | 'down' | 'full';

/** 'down' and 'timeout' leave open whether the request was executed; 'refused' means that it was not. */
export type RpcFailure = { readonly kind: 'down' | 'timeout' | 'full' } | { readonly kind: 'refused'; readonly message: string };

export type RpcReply = (error: string | undefined, body?: Uint8Array) => void;

export interface Links {
  readonly self: PeerHello;
  /** Replaces our own hello (incarnation, clusterId, info); new links carry it, `announce` re-sends it on open ones. */
  updateSelf(change: Partial<Pick<PeerHello, 'clusterId' | 'incarnation' | 'info' | 'role'>>): void;
  /**
   * The nodes to be linked with. A replicant dials every core; between equals the smaller name
   * dials. Links to nodes that are no longer in the list are closed; nodes that dial us and are
   * not in the list are accepted all the same, if they authenticate.
   */
  setTargets(targets: readonly PeerTarget[]): void;
  /** Who answered when the target of this name was dialled last, this node itself included; undefined: nobody yet. */
  answeredAt(target: string): NodeId | undefined;
  /** Whether the peer's end of the link speaks it; false when no link is up. */
  speaks(nodeId: NodeId, feature: ProtocolFeature): boolean;
  /** Closes the link with a node that is none of ours after all. It may be made again. */
  drop(nodeId: NodeId, why: string): void;
  listen(listener: LinkListener): void;
  /** Peers whose link is up. A changed hello of a peer (see `updateSelf`) is visible here. */
  peers(): readonly PeerHello[];
  peer(nodeId: NodeId): PeerHello | undefined;
  /**
   * The frame's bytes are copied or sent before the turn ends; the caller may reuse them afterwards. `shared` is the
   * frame's end: bytes that are never changed and go to several peers, so that their checksum is made once.
   */
  send(to: NodeId, lane: Lane, frame: Uint8Array, shared?: Uint8Array): SendResult;
  /** Bytes queued or unsent on the lane. */
  backlogBytes(to: NodeId, lane: Lane): number;
  /** One handler per lane (not 'rpc'). The frame is a view valid during the call. */
  onFrame(lane: Exclude<Lane, 'rpc'>, handler: (from: PeerHello, frame: Uint8Array) => void): void;
  /** Stops reading a lane of one peer: backpressure. */
  pauseLane(from: NodeId, lane: Lane): void;
  resumeLane(from: NodeId, lane: Lane): void;
  /** Serves `method`. `body` is a view valid during the call; `reply` is called at most once, at any time. */
  handle(method: string, handler: (from: PeerHello, body: Uint8Array, reply: RpcReply) => void): void;
  /** One request; exactly one of result and failure, at the deadline at the latest, or at the links' own (`rpcAnswerMsMax`). */
  call(to: NodeId, method: string, body: Uint8Array, deadlineMs: number, done: (failure: RpcFailure | undefined, body: Uint8Array) => void): void;
  /** Monotonic time when anything last arrived from the peer; undefined when no link is up. */
  lastHeardAt(nodeId: NodeId): number | undefined;
  /** Smoothed round trip in ms, undefined before the first measurement. */
  roundTripMs(nodeId: NodeId): number | undefined;
  /** Under TLS: reads the certificates again, for connections from now on. On an error (code 'ETLS') the old ones stay. */
  reloadCertificates(): NetError | undefined;
  close(done: () => void): void;
}

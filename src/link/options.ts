// Settings of the links and their defaults. Every bound of this room is here, by name.
import type { NetAddress, NetError, TlsOptions } from '#env/net.js';
import type { Lane, PeerHello } from './api.js';
import { ownProtocol, type ProtocolRange } from './protocol.js';

/** In the order of their wire numbers: the index is what a handshake says. */
export const lanes: readonly Lane[] = ['raft', 'rlog', 'rpc', 'forward'];

export interface LinkLimits {
  /** Those that a link has, the same on all nodes, `rpc` among them: one less where nobody has anything to say on it. */
  readonly lanes: readonly Lane[];
  /** Bytes that may wait for the network per lane; beyond it `send` answers 'full'. */
  readonly laneBufferBytesMax: Readonly<Record<Lane, number>>;
  /** Largest frame; a longer one from a peer closes the link, a longer one to send is a programmer error. */
  readonly frameBytesMax: number;
  /** Between two looks at a link. Who is silent for so long on a lane of Raft that is in use is pinged. */
  readonly pingIntervalMs: number;
  /**
   * When nothing was sent on the lane of Raft for so long, a ping is: it speaks for the whole link. Where the round
   * trip counts, to cores and among replicants that feed each other, in any case. The other lanes' is `quietLanes` times as long.
   */
  readonly quietPingMs: number;
  /** A lane of Raft on which nothing was heard for so long takes its link down, another one after `quietLanes` times as long. */
  readonly silenceMs: number;
  /** From an accepted connection to the whole link, and for a dial as a whole. */
  readonly handshakeMs: number;
  /** As in EMQX. */
  readonly connectTimeoutMs: number;
  /** First and longest wait between dials; the wait doubles from one to the other. */
  readonly redialMinMs: number;
  readonly redialMaxMs: number;
  /** Accepted connections that have not proved to know the cookie, and as many in TLS handshakes; the oldest goes first. */
  readonly unauthenticatedMax: number;
  /** Links of which some lanes have arrived; the oldest goes first. */
  readonly assemblingMax: number;
  /** Calls without an answer, per peer; beyond it a call fails with 'full'. Requests being served, too. */
  readonly rpcOutstandingMax: number;
  /** Longest wait for the answer to a call, whatever deadline it was made with. */
  readonly rpcAnswerMsMax: number;
  /** How long a closing connection may take to send what is buffered. */
  readonly lingerMs: number;
  /** Under TLS: how often the certificates' files are looked at for a change. */
  readonly certificateCheckMs: number;
  /** Versions of the protocol that this node speaks. */
  readonly protocol: ProtocolRange;
}

const MiB = 1024 * 1024;

/**
 * A peer that is gone is missed on the lane of Raft. What the other lanes' pings find is a single connection
 * that is broken without a word while the others live; with many nodes they are most of what an idle one does.
 */
export const quietLanes = 3;

export const defaultLimits: LinkLimits = {
  lanes,
  laneBufferBytesMax: { raft: 16 * MiB, rlog: 16 * MiB, rpc: 8 * MiB, forward: 32 * MiB },
  frameBytesMax: 16 * MiB,
  pingIntervalMs: 500,
  quietPingMs: 1_500,
  silenceMs: 5_000,
  handshakeMs: 5_000,
  connectTimeoutMs: 5_000,
  redialMinMs: 50,
  redialMaxMs: 2_000,
  unauthenticatedMax: 512,
  assemblingMax: 512,
  rpcOutstandingMax: 10_000,
  rpcAnswerMsMax: 15_000,
  lingerMs: 500,
  certificateCheckMs: 60_000,
  protocol: ownProtocol,
};

export interface LinksOptions {
  /** What we say of ourselves. With `port` 0 the port that was found is said. */
  readonly self: PeerHello;
  /** The cluster's shared secret. */
  readonly cookie: string;
  /** Where to accept links; undefined: dial only. */
  readonly listen: NetAddress | undefined;
  /** Both ends show a certificate and check the other's before the first byte of the links' own. Undefined: plain TCP. */
  readonly tls?: TlsOptions | undefined;
  readonly limits?: Partial<LinkLimits>;
  readonly onListening?: (address: NetAddress) => void;
  readonly onListenError?: (error: NetError) => void;
}

// What goes into the Raft machine, what comes out, and what it needs of its log. One machine is
// one shard on one core; `db/core.ts` and the simulator drive it. See raft.ts for the class.
//
// Contract of the driver
// - It performs the effects of a step in their order before it steps the machine again.
// - Persist effects are written in the order of their ids; `persisted {id}` says that everything up
//   to and including `id` is durable. After a failed write or sync the machine must not be stepped
//   any more (a restart from disk is fine).
// - It calls `tick` at `nextTimerAt`, or regularly and at least every ~50 ms. Time is monotonic.
// - Messages may be lost, repeated, delayed and reordered by the driver; nothing here relies on order.

/** A core's nodeId. Never empty: '' stands for nobody. */
export type NodeId = string;

/** noop: appended by a new leader, nothing to apply · config: `data` is an encoded {@link RaftConfig} (codec.ts), nothing to apply. */
export type EntryKind = 'normal' | 'noop' | 'config';

export interface Entry {
  readonly index: number;
  readonly term: number;
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

/** Members of the group. A node is in at most one of the two lists. */
export interface RaftConfig {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
}

/** What must survive a crash besides the entries. Commit is not in it: tables know what they applied. */
export interface HardState {
  readonly currentTerm: number;
  /** Who got this node's vote in `currentTerm`, '' for nobody. */
  readonly votedFor: NodeId;
}

/**
 * The entries on this node's disk. Only entries that were reported `persisted` and not overwritten
 * since are asked for, and none at or below the last `compacted` index.
 */
export interface LogSource {
  /**
   * Entries [from, to), at least one, then as many as fit into `maxBytes` of data. Undefined or none
   * when they are not there any more: the follower that needs them gets a snapshot.
   */
  entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined;
  /** Term of the entry, undefined when it is not there. Fast: called for every AppendEntries of a lagging follower. */
  term(index: number): number | undefined;
}

/** State from disk. A new core has term 0, no vote, base {0, 0} and no entries. */
export interface RaftRestored {
  readonly hardState: HardState;
  /** Last entry that the log no longer holds (compacted, or the index of the tables after a bootstrap). */
  readonly base: { readonly index: number; readonly term: number };
  /** The configuration in force at `base`. */
  readonly baseConfig: RaftConfig;
  /** Last entry on disk; equals `base` when there is none. */
  readonly last: { readonly index: number; readonly term: number };
  /** Config entries above `base`, ascending. Left out: the machine reads the whole log to find them. */
  readonly configs?: readonly { readonly index: number; readonly config: RaftConfig }[];
  /** What is known to be committed: the applied index of the tables. At least `base.index`, at most `last.index`. */
  readonly commitIndex: number;
}

export interface RaftOptions {
  readonly id: NodeId;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly source: LogSource;
  /** Default 150. */
  readonly heartbeatMs?: number;
  /** Heartbeats at multiples of `heartbeatMs` on the machine's clock: those of all groups of a node come together. */
  readonly alignHeartbeats?: boolean;
  /** Silence of the leader before an election: random in [min, max). Defaults 1,000 and 2,000. */
  readonly electionTimeoutMinMs?: number;
  readonly electionTimeoutMaxMs?: number;
  /** Wait before PreVote when the leader is known dead: random in [min, max). Defaults 50 and 300. */
  readonly lostLeaderDelayMinMs?: number;
  readonly lostLeaderDelayMaxMs?: number;
  /** Data bytes of one AppendEntries (one entry always fits). Default 1 MiB. */
  readonly messageBytesMax?: number;
  /** Entries of one AppendEntries. Default 1,024. */
  readonly messageEntriesMax?: number;
  /** AppendEntries sent to one follower and not yet acknowledged. Defaults 256 and 16 MiB. */
  readonly inflightMessagesMax?: number;
  readonly inflightBytesMax?: number;
  /** Data bytes proposed and not yet committed; a proposal that would pass it is refused (one always fits). Default 64 MiB. */
  readonly uncommittedBytesMax?: number;
  /** Durable entries kept in memory for followers and for apply. Default 16 MiB. */
  readonly memoryBytesMax?: number;
  /** ReadIndex requests waiting. Default 10,000. */
  readonly readsMax?: number;
  /**
   * The log was found damaged or doubtfully cut: the node does not vote, campaign or count until
   * a leader has brought it up again (effect `recovered`; keep the mark on disk until then). A random
   * number above 0 drawn at this start; 0 or left out: the log is sound.
   */
  readonly recovering?: number;
}

export type RaftInput =
  | { readonly type: 'tick' }
  | { readonly type: 'message'; readonly from: NodeId; readonly message: RaftMessage }
  | { readonly type: 'persisted'; readonly id: number }
  /** Answered by `readable` or `readFailed` with the same token. Only leaders answer with `readable`. */
  | { readonly type: 'readIndex'; readonly token: number }
  /** Ignored unless leader and `to` is another voter. Given up after one election timeout (see `transferee`). */
  | { readonly type: 'transferLeader'; readonly to: NodeId }
  /** The link was closed and the peer's host refuses a new connection: its process is dead. */
  | { readonly type: 'peerLost'; readonly peer: NodeId }
  | { readonly type: 'peerUnreachable'; readonly peer: NodeId }
  | { readonly type: 'peerReachable'; readonly peer: NodeId }
  /** Leader: the copy that `needSnapshot` asked for was handed over, or failed. */
  | { readonly type: 'snapshotStatus'; readonly to: NodeId; readonly ok: boolean }
  /**
   * Follower: one durable step has replaced tables, log and log base. The log starts after
   * (index, term), which is at or above the offered index; `last` when a staged log was adopted with
   * it, else it is empty. Hard state is unchanged.
   */
  | {
      readonly type: 'snapshotInstalled';
      readonly index: number;
      readonly term: number;
      readonly config: RaftConfig;
      readonly last?: { readonly index: number; readonly term: number };
    }
  /** Follower: the bootstrap begun by `installSnapshot` was given up; old log and tables stand. */
  | { readonly type: 'snapshotAborted' }
  /** The log on disk begins after `index` now. At most the applied index. */
  | { readonly type: 'compacted'; readonly index: number }
  /** Starts an election at once (tests, formation). */
  | { readonly type: 'campaign' };

export type RaftMessage =
  | {
      readonly type: 'requestVote';
      /** PreVote: the term that the sender would campaign in. */
      readonly term: number;
      readonly preVote: boolean;
      readonly lastIndex: number;
      readonly lastTerm: number;
      /** The leader itself asked for this election: stickiness does not apply. */
      readonly transfer: boolean;
    }
  | {
      readonly type: 'voteResponse';
      /** The term asked for when granted, the voter's own when refused. */
      readonly term: number;
      readonly preVote: boolean;
      readonly granted: boolean;
    }
  | {
      readonly type: 'append';
      readonly term: number;
      readonly prevIndex: number;
      readonly prevTerm: number;
      readonly commit: number;
      /** Echoed by the response. Grows each time the leader starts over with this member; what belongs to older streams is not acted on. */
      readonly stream: number;
      /** Indexes prevIndex + 1, + 2, …; terms never fall. */
      readonly entries: readonly Entry[];
    }
  | {
      readonly type: 'appendResponse';
      readonly term: number;
      /** Of the append that is answered; 0 when it answers something else. */
      readonly stream: number;
      readonly rejected: boolean;
      /** Accepted: the log equals the leader's up to here and is durable. Rejected: the `prevIndex` that did not match. */
      readonly index: number;
      /** Rejected: the last index that may match, and its term here. */
      readonly hintIndex: number;
      readonly hintTerm: number;
      /** Not 0: the sender's log was damaged and this must not count (see `RaftOptions.recovering`). */
      readonly recovery: number;
    }
  | {
      readonly type: 'heartbeat';
      readonly term: number;
      /** At most what the receiver has acknowledged. */
      readonly commit: number;
      /** Echoed by the response; grows. 0: only tells `commit`, not to be answered. */
      readonly round: number;
    }
  | { readonly type: 'heartbeatResponse'; readonly term: number; readonly round: number; readonly recovery: number }
  | {
      readonly type: 'installSnapshot';
      readonly term: number;
      /** The leader's log begins after this entry: a copy of the tables at or above it is needed. */
      readonly index: number;
      readonly indexTerm: number;
      readonly config: RaftConfig;
    }
  | { readonly type: 'timeoutNow'; readonly term: number }
  /** The receiver's damaged log is whole again; `recovery` as in its responses. */
  | { readonly type: 'recovered'; readonly term: number; readonly recovery: number };

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

export type RaftEffect =
  /** Write and sync, then step `persisted {id}`. `entries` overwrite the log from entries[0].index on: what was there and above is gone. */
  | { readonly type: 'persist'; readonly id: number; readonly hardState: HardState | undefined; readonly entries: readonly Entry[] }
  /** May be lost. The machine has already waited for whatever must be durable first. */
  | { readonly type: 'send'; readonly to: NodeId; readonly message: RaftMessage }
  /** `index`: the new commit index. Apply up to `applyTo`, which is min(commit index, durable on this node). Sent when either advances. */
  | { readonly type: 'commit'; readonly index: number; readonly applyTo: number }
  /** Role, term or leader changed. `leader` is '' while unknown. */
  | { readonly type: 'role'; readonly role: Role; readonly term: number; readonly leader: NodeId }
  /** A read is linearizable once `index` is applied. */
  | { readonly type: 'readable'; readonly token: number; readonly index: number }
  /** Not the leader, no longer the leader, or too many waiting. */
  | { readonly type: 'readFailed'; readonly token: number }
  /** Leader: `to` needs what the log no longer holds; offer it a copy of the tables, keep the log from here on, then step `snapshotStatus`. */
  | { readonly type: 'needSnapshot'; readonly to: NodeId }
  /**
   * Follower: the leader's log begins above this node's. Fetch a copy of the tables at or above
   * `index` (from `from`), make it durable in one step together with log base and configuration, then step
   * `snapshotInstalled`; or `snapshotAborted`. Until then the machine takes no entries and does not campaign.
   */
  | { readonly type: 'installSnapshot'; readonly from: NodeId; readonly index: number; readonly term: number; readonly config: RaftConfig }
  /** Entries [from, to] of this node's log were overwritten by another leader's: they can never be committed. */
  | { readonly type: 'proposalsDropped'; readonly from: number; readonly to: number }
  /** The configuration in force changed (appended, overwritten or installed; not yet committed). */
  | { readonly type: 'config'; readonly index: number; readonly config: RaftConfig }
  /** The damaged log is whole again: remove the mark from the disk. */
  | { readonly type: 'recovered' };

export type ProposeResult =
  /** The entries were appended at `index`, `index + 1`, … of `term`. Committed only if `commit` passes them in this term. */
  | { readonly ok: true; readonly index: number; readonly term: number }
  | { readonly ok: false; readonly reason: 'notLeader' | 'transferring' | 'tooMuchUncommitted' };

/** addLearner: a new member · promote: learner to voter · demote: voter to learner · remove: no member any more. */
export type ConfigChange = { readonly kind: 'addLearner' | 'promote' | 'demote' | 'remove'; readonly node: NodeId };

export type ChangeConfigResult =
  | { readonly ok: true; readonly index: number; readonly term: number }
  /** pending: an earlier change is not committed yet · notReady: nothing of this term is committed yet · invalid: makes no sense now. */
  | { readonly ok: false; readonly reason: 'notLeader' | 'transferring' | 'pending' | 'notReady' | 'invalid' };

export interface FollowerStatus {
  readonly id: NodeId;
  readonly voter: boolean;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly matchIndex: number;
  readonly nextIndex: number;
  readonly inflightMessages: number;
  readonly inflightBytes: number;
  /** When anything of this term was last heard of it. */
  readonly lastHeardAt: number;
  readonly recovering: boolean;
}

/** What a driver sees of the machine; `Raft` in raft.ts implements it. */
export interface RaftMachine {
  /** Decides. `now`: monotonic ms. Effects are appended to `effects`, which the caller owns. */
  step(input: RaftInput, now: number, effects: RaftEffect[]): void;
  /** Appends one entry per element: give everything of one turn in one call, it goes out as one batch. The bytes are kept: do not reuse them. */
  propose(data: readonly Uint8Array[], now: number, effects: RaftEffect[]): ProposeResult;
  changeConfig(change: ConfigChange, now: number, effects: RaftEffect[]): ChangeConfigResult;
  readonly id: NodeId;
  readonly role: Role;
  readonly term: number;
  /** '' while unknown. */
  readonly leader: NodeId;
  readonly commitIndex: number;
  readonly lastIndex: number;
  readonly durableIndex: number;
  /** min(commitIndex, durableIndex). */
  readonly applyTo: number;
  /** The log begins after this entry. */
  readonly baseIndex: number;
  readonly config: RaftConfig;
  /** The configuration in force at `index`, from the log's base on. */
  configAt(index: number): RaftConfig;
  /** The configuration in force is not committed yet. */
  readonly changePending: boolean;
  /** Index of the no-op of this node's leadership: applied state is complete once it is applied. 0 unless leader. */
  readonly termStartIndex: number;
  /** True when this leader has committed an entry of its own term. */
  readonly committedInTerm: boolean;
  /** Target of a leader transfer under way, '' when there is none. */
  readonly transferee: NodeId;
  readonly recovering: boolean;
  /** True between `installSnapshot` and `snapshotInstalled` or `snapshotAborted`. */
  readonly installing: boolean;
  readonly uncommittedBytes: number;
  /** When `tick` is due next, Infinity when never. */
  readonly nextTimerAt: number;
  /** Empty unless leader. */
  followers(): readonly FollowerStatus[];
  /** Entries [from, to) for apply, at least one, as many as fit into `maxBytes`; undefined when compacted. From memory or from the log source. */
  entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined;
  termOf(index: number): number | undefined;
}

// The state that all parts of the machine share, and the few operations that every part needs.
// `raft.ts` is the machine; election, replication, read-index and membership are functions over this.
import type { RaftLog } from './log.js';
import type { Progress } from './progress.js';
import type { Entry, HardState, RaftConfig, RaftEffect, RaftMessage, RaftOptions, RaftRole } from './types.js';

export interface HeldMessage {
  readonly persistId: number;
  readonly to: string;
  readonly message: RaftMessage;
}

export interface PersistUnderWay {
  readonly id: number;
  /** Last entry it carries (0: none) and that entry's term. */
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** Term in which it makes this node's own vote durable; 0: it does not. */
  readonly selfVoteTerm: number;
}

export interface PendingRead {
  readonly token: number;
  readonly context: number;
  readonly index: number;
}

export interface RaftState {
  readonly options: RaftOptions;
  readonly id: string;
  readonly log: RaftLog;
  role: RaftRole;
  term: number;
  votedFor: string;
  leader: string | undefined;
  commitIndex: number;
  recovering: boolean;
  /** Configuration in force: the last one in the log, committed or not. */
  config: RaftConfig;
  /** Configurations in the log above the base, oldest first, for truncation. */
  configs: { readonly index: number; readonly config: RaftConfig }[];
  baseConfig: RaftConfig;
  now: number;
  effects: RaftEffect[];
  // election
  electionDeadline: number;
  lastLeaderContact: number;
  /** Leader whose process is known dead: no stickiness towards it. */
  lostLeader: string | undefined;
  votes: Map<string, boolean>;
  // leader
  progress: Map<string, Progress>;
  heartbeatAt: number;
  quorumCheckAt: number;
  transferTo: string | undefined;
  transferDeadline: number;
  uncommittedBytes: number;
  termStartIndex: number;
  readContext: number;
  readAcks: Map<string, number>;
  pendingReads: PendingRead[];
  /** Reads that came before this leader committed an entry of its term. */
  earlyReads: number[];
  // persistence
  persistId: number;
  persists: PersistUnderWay[];
  held: HeldMessage[];
  dirtyHardState: boolean;
}

export function send(s: RaftState, to: string, message: RaftMessage): void {
  s.effects.push({ type: 'send', to, message });
}

/** Sends once everything persisted so far in this step is on disk; at once when nothing is under way. */
export function sendWhenPersisted(s: RaftState, to: string, message: RaftMessage): void {
  const last = s.persists[s.persists.length - 1];
  if (last === undefined) send(s, to, message);
  else s.held.push({ persistId: last.id, to, message });
}

export function hardState(s: RaftState): HardState {
  return { currentTerm: s.term, votedFor: s.votedFor };
}

/** One persist effect for what changed: call before messages that depend on it are held. */
export function persist(s: RaftState, entries: readonly Entry[], truncateFrom: number | undefined, selfVote: boolean): void {
  const last = entries[entries.length - 1];
  const id = ++s.persistId;
  s.persists.push({ id, lastIndex: last?.index ?? 0, lastTerm: last?.term ?? 0, selfVoteTerm: selfVote ? s.term : 0 });
  s.effects.push({ type: 'persist', id, hardState: s.dirtyHardState ? hardState(s) : undefined, truncateFrom, entries });
  s.dirtyHardState = false;
}

/** The hard state must be on disk before what follows depends on it. */
export function persistHardState(s: RaftState, selfVote: boolean = false): void {
  if (s.dirtyHardState || selfVote) persist(s, [], undefined, selfVote);
}

export function isVoter(s: RaftState, id: string): boolean {
  return s.config.voters.includes(id);
}

export function quorum(s: RaftState): number {
  return (s.config.voters.length >> 1) + 1;
}

export function announceRole(s: RaftState): void {
  s.effects.push({ type: 'role', role: s.role, term: s.term, leader: s.leader });
}

export function resetElectionDeadline(s: RaftState): void {
  const { electionTimeoutMinMs: min, electionTimeoutMaxMs: max } = s.options;
  s.electionDeadline = s.now + min + s.options.random() * (max - min);
}

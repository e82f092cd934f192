// The state that all parts of the machine work on, and its outbox: what a step wants to send now,
// what has to wait until something is durable, and what is to be persisted. Called by every part.
//
// Invariants: at most one persist effect per step, written in the order of ids; a message that
// vouches for something on disk leaves only when that is on disk, and only in the term it was made
// in; overwritten entries never become durable by an older persist (the ABA race).
import { assert } from '#base/assert.js';
import { Deque } from '#base/deque.js';
import { RaftLog } from './log.js';
import type { Progress } from './progress.js';
import type { NodeId, RaftConfig, RaftEffect, RaftMessage, RaftOptions, RaftRestored, Role } from './types.js';

/** The options with their defaults filled in. */
export type RaftSettings = Required<RaftOptions>;

export const raftDefaults: Omit<RaftSettings, 'id' | 'random' | 'source'> = {
  heartbeatMs: 150,
  alignHeartbeats: false,
  electionTimeoutMinMs: 1_000,
  electionTimeoutMaxMs: 2_000,
  lostLeaderDelayMinMs: 50,
  lostLeaderDelayMaxMs: 300,
  messageBytesMax: 1024 * 1024,
  messageEntriesMax: 1_024,
  inflightMessagesMax: 256,
  inflightBytesMax: 16 * 1024 * 1024,
  uncommittedBytesMax: 64 * 1024 * 1024,
  memoryBytesMax: 16 * 1024 * 1024,
  readsMax: 10_000,
  recovering: 0,
};

interface Held {
  readonly to: NodeId;
  readonly message: RaftMessage;
}

/** A persist effect that was not answered yet. */
interface PendingPersist {
  readonly id: number;
  /** Becomes durable with it; lowered when entries are overwritten meanwhile. */
  lastIndex: number;
  readonly hardState: boolean;
  /** The term in which this node's vote for itself counts once durable, 0 for none. */
  readonly ownVoteTerm: number;
  readonly held: Held[];
}

/** A linearizable read that waits for its round of heartbeats; `index` -1: for a commit in this term first. */
export interface WaitingRead {
  readonly token: number;
  readonly index: number;
  readonly round: number;
}

export class RaftState {
  readonly id: NodeId;
  readonly settings: RaftSettings;
  readonly log: RaftLog;
  role: Role = 'follower';
  term: number;
  votedFor: NodeId;
  leader: NodeId = '';
  commitIndex: number;
  /** In force: the last one in the log. */
  config: RaftConfig;
  baseConfig: RaftConfig;
  /** Config entries above the base, ascending. */
  configs: { readonly index: number; readonly config: RaftConfig }[] = [];
  recovery: number;
  installing = false;
  now = 0;
  effects: RaftEffect[] = [];

  // Follower and candidate.
  electionDeadline: number = Number.POSITIVE_INFINITY;
  lastLeaderContact: number = Number.NEGATIVE_INFINITY;
  /** The leader whose process is known to be dead, '' when none is. */
  lostLeader: NodeId = '';
  readonly votes: Map<NodeId, boolean> = new Map();

  // Leader.
  readonly progress: Map<NodeId, Progress> = new Map();
  termStartIndex = 0;
  heartbeatAt = 0;
  transferee: NodeId = '';
  transferDeadline = 0;
  uncommittedBytes = 0;
  readonly uncommitted: Deque<{ readonly lastIndex: number; readonly bytes: number }> = new Deque();
  round = 0;
  /** When the latest round of heartbeats went out for reads and is not confirmed yet. */
  readRoundOpen = false;
  reads: WaitingRead[] = [];

  // Outbox.
  readonly #pending: Deque<PendingPersist> = new Deque();
  #pendingHardStates = 0;
  #persistId = 0;
  #hardStateDirty = false;
  #ownVote = false;
  #freshFrom = 0;
  #held: Held[] = [];
  #commitTold: number;
  #applyTold: number;

  constructor(settings: RaftSettings, restored: RaftRestored) {
    this.id = settings.id;
    this.settings = settings;
    this.log = new RaftLog(settings.source, restored.base, restored.last, settings.memoryBytesMax);
    this.term = restored.hardState.currentTerm;
    this.votedFor = restored.hardState.votedFor;
    this.commitIndex = restored.commitIndex;
    this.baseConfig = restored.baseConfig;
    this.config = restored.baseConfig;
    this.recovery = settings.recovering;
    this.#commitTold = restored.commitIndex;
    this.#applyTold = restored.commitIndex;
    assert(restored.commitIndex >= restored.base.index && restored.commitIndex <= restored.last.index, 'raft: restored commit index outside the log');
    assert(restored.last.term <= this.term || restored.last.index === restored.base.index, 'raft: an entry of a term above the hard state');
  }

  get isVoter(): boolean {
    return this.config.voters.includes(this.id);
  }

  get applyTo(): number {
    return Math.min(this.commitIndex, this.log.durableIndex);
  }

  get committedInTerm(): boolean {
    return this.role === 'leader' && this.commitIndex >= this.termStartIndex;
  }

  random(min: number, max: number): number {
    return min + this.settings.random() * (max - min);
  }

  send(to: NodeId, message: RaftMessage): void {
    this.effects.push({ type: 'send', to, message });
  }

  /** Sends once this step's changes, and every earlier one that the message vouches for, are durable. */
  sendDurable(to: NodeId, message: RaftMessage): void {
    this.#held.push({ to, message });
  }

  setTerm(term: number): void {
    assert(term > this.term, 'raft: a term must grow');
    this.term = term;
    this.votedFor = '';
    this.#hardStateDirty = true;
  }

  setVote(votedFor: NodeId): void {
    assert(this.votedFor === '' || this.votedFor === votedFor, 'raft: second vote in a term');
    if (this.votedFor === votedFor) return;
    this.votedFor = votedFor;
    this.#hardStateDirty = true;
  }

  /** This node's vote for itself counts once it is durable. */
  voteForSelf(): void {
    this.setVote(this.id);
    this.#ownVote = true;
  }

  /** Entries from `index` on are new and go to disk at the end of the step. */
  noteFresh(index: number): void {
    if (this.#freshFrom === 0 || index < this.#freshFrom) this.#freshFrom = index;
  }

  /** Entries from `index` on are being overwritten: what older persists carry of them will never be durable. */
  clipPending(index: number): void {
    for (let i = 0; i < this.#pending.length; i++) {
      const pending = this.#pending.at(i) as PendingPersist;
      if (pending.lastIndex >= index) pending.lastIndex = index - 1;
    }
  }

  /** Answers persist effects up to `id`. Returns the term of an own vote that is durable now, or 0. */
  persisted(id: number): number {
    let ownVoteTerm = 0;
    for (let first = this.#pending.peek(); first !== undefined && first.id <= id; first = this.#pending.peek()) {
      this.#pending.shift();
      if (first.hardState) this.#pendingHardStates--;
      this.log.durableTo(Math.min(first.lastIndex, this.log.lastIndex));
      if (first.ownVoteTerm > 0) ownVoteTerm = first.ownVoteTerm;
      // In a later term nobody needs them, and dropping is always safe.
      for (const held of first.held) if (held.message.term === this.term) this.send(held.to, held.message);
    }
    return ownVoteTerm;
  }

  /** Ends a step: emits the persist effect, releases or attaches what was held, tells commit and apply. */
  finish(): void {
    if (this.#hardStateDirty || this.#freshFrom > 0) this.#persist();
    else if (this.#held.length > 0) this.#releaseOrAttach();
    const applyTo = this.applyTo;
    if (this.commitIndex > this.#commitTold || applyTo > this.#applyTold) {
      this.#commitTold = this.commitIndex;
      this.#applyTold = Math.max(applyTo, this.#applyTold);
      this.effects.push({ type: 'commit', index: this.commitIndex, applyTo });
    }
  }

  #persist(): void {
    const id = ++this.#persistId;
    const fresh = this.#freshFrom > 0;
    this.#pending.push({
      id,
      lastIndex: fresh ? this.log.lastIndex : 0,
      hardState: this.#hardStateDirty,
      ownVoteTerm: this.#ownVote ? this.term : 0,
      held: this.#held,
    });
    if (this.#hardStateDirty) this.#pendingHardStates++;
    this.effects.push({
      type: 'persist',
      id,
      hardState: this.#hardStateDirty ? { currentTerm: this.term, votedFor: this.votedFor } : undefined,
      entries: fresh ? this.log.fresh(this.#freshFrom) : [],
    });
    this.#hardStateDirty = false;
    this.#ownVote = false;
    this.#freshFrom = 0;
    this.#held = [];
  }

  #releaseOrAttach(): void {
    const held = this.#held;
    this.#held = [];
    const last = this.#pending.at(this.#pending.length - 1);
    for (const one of held) {
      if (last === undefined || this.#isDurable(one.message)) this.send(one.to, one.message);
      else last.held.push(one);
    }
  }

  #isDurable(message: RaftMessage): boolean {
    if (this.#pendingHardStates > 0) return false;
    return message.type !== 'appendResponse' || message.index <= this.log.durableIndex;
  }

  tellRole(): void {
    this.effects.push({ type: 'role', role: this.role, term: this.term, leader: this.leader });
  }
}

// The Raft machine: `step(input, now, effects)`. One per shard and core; its driver performs the
// effects in order. No I/O, no clock, no randomness but the injected one.
//
// Invariants: messages that vouch for this node's disk (votes, acknowledgements) leave only after
// the persist effect they depend on was answered; a leader counts itself only for what is on its
// own disk; the commit index never goes back.
import { assert } from '#base/assert.js';
import {
  campaign,
  checkQuorum,
  onRequestVote,
  onVoteResponse,
  peerLost,
  preCampaign,
  selfVotePersisted,
  stickToLeader,
  transferLeader,
} from './election.js';
import { RaftLog } from './log.js';
import { decodeConfig, isSingleChange, mayChangeConfig } from './membership.js';
import type { Progress } from './progress.js';
import { readIndex } from './read-index.js';
import {
  appendAsLeader,
  maybeCommit,
  onAppendEntries,
  onAppendResponse,
  onHeartbeat,
  onHeartbeatResponse,
  onInstallSnapshot,
} from './replication.js';
import { becomeFollower } from './role.js';
import { broadcastHeartbeat } from './sending.js';
import { isVoter, persistHardState, type RaftState, resetElectionDeadline, send, sendWhenPersisted } from './state.js';
import type { RaftConfig, RaftEffect, RaftInput, RaftMessage, RaftOptions, RaftRole, Restored } from './types.js';

export class Raft {
  readonly #s: RaftState;

  constructor(options: RaftOptions, restored: Restored, now: number) {
    const log = new RaftLog(restored.log);
    const commitIndex = Math.max(restored.commitIndex, log.firstIndex - 1);
    assert(commitIndex <= log.lastIndex, 'the log holds everything that is known committed');
    this.#s = {
      options,
      id: options.id,
      log,
      role: 'follower',
      term: restored.hardState.currentTerm,
      votedFor: restored.hardState.votedFor,
      leader: undefined,
      commitIndex,
      recovering: restored.recovering,
      config: restored.config,
      configs: [],
      baseConfig: restored.config,
      now,
      effects: [],
      electionDeadline: 0,
      lastLeaderContact: Number.NEGATIVE_INFINITY,
      lostLeader: undefined,
      votes: new Map(),
      progress: new Map(),
      heartbeatAt: 0,
      quorumCheckAt: 0,
      transferTo: undefined,
      transferDeadline: 0,
      uncommittedBytes: 0,
      termStartIndex: 0,
      readContext: 0,
      readAcks: new Map(),
      pendingReads: [],
      earlyReads: [],
      persistId: 0,
      persists: [],
      held: [],
      dirtyHardState: false,
    };
    this.#loadConfigs();
    resetElectionDeadline(this.#s);
  }

  #loadConfigs(): void {
    const s = this.#s;
    s.configs = [];
    for (let i = s.log.firstIndex; i <= s.log.lastIndex; ) {
      const entries = s.log.entries(i, s.log.lastIndex + 1, s.options.appendBytesMax);
      if (entries.length === 0) break;
      for (const e of entries) if (e.kind === 'config') s.configs.push({ index: e.index, config: decodeConfig(e.data) });
      i += entries.length;
    }
    s.config = s.configs[s.configs.length - 1]?.config ?? s.baseConfig;
  }

  // ---- status ----
  get id(): string {
    return this.#s.id;
  }
  get role(): RaftRole {
    return this.#s.role;
  }
  get term(): number {
    return this.#s.term;
  }
  get leader(): string | undefined {
    return this.#s.leader;
  }
  get commitIndex(): number {
    return this.#s.commitIndex;
  }
  get lastIndex(): number {
    return this.#s.log.lastIndex;
  }
  get persistedIndex(): number {
    return this.#s.log.persistedIndex;
  }
  get config(): RaftConfig {
    return this.#s.config;
  }
  get recovering(): boolean {
    return this.#s.recovering;
  }
  /** First index of this leader's term: its no-op. */
  get termStartIndex(): number {
    return this.#s.termStartIndex;
  }
  get votedFor(): string {
    return this.#s.votedFor;
  }
  progress(id: string): Readonly<Progress> | undefined {
    return this.#s.progress.get(id);
  }
  /** When `tick` has something to do next. */
  get nextTickAt(): number {
    const s = this.#s;
    return s.role === 'leader' ? Math.min(s.heartbeatAt, s.quorumCheckAt) : s.electionDeadline;
  }
  /** Term of an entry or of the log base; undefined outside the log. */
  termAt(index: number): number | undefined {
    return this.#s.log.term(index);
  }

  /** Performs one input; effects are appended to `effects`, to be performed in order. */
  step(input: RaftInput, now: number, effects: RaftEffect[]): void {
    const s = this.#s;
    s.now = now;
    s.effects = effects;
    switch (input.type) {
      case 'tick':
        this.#tick();
        break;
      case 'message':
        this.#message(input.from, input.message);
        break;
      case 'propose':
        this.#propose(input.data, input.kind ?? 'normal');
        break;
      case 'persisted':
        this.#persisted(input.id);
        break;
      case 'transferLeader':
        transferLeader(s, input.to);
        break;
      case 'readIndex':
        readIndex(s, input.token);
        break;
      case 'peerLost':
        peerLost(s, input.peer);
        break;
      case 'peerUnreachable': {
        const p = s.progress.get(input.peer);
        if (p !== undefined && p.state === 'replicate') p.become('probe');
        break;
      }
      case 'snapshotInstalled':
        this.#snapshotInstalled(input.index, input.term, input.config);
        break;
      case 'campaign':
        preCampaign(s);
        break;
    }
    // Whatever changed term or vote is on its way to the disk when the step ends.
    persistHardState(s);
  }

  #tick(): void {
    const s = this.#s;
    if (s.role !== 'leader') {
      if (s.now >= s.electionDeadline) {
        resetElectionDeadline(s);
        preCampaign(s);
      }
      return;
    }
    if (s.transferTo !== undefined && s.now >= s.transferDeadline) s.transferTo = undefined;
    if (s.now >= s.quorumCheckAt) checkQuorum(s);
    if (s.role === 'leader' && s.now >= s.heartbeatAt) {
      s.heartbeatAt = s.now + s.options.heartbeatMs;
      broadcastHeartbeat(s);
    }
  }

  #message(from: string, m: RaftMessage): void {
    const s = this.#s;
    if (m.type === 'requestVote' && stickToLeader(s, m)) return;
    if (m.term > s.term) {
      const fromLeader = m.type === 'appendEntries' || m.type === 'heartbeat' || m.type === 'installSnapshot';
      // A pre-vote asks about a term that nobody is in; a granted one answers about it.
      const hypothetical = (m.type === 'requestVote' && m.pre) || (m.type === 'voteResponse' && m.pre && m.granted);
      if (!hypothetical) becomeFollower(s, m.term, fromLeader ? from : undefined);
    } else if (m.term < s.term) return this.#old(from, m);
    switch (m.type) {
      case 'requestVote':
        return onRequestVote(s, from, m);
      case 'voteResponse':
        return onVoteResponse(s, from, m);
      case 'appendEntries':
        return onAppendEntries(s, from, m);
      case 'appendResponse':
        return onAppendResponse(s, from, m);
      case 'heartbeat':
        return onHeartbeat(s, from, m);
      case 'heartbeatResponse':
        return onHeartbeatResponse(s, from, m);
      case 'installSnapshot':
        return onInstallSnapshot(s, from, m);
      case 'timeoutNow':
        if (s.role === 'follower' && isVoter(s, s.id)) campaign(s, true);
        return;
    }
  }

  /** From an older term: only tell the sender of the newer one, so that an old leader or candidate steps down. */
  #old(from: string, m: RaftMessage): void {
    const s = this.#s;
    if (m.type === 'requestVote') {
      persistHardState(s);
      sendWhenPersisted(s, from, { type: 'voteResponse', pre: m.pre, granted: false, term: s.term });
    } else if (m.type === 'appendEntries' || m.type === 'heartbeat' || m.type === 'installSnapshot') {
      send(s, from, { type: 'appendResponse', term: s.term, success: false, index: 0, hintIndex: 0, hintTerm: 0, counts: !s.recovering });
    }
  }

  #propose(data: readonly Uint8Array[], kind: 'normal' | 'config'): void {
    const s = this.#s;
    const refuse = (why: 'not-leader' | 'transferring' | 'too-much-uncommitted' | 'config-pending'): void => {
      s.effects.push({ type: 'refused', why });
    };
    if (s.role !== 'leader') return refuse('not-leader');
    if (s.transferTo !== undefined) return refuse('transferring');
    let bytes = 0;
    for (const d of data) bytes += d.length;
    if (s.uncommittedBytes > 0 && s.uncommittedBytes + bytes > s.options.uncommittedBytesMax) return refuse('too-much-uncommitted');
    if (kind === 'config' && !(mayChangeConfig(s) && data.every((d) => isSingleChange(s.config, decodeConfig(d))))) return refuse('config-pending');
    // Announced first: the driver must know the index before a single-node group commits it.
    s.effects.push({ type: 'proposed', firstIndex: s.log.lastIndex + 1, term: s.term });
    appendAsLeader(s, data, kind);
  }

  #persisted(id: number): void {
    const s = this.#s;
    while (s.persists.length > 0 && (s.persists[0]?.id ?? Number.POSITIVE_INFINITY) <= id) {
      const p = s.persists.shift();
      if (p === undefined) break;
      if (p.lastIndex > 0) s.log.persisted(p.lastIndex, p.lastTerm);
      if (p.selfVoteTerm > 0) selfVotePersisted(s, p.selfVoteTerm);
    }
    const ready = s.held.filter((h) => h.persistId <= id);
    if (ready.length > 0) {
      s.held = s.held.filter((h) => h.persistId > id);
      for (const h of ready) send(s, h.to, h.message);
    }
    maybeCommit(s);
  }

  #snapshotInstalled(index: number, term: number, config: RaftConfig): void {
    const s = this.#s;
    if (index <= s.commitIndex) return;
    s.persists = s.persists.map((p) => ({ ...p, lastIndex: 0, lastTerm: 0 }));
    s.log.restore(index);
    assert(s.log.term(index) === term, 'snapshot: the log base has its term');
    s.baseConfig = config;
    this.#loadConfigs();
    s.commitIndex = index;
    s.effects.push({ type: 'commit', index });
    if (s.leader !== undefined && s.role === 'follower') {
      sendWhenPersisted(s, s.leader, {
        type: 'appendResponse',
        term: s.term,
        success: true,
        index,
        hintIndex: 0,
        hintTerm: 0,
        counts: !s.recovering,
      });
    }
  }
}

// The Raft machine of one shard on one core: the public class, the dispatch by input and by message,
// and the rules that hold for every message (terms). `db/core.ts` and the simulator step it; the parts
// (election, replication, …) work on its RaftState. No I/O, no clock, no randomness of its own.
//
// Invariants: see the parts; types.ts has the contract with the driver.
import { assert } from '#base/assert.js';
import { encodeConfig } from './codec.js';
import {
  campaign,
  checkQuorum,
  ignoresVoteRequest,
  isPromotable,
  onOwnVoteDurable,
  onPeerLost,
  onRequestVote,
  onVoteResponse,
  preCampaign,
} from './election.js';
import { onHeartbeat, onHeartbeatResponse } from './heartbeat.js';
import { changedConfig, compactConfigs, configAt, configIndex, loadConfigs } from './membership.js';
import { confirmReads, readIndex } from './read-index.js';
import { onRecovered } from './recovery.js';
import { maybeCommit, onAppend, onAppendResponse } from './replication.js';
import { becomeFollower, resetElectionDeadline } from './roles.js';
import { appendAsLeader, broadcastHeartbeat, sendEntries } from './sending.js';
import { onInstallSnapshot, onSnapshotInstalled, onSnapshotStatus } from './snapshot.js';
import { RaftState, raftDefaults } from './state.js';
import { abortLateTransfer, startTransfer } from './transfer.js';
import type {
  ChangeConfigResult,
  ConfigChange,
  Entry,
  FollowerStatus,
  NodeId,
  ProposeResult,
  RaftConfig,
  RaftEffect,
  RaftInput,
  RaftMachine,
  RaftMessage,
  RaftOptions,
  RaftRestored,
  Role,
} from './types.js';

/** Entries per call that `entries` hands out for apply. */
const applyEntriesMax = 4_096;

export class Raft implements RaftMachine {
  readonly #s: RaftState;

  /** `now`: monotonic ms, for the first election timeout. */
  constructor(options: RaftOptions, restored: RaftRestored, now: number) {
    const s = new RaftState({ ...raftDefaults, ...options }, restored);
    s.now = now;
    if (restored.configs === undefined) loadConfigs(s);
    else s.configs = [...restored.configs];
    s.config = s.configs[s.configs.length - 1]?.config ?? s.baseConfig;
    resetElectionDeadline(s);
    this.#s = s;
  }

  step(input: RaftInput, now: number, effects: RaftEffect[]): void {
    const s = this.#begin(now, effects);
    switch (input.type) {
      case 'tick':
        this.#tick();
        break;
      case 'message':
        this.#onMessage(input.from, input.message);
        break;
      case 'persisted':
        this.#onPersisted(input.id);
        break;
      case 'readIndex':
        readIndex(s, input.token);
        break;
      case 'transferLeader':
        startTransfer(s, input.to);
        break;
      case 'peerLost':
        this.#onUnreachable(input.peer);
        onPeerLost(s, input.peer);
        break;
      case 'peerUnreachable':
        this.#onUnreachable(input.peer);
        break;
      case 'peerReachable':
        this.#onReachable(input.peer);
        break;
      case 'snapshotStatus':
        onSnapshotStatus(s, input.to);
        break;
      case 'snapshotInstalled':
        onSnapshotInstalled(s, input);
        break;
      case 'snapshotAborted':
        s.installing = false;
        break;
      case 'compacted':
        assert(input.index <= s.applyTo, 'raft: compacted beyond what may be applied');
        compactConfigs(s, input.index);
        s.log.compact(input.index);
        break;
      case 'campaign':
        preCampaign(s);
        break;
    }
    s.finish();
  }

  propose(data: readonly Uint8Array[], now: number, effects: RaftEffect[]): ProposeResult {
    assert(data.length > 0, 'raft: nothing proposed');
    const s = this.#begin(now, effects);
    if (s.role !== 'leader') return { ok: false, reason: 'notLeader' };
    if (s.transferee !== '') return { ok: false, reason: 'transferring' };
    let bytes = 0;
    for (const one of data) bytes += one.length;
    if (s.uncommittedBytes > 0 && s.uncommittedBytes + bytes > s.settings.uncommittedBytesMax) return { ok: false, reason: 'tooMuchUncommitted' };
    const index = appendAsLeader(s, 'normal', data);
    s.finish();
    return { ok: true, index, term: s.term };
  }

  changeConfig(change: ConfigChange, now: number, effects: RaftEffect[]): ChangeConfigResult {
    const s = this.#begin(now, effects);
    if (s.role !== 'leader') return { ok: false, reason: 'notLeader' };
    if (s.transferee !== '') return { ok: false, reason: 'transferring' };
    if (!s.committedInTerm) return { ok: false, reason: 'notReady' };
    if (configIndex(s) > s.commitIndex) return { ok: false, reason: 'pending' };
    const config = changedConfig(s.config, change);
    if (config === undefined) return { ok: false, reason: 'invalid' };
    const term = s.term;
    const index = appendAsLeader(s, 'config', [encodeConfig(config)]);
    // A smaller group may need fewer acknowledgements, and fewer answers; perhaps none is on its way any more.
    maybeCommit(s);
    confirmReads(s);
    s.finish();
    return { ok: true, index, term };
  }

  #begin(now: number, effects: RaftEffect[]): RaftState {
    const s = this.#s;
    s.now = now;
    s.effects = effects;
    return s;
  }

  #tick(): void {
    const s = this.#s;
    if (s.role !== 'leader') {
      if (s.now < s.electionDeadline) return;
      if (isPromotable(s)) preCampaign(s);
      // A learner, or one that was removed, if it is ticked: it only knows that nobody leads it any more.
      else if (s.leader !== '') becomeFollower(s, s.term, '');
      return;
    }
    abortLateTransfer(s);
    checkQuorum(s);
    // checkQuorum may have ended the leadership.
    if (this.role === 'leader' && s.now >= s.heartbeatAt) broadcastHeartbeat(s);
  }

  #onPersisted(id: number): void {
    const s = this.#s;
    const ownVoteTerm = s.persisted(id);
    if (ownVoteTerm > 0) onOwnVoteDurable(s, ownVoteTerm);
    maybeCommit(s);
  }

  #onUnreachable(peer: NodeId): void {
    const p = this.#s.progress.get(peer);
    if (p === undefined || p.state === 'snapshot') return;
    p.becomeProbe(p.matchIndex + 1);
    p.paused = true;
  }

  #onReachable(peer: NodeId): void {
    const p = this.#s.progress.get(peer);
    if (p === undefined || p.state !== 'probe') return;
    p.paused = false;
    sendEntries(this.#s, peer, p);
  }

  /** The rules for terms (paper 5.1), then the message itself. */
  #onMessage(from: NodeId, m: RaftMessage): void {
    const s = this.#s;
    if (from === s.id || (m.type === 'requestVote' && ignoresVoteRequest(s, m))) return;
    if (m.term < s.term) {
      this.#onStale(from, m);
      return;
    }
    if (m.term > s.term) {
      // PreVote speaks of a term that nobody is in yet.
      const hypothetical = (m.type === 'requestVote' && m.preVote) || (m.type === 'voteResponse' && m.preVote && m.granted);
      const leads = m.type === 'append' || m.type === 'heartbeat' || m.type === 'installSnapshot';
      if (!hypothetical) becomeFollower(s, m.term, leads ? from : '');
    }
    switch (m.type) {
      case 'requestVote':
        onRequestVote(s, from, m);
        break;
      case 'voteResponse':
        onVoteResponse(s, from, m);
        break;
      case 'append':
        onAppend(s, from, m);
        break;
      case 'appendResponse':
        onAppendResponse(s, from, m);
        break;
      case 'heartbeat':
        onHeartbeat(s, from, m);
        break;
      case 'heartbeatResponse':
        onHeartbeatResponse(s, from, m);
        break;
      case 'installSnapshot':
        onInstallSnapshot(s, from, m);
        break;
      case 'timeoutNow':
        if (s.role === 'follower' && s.leader === from) campaign(s, true);
        break;
      case 'recovered':
        onRecovered(s, from, m);
        break;
    }
  }

  /** From an older term: tell a leader or candidate of it, so that it gives way; the rest is void. */
  #onStale(from: NodeId, m: RaftMessage): void {
    const s = this.#s;
    if (m.type === 'append' || m.type === 'heartbeat' || m.type === 'installSnapshot') {
      s.send(from, { type: 'appendResponse', term: s.term, stream: 0, rejected: true, index: 0, hintIndex: 0, hintTerm: 0, recovery: s.recovery });
    } else if (m.type === 'requestVote') {
      s.send(from, { type: 'voteResponse', term: s.term, preVote: m.preVote, granted: false });
    }
  }

  get id(): NodeId {
    return this.#s.id;
  }
  get role(): Role {
    return this.#s.role;
  }
  get term(): number {
    return this.#s.term;
  }
  get votedFor(): NodeId {
    return this.#s.votedFor;
  }
  get leader(): NodeId {
    return this.#s.leader;
  }
  get commitIndex(): number {
    return this.#s.commitIndex;
  }
  get lastIndex(): number {
    return this.#s.log.lastIndex;
  }
  get durableIndex(): number {
    return this.#s.log.durableIndex;
  }
  get applyTo(): number {
    return this.#s.applyTo;
  }
  get baseIndex(): number {
    return this.#s.log.baseIndex;
  }
  get config(): RaftConfig {
    return this.#s.config;
  }
  configAt(index: number): RaftConfig {
    return configAt(this.#s, index);
  }
  get changePending(): boolean {
    return configIndex(this.#s) > this.#s.commitIndex;
  }
  get termStartIndex(): number {
    return this.#s.termStartIndex;
  }
  get committedInTerm(): boolean {
    return this.#s.committedInTerm;
  }
  get transferee(): NodeId {
    return this.#s.transferee;
  }
  get recovering(): boolean {
    return this.#s.recovery !== 0;
  }
  get installing(): boolean {
    return this.#s.installing;
  }
  get uncommittedBytes(): number {
    return this.#s.uncommittedBytes;
  }

  get nextTimerAt(): number {
    const s = this.#s;
    if (s.role === 'leader') return s.transferee === '' ? s.heartbeatAt : Math.min(s.heartbeatAt, s.transferDeadline);
    return isPromotable(s) ? s.electionDeadline : Number.POSITIVE_INFINITY;
  }

  followers(): readonly FollowerStatus[] {
    const s = this.#s;
    return [...s.progress].map(([id, p]) => ({
      id,
      voter: s.config.voters.includes(id),
      state: p.state,
      matchIndex: p.matchIndex,
      nextIndex: p.nextIndex,
      inflightMessages: p.inflightMessages,
      inflightBytes: p.inflightBytes,
      lastHeardAt: p.lastHeardAt,
      recovering: p.recovery !== 0,
    }));
  }

  entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined {
    return this.#s.log.entries(from, to, maxBytes, applyEntriesMax);
  }

  termOf(index: number): number | undefined {
    return this.#s.log.term(index);
  }
}

// Elections: PreVote, votes, CheckQuorum, leader stickiness, leadership transfer (Raft paper 5.2,
// 5.4.1; dissertation 3.10, 4.2.3, 9.6).
import { Progress } from './progress.js';
import { appendAsLeader, maybeCommit } from './replication.js';
import { becomeFollower } from './role.js';
import { broadcastHeartbeat, maybeFinishTransfer } from './sending.js';
import { announceRole, isVoter, persistHardState, quorum, type RaftState, resetElectionDeadline, send, sendWhenPersisted } from './state.js';
import type { RaftMessage } from './types.js';

export type RequestVote = Extract<RaftMessage, { type: 'requestVote' }>;
export type VoteResponse = Extract<RaftMessage, { type: 'voteResponse' }>;

function mayCampaign(s: RaftState): boolean {
  return s.role !== 'leader' && !s.recovering && isVoter(s, s.id);
}

/** Asks whether an election could be won, without disturbing anybody (dissertation 9.6). */
export function preCampaign(s: RaftState): void {
  if (!mayCampaign(s)) return;
  s.role = 'pre-candidate';
  s.leader = undefined;
  s.votes.clear();
  s.votes.set(s.id, true);
  resetElectionDeadline(s);
  announceRole(s);
  if (wonVotes(s)) return campaign(s, false);
  requestVotes(s, true, false);
}

export function campaign(s: RaftState, transfer: boolean): void {
  if (!mayCampaign(s)) return;
  s.role = 'candidate';
  s.leader = undefined;
  s.term++;
  s.votedFor = s.id;
  s.dirtyHardState = true;
  s.held.length = 0;
  s.votes.clear();
  resetElectionDeadline(s);
  announceRole(s);
  // The own vote counts, and the others are asked, once it is on disk: a candidate that forgets its
  // term in a crash could otherwise win the same term twice.
  persistHardState(s, true);
  requestVotes(s, false, transfer);
}

function requestVotes(s: RaftState, pre: boolean, transfer: boolean): void {
  const message: RequestVote = {
    type: 'requestVote',
    term: pre ? s.term + 1 : s.term,
    pre,
    transfer,
    lastLogIndex: s.log.lastIndex,
    lastLogTerm: s.log.lastTerm,
  };
  for (const to of s.config.voters) {
    if (to === s.id) continue;
    if (pre) send(s, to, message);
    else sendWhenPersisted(s, to, message);
  }
}

/** The own vote of `term` is on disk. */
export function selfVotePersisted(s: RaftState, term: number): void {
  if (s.role !== 'candidate' || s.term !== term) return;
  s.votes.set(s.id, true);
  if (wonVotes(s)) becomeLeader(s);
}

function wonVotes(s: RaftState): boolean {
  let granted = 0;
  for (const v of s.config.voters) if (s.votes.get(v) === true) granted++;
  return granted >= quorum(s);
}

function lostVotes(s: RaftState): boolean {
  let refused = 0;
  for (const v of s.config.voters) if (s.votes.get(v) === false) refused++;
  return refused > s.config.voters.length - quorum(s);
}

/** Whether a leader was heard of so lately that no election should disturb it. */
function leaderIsAlive(s: RaftState): boolean {
  if (s.role === 'leader') return true;
  return s.leader !== undefined && s.leader !== s.lostLeader && s.now - s.lastLeaderContact < s.options.electionTimeoutMinMs;
}

/** True when the request must be left unanswered, its higher term included. */
export function stickToLeader(s: RaftState, m: RequestVote): boolean {
  return !m.transfer && m.term > s.term && leaderIsAlive(s);
}

export function onRequestVote(s: RaftState, from: string, m: RequestVote): void {
  if (s.recovering) return;
  const upToDate = s.log.isUpToDate(m.lastLogIndex, m.lastLogTerm);
  if (m.pre) {
    const granted = m.term > s.term && upToDate;
    send(s, from, { type: 'voteResponse', pre: true, granted, term: granted ? m.term : s.term });
    return;
  }
  const free = s.votedFor === '' || s.votedFor === from;
  const granted = m.term === s.term && free && upToDate && s.role !== 'leader';
  if (granted) {
    if (s.votedFor !== from) {
      s.votedFor = from;
      s.dirtyHardState = true;
    }
    resetElectionDeadline(s);
  }
  persistHardState(s);
  sendWhenPersisted(s, from, { type: 'voteResponse', pre: false, granted, term: s.term });
}

export function onVoteResponse(s: RaftState, from: string, m: VoteResponse): void {
  if (!isVoter(s, from)) return;
  if (m.pre) {
    if (s.role !== 'pre-candidate' || (m.granted && m.term !== s.term + 1)) return;
    s.votes.set(from, m.granted);
    if (wonVotes(s)) campaign(s, false);
    else if (lostVotes(s)) becomeFollower(s, s.term, undefined);
    return;
  }
  if (s.role !== 'candidate' || m.term !== s.term) return;
  s.votes.set(from, m.granted);
  if (wonVotes(s)) becomeLeader(s);
  else if (lostVotes(s)) becomeFollower(s, s.term, undefined);
}

function becomeLeader(s: RaftState): void {
  s.role = 'leader';
  s.leader = s.id;
  s.lostLeader = undefined;
  s.progress.clear();
  for (const id of [...s.config.voters, ...s.config.learners]) if (id !== s.id) s.progress.set(id, new Progress(s.log.lastIndex + 1));
  s.heartbeatAt = s.now + s.options.heartbeatMs;
  s.quorumCheckAt = s.now + s.options.electionTimeoutMinMs;
  s.transferTo = undefined;
  s.uncommittedBytes = 0;
  s.termStartIndex = s.log.lastIndex + 1;
  announceRole(s);
  appendAsLeader(s, [new Uint8Array(0)], 'noop');
  broadcastHeartbeat(s);
  maybeCommit(s);
}

/** A leader that has not heard from a quorum for an election timeout steps down. */
export function checkQuorum(s: RaftState): void {
  s.quorumCheckAt = s.now + s.options.electionTimeoutMinMs;
  let active = isVoter(s, s.id) ? 1 : 0;
  for (const v of s.config.voters) {
    const p = s.progress.get(v);
    if (p === undefined) continue;
    if (p.recentActive) active++;
    p.recentActive = false;
  }
  if (active < quorum(s)) becomeFollower(s, s.term, undefined);
}

export function transferLeader(s: RaftState, to: string): void {
  const p = s.progress.get(to);
  if (s.role !== 'leader' || p === undefined || !isVoter(s, to) || to === s.transferTo) return;
  s.transferTo = to;
  s.transferDeadline = s.now + s.options.electionTimeoutMinMs;
  maybeFinishTransfer(s, to, p);
}

/** The peer's process is known dead: no need to wait for the long timeout. */
export function peerLost(s: RaftState, peer: string): void {
  const p = s.progress.get(peer);
  if (p !== undefined && p.state === 'replicate') p.become('probe');
  if (s.role === 'leader' || s.leader !== peer) return;
  s.lostLeader = peer;
  const { lostLeaderTimeoutMinMs: min, lostLeaderTimeoutMaxMs: max } = s.options;
  s.electionDeadline = Math.min(s.electionDeadline, s.now + min + s.options.random() * (max - min));
}

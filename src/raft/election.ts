// Elections: PreVote, votes, leader stickiness, CheckQuorum (dissertation 3.4, 6.2, 9.6; paper 5.2).
// Called by raft.
//
// Invariants: one vote per term, on disk before it is answered, the own one included; a vote only for
// a log at least as complete as the voter's; PreVote changes nothing on any disk and no term.

import { trackMembers } from './membership.js';
import { majorityValue, voteOutcome } from './quorum.js';
import { becomeFollower, resetElectionDeadline } from './roles.js';
import { appendAsLeader, scheduleHeartbeat } from './sending.js';
import type { RaftState } from './state.js';
import type { NodeId, RaftMessage } from './types.js';

type RequestVote = Extract<RaftMessage, { type: 'requestVote' }>;
type VoteResponse = Extract<RaftMessage, { type: 'voteResponse' }>;

/** Learners, removed members, damaged logs and half-installed copies do not campaign. */
export function isPromotable(s: RaftState): boolean {
  return s.role !== 'leader' && s.recovery === 0 && !s.installing && s.isVoter;
}

/** Asks whether an election could be won, without disturbing anybody. */
export function preCampaign(s: RaftState): void {
  if (!isPromotable(s)) return;
  s.role = 'preCandidate';
  s.leader = '';
  s.votes.clear();
  setRetry(s, 1);
  s.tellRole();
  s.votes.set(s.id, true);
  if (voteOutcome(s.config.voters, s.votes) === 'won') {
    campaign(s, false);
    return;
  }
  for (const to of s.config.voters) {
    if (to !== s.id) s.send(to, requestVote(s, s.term + 1, true, false));
  }
}

/** Starts a real election. Requests leave once term and own vote are durable: a node that forgets having asked could be answered twice. */
export function campaign(s: RaftState, transfer: boolean): void {
  if (!isPromotable(s)) return;
  s.setTerm(s.term + 1);
  s.role = 'candidate';
  s.leader = '';
  s.votes.clear();
  setRetry(s, 2);
  s.voteForSelf();
  s.tellRole();
  for (const to of s.config.voters) {
    if (to !== s.id) s.sendDurable(to, requestVote(s, s.term, false, transfer));
  }
}

function requestVote(s: RaftState, term: number, preVote: boolean, transfer: boolean): RequestVote {
  return { type: 'requestVote', term, preVote, lastIndex: s.log.lastIndex, lastTerm: s.log.lastTerm, transfer };
}

/** When the leader is known dead nobody waits out the long timeout after a split or too early attempt. */
function setRetry(s: RaftState, factor: number): void {
  if (s.lostLeader === '') {
    resetElectionDeadline(s);
    return;
  }
  const max = s.settings.lostLeaderDelayMaxMs;
  s.electionDeadline = s.now + s.random(factor * max, 2 * factor * max);
}

/** The own vote of `term` is on disk. */
export function onOwnVoteDurable(s: RaftState, term: number): void {
  if (s.role !== 'candidate' || s.term !== term) return;
  s.votes.set(s.id, true);
  concludeElection(s);
}

/** A leader was heard within the minimum election timeout, and its process is not known to be dead. */
function hasLiveLeader(s: RaftState): boolean {
  if (s.role === 'leader') return true;
  if (s.leader === '' || s.leader === s.lostLeader) return false;
  return s.now - s.lastLeaderContact < s.settings.electionTimeoutMinMs;
}

/** True when the request must be left unanswered, its term unread (leader stickiness). */
export function ignoresVoteRequest(s: RaftState, m: RequestVote): boolean {
  if (s.recovery !== 0) return true;
  return m.term > s.term && !m.transfer && hasLiveLeader(s);
}

/** In the current term, or a PreVote for a later one. */
export function onRequestVote(s: RaftState, from: NodeId, m: RequestVote): void {
  const upToDate = s.log.isUpToDate(m.lastIndex, m.lastTerm);
  if (m.preVote) {
    const granted = m.term > s.term && upToDate;
    s.send(from, { type: 'voteResponse', term: granted ? m.term : s.term, preVote: true, granted });
    return;
  }
  const free = s.votedFor === from || (s.votedFor === '' && s.leader === '');
  if (!free || !upToDate) {
    s.send(from, { type: 'voteResponse', term: s.term, preVote: false, granted: false });
    return;
  }
  s.setVote(from);
  if (s.role !== 'follower') becomeFollower(s, s.term, '');
  else resetElectionDeadline(s);
  s.sendDurable(from, { type: 'voteResponse', term: s.term, preVote: false, granted: true });
}

export function onVoteResponse(s: RaftState, from: NodeId, m: VoteResponse): void {
  if (m.preVote ? s.role !== 'preCandidate' : s.role !== 'candidate') return;
  if (m.term !== (m.preVote && m.granted ? s.term + 1 : s.term)) return;
  // The first answer counts; repeated ones are the same answer.
  if (!s.votes.has(from)) s.votes.set(from, m.granted);
  concludeElection(s);
}

function concludeElection(s: RaftState): void {
  const outcome = voteOutcome(s.config.voters, s.votes);
  if (outcome === 'open') return;
  if (outcome === 'lost') becomeFollower(s, s.term, '');
  else if (s.role === 'preCandidate') campaign(s, false);
  else becomeLeader(s);
}

function becomeLeader(s: RaftState): void {
  s.role = 'leader';
  s.leader = s.id;
  s.lostLeader = '';
  s.votes.clear();
  s.progress.clear();
  trackMembers(s);
  s.round = 0;
  scheduleHeartbeat(s);
  s.termStartIndex = s.log.lastIndex + 1;
  s.tellRole();
  // Commits, indirectly, everything before it (paper 5.4.2), and tells the members who leads.
  appendAsLeader(s, 'noop', [new Uint8Array(0)]);
}

/** A leader that no majority has answered for an election timeout steps down (dissertation 6.2). */
export function checkQuorum(s: RaftState): void {
  const heardAt = majorityValue(s.config.voters, (id) => {
    if (id === s.id) return s.now;
    const p = s.progress.get(id);
    return p?.counts === true ? p.lastHeardAt : Number.NEGATIVE_INFINITY;
  });
  if (s.now - heardAt > s.settings.electionTimeoutMaxMs) becomeFollower(s, s.term, '');
}

/** The peer's process is dead. If it leads, somebody else should, soon. */
export function onPeerLost(s: RaftState, peer: NodeId): void {
  if (s.role === 'leader' || s.leader !== peer || s.lostLeader === peer) return;
  s.lostLeader = peer;
  const soon = s.now + s.random(s.settings.lostLeaderDelayMinMs, s.settings.lostLeaderDelayMaxMs);
  if (soon < s.electionDeadline) s.electionDeadline = soon;
}

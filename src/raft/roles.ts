// Becoming a follower, and hearing from the leader: what every part may have to do. The other
// changes of role are in election.ts.
import { assert } from '#base/assert.js';
import type { RaftState } from './state.js';
import type { NodeId } from './types.js';

/** Follower of `leader` ('' while unknown) in `term`, which is this one or a later one. */
export function becomeFollower(s: RaftState, term: number, leader: NodeId): void {
  const changed = s.role !== 'follower' || s.term !== term || s.leader !== leader;
  if (s.role === 'leader') leaveLeadership(s);
  if (term !== s.term) s.setTerm(term);
  s.role = 'follower';
  s.leader = leader;
  s.votes.clear();
  resetElectionDeadline(s);
  if (changed) s.tellRole();
}

function leaveLeadership(s: RaftState): void {
  for (const read of s.reads) s.effects.push({ type: 'readFailed', token: read.token });
  s.reads = [];
  s.readRoundOpen = false;
  s.progress.clear();
  s.uncommitted.clear();
  s.uncommittedBytes = 0;
  s.transferee = '';
  s.termStartIndex = 0;
}

/** A message of this term's leader came in. */
export function hearLeader(s: RaftState, from: NodeId): void {
  assert(s.role !== 'leader', 'raft: two leaders in one term');
  s.lastLeaderContact = s.now;
  s.lostLeader = '';
  if (s.role !== 'follower' || s.leader !== from) becomeFollower(s, s.term, from);
  else resetElectionDeadline(s);
}

export function resetElectionDeadline(s: RaftState): void {
  s.electionDeadline = s.now + s.random(s.settings.electionTimeoutMinMs, s.settings.electionTimeoutMaxMs);
}

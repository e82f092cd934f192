// Becoming a follower: the one change of role that every part of the machine can bring about.
import { announceRole, type RaftState, resetElectionDeadline } from './state.js';

/** Follower of `leader` (if known) in `term`. A higher term forgets the vote and everything that waited for the old one. */
export function becomeFollower(s: RaftState, term: number, leader: string | undefined): void {
  const changed = s.role !== 'follower' || s.term !== term || s.leader !== leader;
  if (term > s.term) {
    s.term = term;
    s.votedFor = '';
    s.dirtyHardState = true;
    // Answers given in an older term must not count in it any more: what they vouched for may be overruled.
    s.held.length = 0;
  }
  s.role = 'follower';
  s.leader = leader;
  s.progress.clear();
  s.votes.clear();
  s.transferTo = undefined;
  failReads(s);
  resetElectionDeadline(s);
  if (changed) announceRole(s);
}

export function failReads(s: RaftState): void {
  for (const r of s.pendingReads) s.effects.push({ type: 'readFailed', token: r.token });
  for (const token of s.earlyReads) s.effects.push({ type: 'readFailed', token });
  s.pendingReads = [];
  s.earlyReads = [];
  s.readAcks.clear();
}

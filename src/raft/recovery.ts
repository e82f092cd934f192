// A member whose log was damaged. It has forgotten entries, perhaps votes, that others rely on, so it
// neither votes nor counts until a leader has made sure that nothing depends on what it forgot.
//
// When the leader first hears of it, it appends a no-op. Once that is committed by the others alone
// and also held by the member, everything that was or could have been committed with the member's
// help before the damage is in its log again: a leader elected without it holds all of that, whatever
// it had acknowledged in this term lies below the no-op, and a majority without it has confirmed this
// leader since. `recovery` is a number drawn at each start, so a second damage is not mistaken for the first.
import type { Progress } from './progress.js';
import { appendAsLeader } from './sending.js';
import type { RaftState } from './state.js';
import type { NodeId, RaftMessage } from './types.js';

/** Leader: looks at the mark of a response. False when the response must be ignored. */
export function noteRecovery(s: RaftState, from: NodeId, p: Progress, recovery: number): boolean {
  // Unmarked while we wait for a repair: from before the damage.
  if (recovery === 0) return p.recovery === 0;
  if (recovery === p.releasedRecovery) {
    // Late, or our word did not arrive. While a later damage is being repaired it is certainly late.
    if (p.recovery !== 0) return false;
    s.send(from, { type: 'recovered', term: s.term, recovery });
    return true;
  }
  if (p.recovery !== recovery) {
    p.recovery = recovery;
    p.markedRound = s.round;
    // It may have lost what it had acknowledged.
    p.matchIndex = 0;
    p.round = 0;
    p.becomeProbe(p.nextIndex);
    p.recoverAt = appendAsLeader(s, 'noop', [new Uint8Array(0)]);
  }
  return true;
}

/**
 * Leader: the member answered a heartbeat that was sent after its mark was noted. Unmarked, it has been
 * repaired since: the mark had come late, from an earlier damage.
 */
export function forgetLateMark(p: Progress, recovery: number, round: number): void {
  if (recovery !== 0 || p.recovery === 0 || round <= p.markedRound) return;
  p.releasedRecovery = p.recovery;
  p.recovery = 0;
}

/** Leader: the member holds the entry, and the others have committed it: it counts again. */
export function releaseRecovered(s: RaftState, from: NodeId, p: Progress): void {
  if (p.recovery === 0 || p.matchIndex < p.recoverAt || s.commitIndex < p.recoverAt) return;
  s.send(from, { type: 'recovered', term: s.term, recovery: p.recovery });
  p.releasedRecovery = p.recovery;
  p.recovery = 0;
}

/** Member: the leader has brought it up. */
export function onRecovered(s: RaftState, from: NodeId, m: Extract<RaftMessage, { type: 'recovered' }>): void {
  if (s.recovery === 0 || m.recovery !== s.recovery || s.leader !== from) return;
  s.recovery = 0;
  // It may have voted in this term and forgotten it: the leader of the term is a safe vote to remember.
  if (s.votedFor === '') s.setVote(from);
  s.effects.push({ type: 'recovered' });
}

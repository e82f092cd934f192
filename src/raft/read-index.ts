// Linearizable reads without a log entry (dissertation 6.4): remember the commit index, make sure by
// a round of heartbeats begun afterwards that no other leader has taken over, then answer. Reads that
// come while a round is under way share the next one. Called by heartbeat, replication and raft.
//
// Invariant: a read is answered only with a commit index taken after this leader had committed an
// entry of its own term, and only by a round that began after the read came.
import { majorityValue } from './quorum.js';
import { broadcastHeartbeat } from './sending.js';
import type { RaftState, WaitingRead } from './state.js';

export function readIndex(s: RaftState, token: number): void {
  if (s.role !== 'leader' || s.reads.length >= s.settings.readsMax) {
    s.effects.push({ type: 'readFailed', token });
    return;
  }
  s.reads.push({ token, index: s.committedInTerm ? s.commitIndex : -1, round: s.round + 1 });
  if (s.committedInTerm) startReadRound(s);
}

/** The first commit of this term: reads that waited for it take its index and need a round from now. */
export function startWaitingReads(s: RaftState): void {
  if (s.reads.length === 0) return;
  s.reads = s.reads.map((read) => ({ token: read.token, index: s.commitIndex, round: s.round + 1 }));
  startReadRound(s);
}

/** One round at a time; the next one starts when this one is confirmed, or with the next heartbeat. */
export function startReadRound(s: RaftState): void {
  if (s.readRoundOpen) return;
  s.readRoundOpen = true;
  broadcastHeartbeat(s);
  confirmReads(s);
}

/** Answers the reads whose round a majority has confirmed. */
export function confirmReads(s: RaftState): void {
  if (s.reads.length === 0 || !s.committedInTerm) return;
  const confirmed = majorityValue(s.config.voters, (id) => {
    if (id === s.id) return s.round;
    const p = s.progress.get(id);
    return p?.counts === true ? p.round : 0;
  });
  const waiting: WaitingRead[] = [];
  for (const read of s.reads) {
    if (read.round <= confirmed) s.effects.push({ type: 'readable', token: read.token, index: read.index });
    else waiting.push(read);
  }
  if (waiting.length === s.reads.length) return;
  s.reads = waiting;
  s.readRoundOpen = false;
  if (waiting.length > 0) startReadRound(s);
}

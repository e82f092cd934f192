// Linearizable reads without a log entry: ReadIndex (dissertation 6.4). A read is answered with the
// commit index at its arrival once a round of heartbeats that began after it confirms the leader.
import { broadcastHeartbeat } from './sending.js';
import { isVoter, quorum, type RaftState } from './state.js';

/** Reads that wait for this leader, at most. */
const pendingReadsMax = 10_000;

export function readIndex(s: RaftState, token: number): void {
  if (s.role !== 'leader' || s.pendingReads.length + s.earlyReads.length >= pendingReadsMax) {
    s.effects.push({ type: 'readFailed', token });
    return;
  }
  if (s.commitIndex < s.termStartIndex) {
    s.earlyReads.push(token);
    return;
  }
  begin(s, [token]);
}

function begin(s: RaftState, tokens: readonly number[]): void {
  if (quorum(s) === 1 && isVoter(s, s.id)) {
    for (const token of tokens) s.effects.push({ type: 'readable', token, index: s.commitIndex });
    return;
  }
  const context = ++s.readContext;
  for (const token of tokens) s.pendingReads.push({ token, context, index: s.commitIndex });
  broadcastHeartbeat(s);
}

/** This leader has committed an entry of its term: its commit index is the truth from now on. */
export function releaseEarlyReads(s: RaftState): void {
  if (s.earlyReads.length === 0) return;
  const tokens = s.earlyReads;
  s.earlyReads = [];
  begin(s, tokens);
}

export function onReadContextAcked(s: RaftState, from: string, context: number): void {
  if (!isVoter(s, from) || s.pendingReads.length === 0) return;
  s.readAcks.set(from, Math.max(context, s.readAcks.get(from) ?? 0));
  const acked: number[] = [];
  for (const v of s.config.voters) acked.push(v === s.id ? s.readContext : (s.readAcks.get(v) ?? 0));
  acked.sort((a, b) => b - a);
  const confirmed = acked[quorum(s) - 1] ?? 0;
  while (s.pendingReads.length > 0 && (s.pendingReads[0]?.context ?? 0) <= confirmed) {
    const read = s.pendingReads.shift();
    if (read !== undefined) s.effects.push({ type: 'readable', token: read.token, index: read.index });
  }
}

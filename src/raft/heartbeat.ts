// Heartbeats and their responses: the leader's sign of life, the news of commits, and the leader's
// chance to find out that something got lost. Called by raft.
import { confirmReads } from './read-index.js';
import { forgetLateMark, noteRecovery, releaseRecovered } from './recovery.js';
import { hearLeader } from './roles.js';
import { sendEmpty, sendNews } from './sending.js';
import { sendOffer } from './snapshot.js';
import type { RaftState } from './state.js';
import type { NodeId, RaftMessage } from './types.js';

type Heartbeat = Extract<RaftMessage, { type: 'heartbeat' }>;
type HeartbeatResponse = Extract<RaftMessage, { type: 'heartbeatResponse' }>;

export function onHeartbeat(s: RaftState, from: NodeId, m: Heartbeat): void {
  hearLeader(s, from);
  // A damaged log may be shorter than what the leader remembers of it.
  const commit = Math.min(m.commit, s.log.lastIndex);
  if (commit > s.commitIndex && !s.installing) s.commitIndex = commit;
  if (m.round > 0) s.send(from, { type: 'heartbeatResponse', term: s.term, round: m.round, recovery: s.recovery });
}

export function onHeartbeatResponse(s: RaftState, from: NodeId, m: HeartbeatResponse): void {
  const p = s.progress.get(from);
  if (s.role !== 'leader' || p === undefined) return;
  forgetLateMark(p, m.recovery, m.round);
  if (!noteRecovery(s, from, p, m.recovery)) return;
  p.lastHeardAt = s.now;
  releaseRecovered(s, from, p);
  if (m.round > p.round && m.round <= s.round) p.round = m.round;
  switch (p.state) {
    case 'snapshot':
      if (s.now - p.offeredSnapshotAt >= s.settings.electionTimeoutMinMs) sendOffer(s, from, p);
      break;
    case 'probe':
      // The probe was lost, or its answer: ask again, but without entries.
      if (p.paused) sendEmpty(s, from, p);
      else sendNews(s, from, p);
      break;
    case 'replicate': {
      const waiting = p.matchIndex < p.nextIndex - 1;
      // No acknowledgement since the last response: a message in the pipeline may be lost.
      if (waiting && p.matchAtHeartbeat === p.matchIndex) sendEmpty(s, from, p);
      p.matchAtHeartbeat = p.matchIndex;
      sendNews(s, from, p);
      break;
    }
  }
  confirmReads(s);
}

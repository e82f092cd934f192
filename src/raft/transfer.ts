// Handing leadership to another voter (dissertation 3.10): bring it up to date, then ask it to
// campaign at once. Given up after one election timeout. Called by replication and raft.
import type { RaftState } from './state.js';
import type { NodeId } from './types.js';

export function startTransfer(s: RaftState, to: NodeId): void {
  if (s.role !== 'leader' || to === s.id || to === s.transferee || !s.config.voters.includes(to)) return;
  const p = s.progress.get(to);
  if (p === undefined || !p.counts) return;
  s.transferee = to;
  s.transferDeadline = s.now + s.settings.electionTimeoutMinMs;
  finishTransfer(s, to);
}

/** The transferee has everything: it may start. */
export function finishTransfer(s: RaftState, from: NodeId): void {
  if (s.transferee !== from) return;
  if (s.progress.get(from)?.matchIndex === s.log.lastIndex) s.send(from, { type: 'timeoutNow', term: s.term });
}

export function abortLateTransfer(s: RaftState): void {
  if (s.transferee !== '' && s.now >= s.transferDeadline) s.transferee = '';
}

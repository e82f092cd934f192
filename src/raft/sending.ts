// What a leader sends: appends at each follower's pace, heartbeats, the offer of a snapshot.
import type { Progress } from './progress.js';
import { type RaftState, send } from './state.js';
import type { Entry } from './types.js';

/** Whether the commit index is vouched for by an entry of this leader's own term. */
function settled(s: RaftState): boolean {
  return s.log.term(s.commitIndex) === s.term;
}

/** Sends what the follower may be sent now; with `commitToo`, an empty message if only the commit index is news. */
export function sendAppends(s: RaftState, to: string, p: Progress, commitToo: boolean): void {
  const { inflightMessagesMax, inflightBytesMax, appendBytesMax } = s.options;
  for (;;) {
    if (p.state === 'snapshot' || (p.state === 'probe' && p.probeSent)) return;
    if (p.next > s.log.lastIndex) {
      if (commitToo && p.toldCommit < s.commitIndex && p.state === 'replicate') sendAppend(s, to, p, []);
      return;
    }
    if (p.next < s.log.firstIndex || s.log.term(p.next - 1) === undefined) return sendSnapshot(s, to, p);
    if (p.state === 'replicate' && p.full(inflightMessagesMax, inflightBytesMax)) return;
    const entries = s.log.entries(p.next, s.log.lastIndex + 1, appendBytesMax);
    if (entries.length === 0) return;
    sendAppend(s, to, p, entries);
  }
}

function sendAppend(s: RaftState, to: string, p: Progress, entries: readonly Entry[]): void {
  const prevLogIndex = p.next - 1;
  const prevLogTerm = s.log.term(prevLogIndex);
  if (prevLogTerm === undefined) return sendSnapshot(s, to, p);
  send(s, to, { type: 'appendEntries', term: s.term, prevLogIndex, prevLogTerm, commitIndex: s.commitIndex, settled: settled(s), entries });
  p.toldCommit = s.commitIndex;
  const last = entries[entries.length - 1];
  if (p.state === 'probe') p.probeSent = true;
  else if (last !== undefined) {
    let bytes = 0;
    for (const e of entries) bytes += e.data.length;
    p.sent(last.index, bytes);
    p.next = last.index + 1;
  }
}

function sendSnapshot(s: RaftState, to: string, p: Progress): void {
  p.become('snapshot');
  const index = s.log.firstIndex - 1;
  send(s, to, { type: 'installSnapshot', term: s.term, index, snapshotTerm: s.log.term(index) ?? 0 });
}

export function broadcastHeartbeat(s: RaftState): void {
  for (const [id, p] of s.progress) {
    const commitIndex = Math.min(p.match, s.commitIndex);
    send(s, id, { type: 'heartbeat', term: s.term, commitIndex, settled: settled(s), context: s.readContext });
    if (p.state === 'snapshot') {
      const index = s.log.firstIndex - 1;
      send(s, id, { type: 'installSnapshot', term: s.term, index, snapshotTerm: s.log.term(index) ?? 0 });
    }
  }
}

export function maybeFinishTransfer(s: RaftState, from: string, p: Progress): void {
  if (s.transferTo === from && p.match === s.log.lastIndex) send(s, from, { type: 'timeoutNow', term: s.term });
}

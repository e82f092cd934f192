// What a leader sends to its members: entries, heartbeats, news of commits. Called by election,
// replication, heartbeat, read-index, recovery and raft.
//
// AppendEntries leave before the leader's own sync (dissertation 10.2.1): the persist effect of the
// step comes after them.
import { assert } from '#base/assert.js';
import { forgetConfigs, noteConfigs } from './membership.js';
import type { Progress } from './progress.js';
import { offerSnapshot } from './snapshot.js';
import type { RaftState } from './state.js';
import type { Entry, EntryKind, NodeId } from './types.js';

/** Leader: appends one entry per element and sends them. Returns the index of the first. */
export function appendAsLeader(s: RaftState, kind: EntryKind, data: readonly Uint8Array[]): number {
  assert(s.role === 'leader', 'raft: only a leader appends');
  const first = s.log.lastIndex + 1;
  const entries: Entry[] = [];
  let bytes = 0;
  for (const one of data) {
    entries.push({ index: first + entries.length, term: s.term, kind, data: one });
    bytes += one.length;
  }
  s.log.append(entries);
  s.noteFresh(first);
  if (bytes > 0) {
    s.uncommittedBytes += bytes;
    s.uncommitted.push({ lastIndex: s.log.lastIndex, bytes });
  }
  noteConfigs(s, entries);
  for (const [id, p] of s.progress) sendEntries(s, id, p);
  return first;
}

/** Follower: its entries from `index` on are another leader's mistake. */
export function overwriteFrom(s: RaftState, index: number): void {
  assert(index > s.commitIndex, 'raft: a committed entry would be overwritten');
  s.effects.push({ type: 'proposalsDropped', from: index, to: s.log.lastIndex });
  s.clipPending(index);
  s.log.truncate(index);
  forgetConfigs(s, index);
}

/** Sends what the member may have now, in as few messages as their bounds allow. */
export function sendEntries(s: RaftState, to: NodeId, p: Progress): void {
  if (p.state === 'snapshot') return;
  if (p.state === 'probe') {
    if (!p.paused) sendOne(s, to, p, s.settings.messageEntriesMax);
    return;
  }
  const { inflightMessagesMax, inflightBytesMax, messageEntriesMax } = s.settings;
  while (p.state === 'replicate' && p.nextIndex <= s.log.lastIndex && !p.full(inflightMessagesMax, inflightBytesMax)) {
    if (!sendOne(s, to, p, messageEntriesMax)) return;
  }
}

/** An AppendEntries without entries: asks whether the log reaches up to the next index. */
export function sendEmpty(s: RaftState, to: NodeId, p: Progress): void {
  sendOne(s, to, p, 0);
}

/** One AppendEntries from the next index on. False when a snapshot is needed instead. */
function sendOne(s: RaftState, to: NodeId, p: Progress, entriesMax: number): boolean {
  const prevIndex = p.nextIndex - 1;
  const prevTerm = s.log.term(prevIndex);
  let entries: readonly Entry[] | undefined = [];
  if (entriesMax > 0 && p.nextIndex <= s.log.lastIndex) {
    entries = s.log.entries(p.nextIndex, s.log.lastIndex + 1, s.settings.messageBytesMax, entriesMax);
  }
  if (prevTerm === undefined || entries === undefined) {
    offerSnapshot(s, to, p);
    return false;
  }
  s.send(to, { type: 'append', term: s.term, prevIndex, prevTerm, commit: s.commitIndex, stream: p.stream, entries });
  p.commitSent = Math.max(p.commitSent, Math.min(s.commitIndex, prevIndex + entries.length));
  if (p.state === 'probe') p.paused = true;
  else if (entries.length > 0) {
    let bytes = 0;
    for (const e of entries) bytes += e.data.length;
    p.sent(prevIndex + entries.length, bytes);
  }
  return true;
}

/** Sends entries, or, when there are none to carry it, the news that more is committed. */
export function sendNews(s: RaftState, to: NodeId, p: Progress): void {
  sendEntries(s, to, p);
  const commit = Math.min(s.commitIndex, p.matchIndex);
  if (commit <= p.commitSent || p.state === 'snapshot') return;
  p.commitSent = commit;
  s.send(to, { type: 'heartbeat', term: s.term, commit, round: 0 });
}

/** When the next heartbeat is due. */
export function scheduleHeartbeat(s: RaftState): void {
  const every = s.settings.heartbeatMs;
  s.heartbeatAt = s.settings.alignHeartbeats ? (Math.floor(s.now / every) + 1) * every : s.now + every;
}

/** A new round of heartbeats: whoever answers it took us for the leader after now. */
export function broadcastHeartbeat(s: RaftState): void {
  s.round++;
  scheduleHeartbeat(s);
  for (const [id, p] of s.progress) {
    // Never beyond what the member is known to share with us.
    const commit = Math.min(s.commitIndex, p.matchIndex);
    s.send(id, { type: 'heartbeat', term: s.term, commit, round: s.round });
  }
}

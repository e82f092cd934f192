// Replication: AppendEntries out and in, commit (Raft paper 5.3, 5.4.2; dissertation 10.2 for
// sending before the own sync, pipelining).
import { assert } from '#base/assert.js';
import { forgetConfigsFrom, noteConfigs, onConfigCommitted } from './membership.js';
import { onReadContextAcked, releaseEarlyReads } from './read-index.js';
import { becomeFollower } from './role.js';
import { maybeFinishTransfer, sendAppends } from './sending.js';
import { persist, persistHardState, quorum, type RaftState, resetElectionDeadline, send, sendWhenPersisted } from './state.js';
import type { Entry, EntryKind, RaftMessage } from './types.js';

export type AppendEntries = Extract<RaftMessage, { type: 'appendEntries' }>;
export type AppendResponse = Extract<RaftMessage, { type: 'appendResponse' }>;
export type Heartbeat = Extract<RaftMessage, { type: 'heartbeat' }>;
export type HeartbeatResponse = Extract<RaftMessage, { type: 'heartbeatResponse' }>;

// ---- leader ----

/** Appends to the own log and sends early: followers write while this node does. */
export function appendAsLeader(s: RaftState, data: readonly Uint8Array[], kind: EntryKind): number {
  const first = s.log.lastIndex + 1;
  const entries: Entry[] = data.map((d, i) => ({ index: first + i, term: s.term, kind, data: d }));
  for (const d of data) s.uncommittedBytes += d.length;
  s.log.append(entries);
  noteConfigs(s, entries);
  persist(s, entries, undefined, false);
  for (const [id, p] of s.progress) sendAppends(s, id, p, false);
  return first;
}

export function onAppendResponse(s: RaftState, from: string, m: AppendResponse): void {
  const p = s.progress.get(from);
  if (s.role !== 'leader' || p === undefined) return;
  p.recentActive = true;
  p.counts = m.counts;
  if (m.success) {
    const advanced = m.index > p.match;
    if (m.index > s.log.lastIndex) return;
    if (advanced) p.match = m.index;
    p.next = Math.max(p.next, p.match + 1);
    p.freeTo(m.index);
    p.probeSent = false;
    if (p.state === 'probe' || (p.state === 'snapshot' && p.match + 1 >= s.log.firstIndex)) p.become('replicate');
    const committed = maybeCommit(s);
    sendAppends(s, from, p, committed);
    maybeFinishTransfer(s, from, p);
    return;
  }
  if (p.state === 'snapshot') return;
  if (p.state === 'replicate') {
    // Refusals of messages that were overtaken by acknowledgements are stale.
    if (m.index <= p.match) return;
    p.become('probe');
    p.next = p.match + 1;
  } else if (p.next - 1 === m.index) {
    const hint = m.hintTerm > 0 ? s.log.findConflictByTerm(m.hintIndex, m.hintTerm) : m.hintIndex;
    p.next = Math.max(Math.min(m.index, hint + 1), p.match + 1);
  } else return;
  p.probeSent = false;
  sendAppends(s, from, p, false);
}

/** Advances the commit index to what a quorum has on disk, if that is of this term. True when it moved. */
export function maybeCommit(s: RaftState): boolean {
  if (s.role !== 'leader') return false;
  const matches: number[] = [];
  for (const v of s.config.voters) {
    if (v === s.id) matches.push(s.log.persistedIndex);
    else {
      const p = s.progress.get(v);
      matches.push(p?.counts === true ? p.match : 0);
    }
  }
  matches.sort((a, b) => b - a);
  const index = matches[quorum(s) - 1] ?? 0;
  // Entries of older terms are committed only together with one of this term (5.4.2).
  if (index <= s.commitIndex || s.log.term(index) !== s.term) return false;
  const before = s.commitIndex;
  commitTo(s, index);
  if (before < s.termStartIndex) releaseEarlyReads(s);
  for (const [id, p] of s.progress) sendAppends(s, id, p, true);
  return true;
}

function commitTo(s: RaftState, index: number): void {
  const from = s.commitIndex + 1;
  s.commitIndex = index;
  if (s.role === 'leader' && s.uncommittedBytes > 0) {
    if (index === s.log.lastIndex) s.uncommittedBytes = 0;
    else for (let i = Math.max(from, s.termStartIndex); i <= index; i++) s.uncommittedBytes -= entryBytes(s, i);
  }
  s.effects.push({ type: 'commit', index });
  onConfigCommitted(s, index);
}

function entryBytes(s: RaftState, index: number): number {
  return s.log.entries(index, index + 1, 0)[0]?.data.length ?? 0;
}

export function onHeartbeatResponse(s: RaftState, from: string, m: HeartbeatResponse): void {
  const p = s.progress.get(from);
  if (s.role !== 'leader' || p === undefined) return;
  p.recentActive = true;
  // A probe or window may have been lost with a connection: try again.
  p.probeSent = false;
  if (p.state === 'replicate' && p.match < s.log.lastIndex && p.full(s.options.inflightMessagesMax, s.options.inflightBytesMax)) p.become('probe');
  if (p.match < s.log.lastIndex || p.state === 'probe') sendAppends(s, from, p, false);
  onReadContextAcked(s, from, m.context);
}

// ---- follower ----

function followLeader(s: RaftState, from: string, term: number): void {
  if (s.role !== 'follower' || s.leader !== from || s.term !== term) becomeFollower(s, term, from);
  s.lastLeaderContact = s.now;
  s.lostLeader = undefined;
  resetElectionDeadline(s);
}

export function onAppendEntries(s: RaftState, from: string, m: AppendEntries): void {
  assert(s.role !== 'leader', 'two leaders in one term');
  followLeader(s, from, m.term);
  const respond = (success: boolean, index: number, hintIndex: number, hintTerm: number): void => {
    const response: AppendResponse = { type: 'appendResponse', term: s.term, success, index, hintIndex, hintTerm, counts: !s.recovering };
    persistHardState(s);
    // A success vouches for this node's disk; a refusal for nothing.
    if (success) sendWhenPersisted(s, from, response);
    else send(s, from, response);
  };
  if (m.prevLogIndex < s.commitIndex && m.prevLogIndex + m.entries.length <= s.commitIndex) return respond(true, s.commitIndex, 0, 0);
  const prevTerm = s.log.term(m.prevLogIndex);
  if (prevTerm !== m.prevLogTerm && m.prevLogIndex >= s.log.firstIndex - 1) {
    const hint = s.log.findConflictByTerm(Math.min(m.prevLogIndex, s.log.lastIndex), m.prevLogTerm);
    return respond(false, m.prevLogIndex, hint, s.log.term(hint) ?? 0);
  }
  const fresh = firstNew(s, m.entries);
  if (fresh.length > 0) {
    const first = fresh[0] as Entry;
    assert(first.index > s.commitIndex, `entry ${first.index} would overrule committed ones (${s.commitIndex})`);
    if (first.index <= s.log.lastIndex) overrule(s, first.index);
    const truncateFrom = s.log.append(fresh);
    noteConfigs(s, fresh);
    persist(s, fresh, truncateFrom, false);
  }
  const lastNew = m.prevLogIndex + m.entries.length;
  followCommit(s, Math.min(m.commitIndex, lastNew));
  respond(true, lastNew, 0, 0);
  maybeRecovered(s, m.settled, m.commitIndex, lastNew);
}

/** What the log does not have yet, from the first entry on that is missing or differs. */
function firstNew(s: RaftState, entries: readonly Entry[]): readonly Entry[] {
  let i = 0;
  while (i < entries.length) {
    const e = entries[i] as Entry;
    if (e.index >= s.log.firstIndex && s.log.term(e.index) !== e.term) break;
    i++;
  }
  return i === 0 ? entries : entries.slice(i);
}

function overrule(s: RaftState, from: number): void {
  forgetConfigsFrom(s, from);
  // What is being written of the overruled entries says nothing about their successors.
  s.persists = s.persists.map((p) => (p.lastIndex >= from ? { ...p, lastIndex: 0, lastTerm: 0 } : p));
}

function followCommit(s: RaftState, index: number): void {
  if (index > s.commitIndex) commitTo(s, Math.min(index, s.log.lastIndex));
}

export function onHeartbeat(s: RaftState, from: string, m: Heartbeat): void {
  assert(s.role !== 'leader', 'two leaders in one term');
  followLeader(s, from, m.term);
  followCommit(s, Math.min(m.commitIndex, s.log.lastIndex));
  persistHardState(s);
  sendWhenPersisted(s, from, { type: 'heartbeatResponse', term: s.term, context: m.context });
  // The heartbeat's commit index never exceeds what the leader knows this log to share.
  maybeRecovered(s, m.settled, m.commitIndex, m.commitIndex);
}

/** A damaged log is whole again when it reaches a settled leader's commit index: that leader had a quorum without it. */
function maybeRecovered(s: RaftState, isSettled: boolean, leaderCommit: number, agreedUpTo: number): void {
  if (!s.recovering || !isSettled || agreedUpTo < leaderCommit) return;
  s.recovering = false;
  s.effects.push({ type: 'recovered' });
}

export function onInstallSnapshot(s: RaftState, from: string, m: Extract<RaftMessage, { type: 'installSnapshot' }>): void {
  followLeader(s, from, m.term);
  if (m.index <= s.commitIndex && s.log.term(m.index) !== undefined) {
    // Not behind after all (the leader's knowledge is old): say where this log is.
    persistHardState(s);
    sendWhenPersisted(s, from, {
      type: 'appendResponse',
      term: s.term,
      success: true,
      index: s.commitIndex,
      hintIndex: 0,
      hintTerm: 0,
      counts: !s.recovering,
    });
    return;
  }
  persistHardState(s);
  s.effects.push({ type: 'snapshotNeeded', from, index: m.index });
}

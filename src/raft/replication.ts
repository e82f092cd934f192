// AppendEntries and its responses, and the rule that commits (paper 5.3, 5.4.2). Called by raft.
//
// Invariants: only an entry of the leader's own term is committed by counting; a leader counts
// itself for what is durable on its own disk; commitIndex never falls; nothing at or below it is
// overwritten; an acknowledgement waits until what it vouches for is on disk.
import { assert } from '#base/assert.js';
import { noteConfigs, stepDownIfRemoved } from './membership.js';
import type { Progress } from './progress.js';
import { majorityValue } from './quorum.js';
import { startWaitingReads } from './read-index.js';
import { noteRecovery, releaseRecovered } from './recovery.js';
import { hearLeader } from './roles.js';
import { overwriteFrom, sendEntries, sendNews } from './sending.js';
import type { RaftState } from './state.js';
import { finishTransfer } from './transfer.js';
import type { Entry, NodeId, RaftMessage } from './types.js';

type Append = Extract<RaftMessage, { type: 'append' }>;
type AppendResponse = Extract<RaftMessage, { type: 'appendResponse' }>;

export function onAppend(s: RaftState, from: NodeId, m: Append): void {
  hearLeader(s, from);
  if (s.installing) return;
  const lastNew = m.prevIndex + m.entries.length;
  // What is committed here is in the leader's log too (leader completeness): no need to compare it.
  if (m.prevIndex > s.commitIndex && s.log.term(m.prevIndex) !== m.prevTerm) {
    reject(s, from, m);
    return;
  }
  if (m.prevIndex === s.commitIndex) assert(s.log.term(m.prevIndex) === m.prevTerm, 'raft: a leader contradicts what is committed');
  appendNew(s, m.entries);
  const commit = Math.min(m.commit, lastNew);
  if (commit > s.commitIndex) s.commitIndex = commit;
  respond(s, from, m.stream, false, Math.max(lastNew, s.commitIndex), 0, 0);
}

/** Appends what the log does not have yet. A late message may carry a prefix of it: that removes nothing. */
function appendNew(s: RaftState, entries: readonly Entry[]): void {
  let i = 0;
  for (; i < entries.length; i++) {
    const e = entries[i] as Entry;
    if (e.index > s.log.lastIndex) break;
    if (e.index <= s.log.baseIndex || s.log.term(e.index) === e.term) continue;
    overwriteFrom(s, e.index);
    break;
  }
  if (i === entries.length) return;
  const fresh = i === 0 ? entries : entries.slice(i);
  s.log.append(fresh);
  s.noteFresh((fresh[0] as Entry).index);
  noteConfigs(s, fresh);
}

function reject(s: RaftState, from: NodeId, m: Append): void {
  // The last place where the two logs may agree; saves the leader from going back one by one.
  const hintIndex = s.log.lastIndexWithin(Math.min(m.prevIndex, s.log.lastIndex), m.prevTerm);
  respond(s, from, m.stream, true, m.prevIndex, hintIndex, s.log.term(hintIndex) ?? 0);
}

function respond(s: RaftState, to: NodeId, stream: number, rejected: boolean, index: number, hintIndex: number, hintTerm: number): void {
  const response: AppendResponse = { type: 'appendResponse', term: s.term, stream, rejected, index, hintIndex, hintTerm, recovery: s.recovery };
  // A rejection vouches for nothing.
  if (rejected) s.send(to, response);
  else s.sendDurable(to, response);
}

export function onAppendResponse(s: RaftState, from: NodeId, m: AppendResponse): void {
  const p = s.progress.get(from);
  if (s.role !== 'leader' || p === undefined || !noteRecovery(s, from, p, m.recovery)) return;
  p.lastHeardAt = s.now;
  if (m.rejected) {
    onRejected(s, from, p, m);
    return;
  }
  if (m.index > s.log.lastIndex) return;
  const news = p.acknowledged(m.index);
  // Only the answer to this stream's probe ends it: answers to an older burst would start the next one too early.
  if (p.state === 'probe' && (m.stream === p.stream || m.stream === 0)) p.becomeReplicate();
  else if (p.state === 'snapshot' && p.matchIndex >= s.log.baseIndex) p.becomeReplicate();
  if (news) maybeCommit(s);
  // A committed removal of this leader may have ended its term just now.
  if (s.progress.get(from) !== p) return;
  releaseRecovered(s, from, p);
  sendNews(s, from, p);
  finishTransfer(s, from);
}

function onRejected(s: RaftState, from: NodeId, p: Progress, m: AppendResponse): void {
  if (p.state === 'snapshot' || m.stream !== p.stream) return;
  // Overtaken by an acknowledgement, or the answer to an older probe.
  if (p.state === 'replicate' ? m.index <= p.matchIndex : m.index !== p.nextIndex - 1) return;
  const agreed = s.log.lastIndexWithin(m.hintIndex, m.hintTerm);
  p.becomeProbe(Math.min(m.index, agreed + 1));
  sendEntries(s, from, p);
}

/** Leader: commits what a majority has on disk. */
export function maybeCommit(s: RaftState): void {
  if (s.role !== 'leader') return;
  const index = majorityValue(s.config.voters, (id) => {
    if (id === s.id) return s.log.durableIndex;
    const p = s.progress.get(id);
    return p?.counts === true ? p.matchIndex : 0;
  });
  // An older term's entry on a majority may still be overwritten (paper, figure 8).
  if (index <= s.commitIndex || s.log.term(index) !== s.term) return;
  const first = !s.committedInTerm;
  s.commitIndex = index;
  for (let one = s.uncommitted.peek(); one !== undefined && one.lastIndex <= index; one = s.uncommitted.peek()) {
    s.uncommitted.shift();
    s.uncommittedBytes -= one.bytes;
  }
  for (const [id, p] of s.progress) sendNews(s, id, p);
  if (first) startWaitingReads(s);
  stepDownIfRemoved(s);
}

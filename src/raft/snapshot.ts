// Members that need what the log no longer holds. The copy of the tables goes another way (the
// database's bootstrap); here is only who needs one, the offer, and what it means for the log.
//
// Invariants: while a copy is on its way the node keeps its old log for votes, takes no entries and
// does not campaign; the log is replaced only by `snapshotInstalled`, after one durable step.
import { assert } from '#base/assert.js';
import { configAt, loadConfigs, replaceConfigs } from './membership.js';
import type { Progress } from './progress.js';
import { hearLeader } from './roles.js';
import type { RaftState } from './state.js';
import type { NodeId, RaftInput, RaftMessage } from './types.js';

type InstallSnapshot = Extract<RaftMessage, { type: 'installSnapshot' }>;
type SnapshotInstalled = Extract<RaftInput, { type: 'snapshotInstalled' }>;

/** Leader: `to` needs entries below the log's first. */
export function offerSnapshot(s: RaftState, to: NodeId, p: Progress): void {
  // A member that does not answer would only keep the log from being compacted.
  if (s.now - p.lastHeardAt > s.settings.electionTimeoutMinMs) {
    p.paused = true;
    return;
  }
  p.becomeSnapshot();
  s.effects.push({ type: 'needSnapshot', to });
  sendOffer(s, to, p);
}

export function sendOffer(s: RaftState, to: NodeId, p: Progress): void {
  p.offeredSnapshotAt = s.now;
  const index = s.log.baseIndex;
  s.send(to, { type: 'installSnapshot', term: s.term, index, indexTerm: s.log.baseTerm, config: configAt(s, index) });
}

/** Leader: the driver knows how the transfer ended. */
export function onSnapshotStatus(s: RaftState, to: NodeId): void {
  const p = s.progress.get(to);
  if (p === undefined || p.state !== 'snapshot') return;
  p.becomeProbe(p.matchIndex + 1);
  // Its acknowledgement tells where to go on; failing that, its next heartbeat response.
  p.paused = true;
}

export function onInstallSnapshot(s: RaftState, from: NodeId, m: InstallSnapshot): void {
  hearLeader(s, from);
  if (s.installing) return;
  if (m.index <= s.commitIndex || s.log.term(m.index) === m.indexTerm) {
    // What is asked for is here already: the leader may go on from it.
    if (m.index > s.commitIndex) s.commitIndex = m.index;
    s.sendDurable(from, {
      type: 'appendResponse',
      term: s.term,
      stream: 0,
      rejected: false,
      index: s.commitIndex,
      hintIndex: 0,
      hintTerm: 0,
      recovery: s.recovery,
    });
    return;
  }
  s.installing = true;
  s.effects.push({ type: 'installSnapshot', from, index: m.index, term: m.indexTerm, config: m.config });
}

export function onSnapshotInstalled(s: RaftState, input: SnapshotInstalled): void {
  assert(s.installing, 'raft: a snapshot was installed that was not asked for');
  assert(input.index >= s.commitIndex, 'raft: the snapshot is behind what is committed here');
  s.installing = false;
  // Whatever is still being written belongs to the log that is gone.
  s.clipPending(1);
  s.log.reset({ index: input.index, term: input.term }, input.last ?? { index: input.index, term: input.term });
  s.commitIndex = input.index;
  replaceConfigs(s, input.config);
  if (input.last !== undefined && input.last.index > input.index) {
    loadConfigs(s);
    s.config = s.configs[s.configs.length - 1]?.config ?? s.baseConfig;
  }
  if (s.leader === '' || s.leader === s.id) return;
  s.sendDurable(s.leader, {
    type: 'appendResponse',
    term: s.term,
    stream: 0,
    rejected: false,
    index: input.index,
    hintIndex: 0,
    hintTerm: 0,
    recovery: s.recovery,
  });
}

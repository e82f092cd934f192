// Test helper only: messages that a test plays by hand, and what a log looks like from outside. Nothing
// outside tests imports it.
import type { TestNode } from './test-cluster.js';
import type { Entry, RaftMessage } from './types.js';

export function append(term: number, prevIndex: number, prevTerm: number, commit: number = 0, entries: Entry[] = []): RaftMessage {
  return { type: 'append', term, prevIndex, prevTerm, commit, stream: 1, entries };
}

export function ack(term: number, index: number): RaftMessage {
  return { type: 'appendResponse', term, stream: 1, rejected: false, index, hintIndex: 0, hintTerm: 0, recovery: 0 };
}

export function vote(
  term: number,
  lastIndex: number,
  lastTerm: number,
  more: Partial<Extract<RaftMessage, { type: 'requestVote' }>> = {},
): RaftMessage {
  return { type: 'requestVote', term, preVote: false, lastIndex, lastTerm, transfer: false, ...more };
}

export function heartbeat(term: number, commit: number = 0, round: number = 1): RaftMessage {
  return { type: 'heartbeat', term, commit, round };
}

/** Terms of a node's log from index 1 on. */
export function terms(n: TestNode): (number | undefined)[] {
  return Array.from({ length: n.raft.lastIndex }, (_, i) => n.raft.termOf(i + 1));
}

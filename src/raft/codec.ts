// Raft messages as bytes. Input comes from an authenticated peer but is checked all the same:
// MalformedError, never an out-of-range read.
import { type ByteReader, MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import type { Entry, EntryKind, RaftMessage } from './types.js';

const codes = {
  requestVote: 1,
  voteResponse: 2,
  appendEntries: 3,
  appendResponse: 4,
  heartbeat: 5,
  heartbeatResponse: 6,
  installSnapshot: 7,
  timeoutNow: 8,
} as const;

export const entryKinds: readonly EntryKind[] = ['normal', 'noop', 'config'];

export function writeMessage(w: ByteWriter, m: RaftMessage): void {
  w.u8(codes[m.type]);
  w.varint(m.term);
  switch (m.type) {
    case 'requestVote':
      w.u8((m.pre ? 1 : 0) | (m.transfer ? 2 : 0));
      w.varint(m.lastLogIndex);
      w.varint(m.lastLogTerm);
      return;
    case 'voteResponse':
      w.u8((m.pre ? 1 : 0) | (m.granted ? 2 : 0));
      return;
    case 'appendEntries':
      w.varint(m.prevLogIndex);
      w.varint(m.prevLogTerm);
      w.varint(m.commitIndex);
      w.u8(m.settled ? 1 : 0);
      w.varint(m.entries.length);
      for (const e of m.entries) {
        w.varint(e.term);
        w.u8(entryKinds.indexOf(e.kind));
        w.blob(e.data);
      }
      return;
    case 'appendResponse':
      w.u8((m.success ? 1 : 0) | (m.counts ? 2 : 0));
      w.varint(m.index);
      w.varint(m.hintIndex);
      w.varint(m.hintTerm);
      return;
    case 'heartbeat':
      w.varint(m.commitIndex);
      w.u8(m.settled ? 1 : 0);
      w.varint(m.context);
      return;
    case 'heartbeatResponse':
      w.varint(m.context);
      return;
    case 'installSnapshot':
      w.varint(m.index);
      w.varint(m.snapshotTerm);
      return;
    case 'timeoutNow':
      return;
  }
}

/** Entry data are views of the reader's bytes: the caller gives bytes that may be kept. */
export function readMessage(r: ByteReader): RaftMessage {
  const code = r.u8();
  const term = r.varint();
  switch (code) {
    case codes.requestVote: {
      const flags = r.u8();
      return { type: 'requestVote', term, pre: (flags & 1) !== 0, transfer: (flags & 2) !== 0, lastLogIndex: r.varint(), lastLogTerm: r.varint() };
    }
    case codes.voteResponse: {
      const flags = r.u8();
      return { type: 'voteResponse', term, pre: (flags & 1) !== 0, granted: (flags & 2) !== 0 };
    }
    case codes.appendEntries: {
      const prevLogIndex = r.varint();
      const prevLogTerm = r.varint();
      const commitIndex = r.varint();
      const settled = r.u8() === 1;
      const count = r.varint();
      const entries: Entry[] = [];
      for (let i = 0; i < count; i++) {
        const entryTerm = r.varint();
        const kind = entryKinds[r.u8()];
        if (kind === undefined) throw new MalformedError('unknown kind of entry');
        entries.push({ index: prevLogIndex + 1 + i, term: entryTerm, kind, data: r.blob() });
      }
      return { type: 'appendEntries', term, prevLogIndex, prevLogTerm, commitIndex, settled, entries };
    }
    case codes.appendResponse: {
      const flags = r.u8();
      return {
        type: 'appendResponse',
        term,
        success: (flags & 1) !== 0,
        counts: (flags & 2) !== 0,
        index: r.varint(),
        hintIndex: r.varint(),
        hintTerm: r.varint(),
      };
    }
    case codes.heartbeat:
      return { type: 'heartbeat', term, commitIndex: r.varint(), settled: r.u8() === 1, context: r.varint() };
    case codes.heartbeatResponse:
      return { type: 'heartbeatResponse', term, context: r.varint() };
    case codes.installSnapshot:
      return { type: 'installSnapshot', term, index: r.varint(), snapshotTerm: r.varint() };
    case codes.timeoutNow:
      return { type: 'timeoutNow', term };
    default:
      throw new MalformedError(`unknown Raft message ${code}`);
  }
}

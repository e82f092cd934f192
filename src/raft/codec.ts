// Messages and configurations as bytes. The driver calls it at the edge to the network; bad input
// throws MalformedError there and never reaches the machine. Numbers are varints (base's formats).
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import type { Entry, EntryKind, NodeId, RaftConfig, RaftMessage } from './types.js';

const kinds: readonly EntryKind[] = ['normal', 'noop', 'config'];

const tags: Record<RaftMessage['type'], number> = {
  requestVote: 1,
  voteResponse: 2,
  append: 3,
  appendResponse: 4,
  heartbeat: 5,
  heartbeatResponse: 6,
  installSnapshot: 7,
  timeoutNow: 8,
  recovered: 9,
};

/** Members of one group, at most: bounds what a peer can make us allocate. */
const membersMax = 256;
const nodeIdBytesMax = 255;

export function encodeConfig(config: RaftConfig): Uint8Array {
  const w = new ByteWriter(128);
  writeConfig(w, config);
  return w.finish();
}

/** Throws MalformedError. */
export function decodeConfig(bytes: Uint8Array): RaftConfig {
  const r = new ByteReader(bytes);
  const config = readConfig(r);
  r.done();
  return config;
}

function writeConfig(w: ByteWriter, config: RaftConfig): void {
  for (const list of [config.voters, config.learners]) {
    w.varint(list.length);
    for (const id of list) w.string(id);
  }
}

function readConfig(r: ByteReader): RaftConfig {
  const seen = new Set<NodeId>();
  const voters = readIds(r, seen);
  return { voters, learners: readIds(r, seen) };
}

function readIds(r: ByteReader, seen: Set<NodeId>): NodeId[] {
  const n = r.varint();
  if (n > membersMax) throw new MalformedError(`${n} members`);
  const ids: NodeId[] = [];
  for (let i = 0; i < n; i++) {
    const id = r.string();
    if (id === '' || id.length > nodeIdBytesMax || seen.has(id)) throw new MalformedError('member empty, too long or listed twice');
    seen.add(id);
    ids.push(id);
  }
  return ids;
}

function flag(r: ByteReader): boolean {
  const v = r.u8();
  if (v > 1) throw new MalformedError(`flag is ${v}`);
  return v === 1;
}

/**
 * The data of the one entry that an AppendEntries carries, when it is worth to be sent beside the rest: it ends the
 * message, and `encodeMessage` leaves it out when it is told so.
 */
export function endingData(m: RaftMessage): Uint8Array | undefined {
  if (m.type !== 'append' || m.entries.length !== 1) return undefined;
  const data = m.entries[0]?.data;
  return data === undefined || data.length < sharedBytesMin ? undefined : data;
}

/** Shorter ones are encoded with the rest. */
const sharedBytesMin = 512;

/** Appends the message to `w`, but for the last bytes of it that `without` holds. */
export function encodeMessage(w: ByteWriter, m: RaftMessage, without: Uint8Array | undefined = undefined): void {
  w.u8(tags[m.type]);
  w.varint(m.term);
  switch (m.type) {
    case 'requestVote':
      w.u8(m.preVote ? 1 : 0);
      w.u8(m.transfer ? 1 : 0);
      w.varint(m.lastIndex);
      w.varint(m.lastTerm);
      return;
    case 'voteResponse':
      w.u8(m.preVote ? 1 : 0);
      w.u8(m.granted ? 1 : 0);
      return;
    case 'append':
      w.varint(m.prevIndex);
      w.varint(m.prevTerm);
      w.varint(m.commit);
      w.varint(m.stream);
      w.varint(m.entries.length);
      for (const e of m.entries) {
        w.varint(e.term);
        w.u8(kinds.indexOf(e.kind));
        if (e.data === without) w.varint(e.data.length);
        else w.blob(e.data);
      }
      return;
    case 'appendResponse':
      w.varint(m.stream);
      w.u8(m.rejected ? 1 : 0);
      w.varint(m.index);
      w.varint(m.hintIndex);
      w.varint(m.hintTerm);
      w.varint(m.recovery);
      return;
    case 'heartbeat':
      w.varint(m.commit);
      w.varint(m.round);
      return;
    case 'heartbeatResponse':
      w.varint(m.round);
      w.varint(m.recovery);
      return;
    case 'installSnapshot':
      w.varint(m.index);
      w.varint(m.indexTerm);
      writeConfig(w, m.config);
      return;
    case 'recovered':
      w.varint(m.recovery);
      return;
    case 'timeoutNow':
      return;
  }
}

/** One message that fills the rest of `r`. Entries are copies. Throws MalformedError. */
export function decodeMessage(r: ByteReader): RaftMessage {
  const tag = r.u8();
  const term = r.varint();
  if (term === 0) throw new MalformedError('message of term 0');
  const message = decodeBody(r, tag, term);
  r.done();
  return message;
}

function decodeBody(r: ByteReader, tag: number, term: number): RaftMessage {
  switch (tag) {
    case tags.requestVote:
      return { type: 'requestVote', term, preVote: flag(r), transfer: flag(r), lastIndex: r.varint(), lastTerm: r.varint() };
    case tags.voteResponse:
      return { type: 'voteResponse', term, preVote: flag(r), granted: flag(r) };
    case tags.append:
      return decodeAppend(r, term);
    case tags.appendResponse:
      return {
        type: 'appendResponse',
        term,
        stream: r.varint(),
        rejected: flag(r),
        index: r.varint(),
        hintIndex: r.varint(),
        hintTerm: r.varint(),
        recovery: r.varint(),
      };
    case tags.heartbeat:
      return { type: 'heartbeat', term, commit: r.varint(), round: r.varint() };
    case tags.heartbeatResponse:
      return { type: 'heartbeatResponse', term, round: r.varint(), recovery: r.varint() };
    case tags.installSnapshot:
      return { type: 'installSnapshot', term, index: r.varint(), indexTerm: r.varint(), config: readConfig(r) };
    case tags.timeoutNow:
      return { type: 'timeoutNow', term };
    case tags.recovered:
      return { type: 'recovered', term, recovery: r.varint() };
    default:
      throw new MalformedError(`raft message of kind ${tag}`);
  }
}

function decodeAppend(r: ByteReader, term: number): RaftMessage {
  const prevIndex = r.varint();
  const prevTerm = r.varint();
  const commit = r.varint();
  const stream = r.varint();
  const count = r.varint();
  if (prevTerm > term) throw new MalformedError('an entry of a term above its message');
  // An entry takes three bytes or more: a count that cannot be true allocates nothing.
  if (count * 3 > r.remaining) throw new MalformedError(`${count} entries in ${r.remaining} bytes`);
  if (!Number.isSafeInteger(prevIndex + count)) throw new MalformedError('index beyond 2^53-1');
  const entries: Entry[] = [];
  let lastTerm = prevTerm;
  for (let i = 0; i < count; i++) {
    const entryTerm = r.varint();
    if (entryTerm < lastTerm || entryTerm > term) throw new MalformedError('terms of entries must not fall, nor pass their message');
    lastTerm = entryTerm;
    const kind = kinds[r.u8()];
    if (kind === undefined) throw new MalformedError('unknown kind of entry');
    const data = copyBytes(r.blob());
    if (kind === 'config') decodeConfig(data);
    entries.push({ index: prevIndex + 1 + i, term: entryTerm, kind, data });
  }
  return { type: 'append', term, prevIndex, prevTerm, commit, stream, entries };
}

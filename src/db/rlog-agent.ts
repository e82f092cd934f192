// One stream from this core to one receiver (a replicant, or a core that fell behind): bootstrap
// when needed, then the committed log, at the receiver's pace. Everything it sends it reads at the
// moment of sending, from short reads of tables and log: a slow receiver costs one position and
// its credit, nothing more.
import { ByteWriter } from '#base/byte-writer.js';
import { concatBytes, copyBytes, emptyBytes } from '#base/bytes.js';
import { type TableStore, TablesError } from '#env/tables.js';
import type { AppliedEntry } from './apply.js';
import type { DbBounds } from './bounds.js';
import { Grantee, type LeaseTerms } from './lease.js';
import { type CopyPlace, chunkHead, encodeRlog, entriesBytes, type OpenedMode, type RlogMessage, rowBytes, writeChunkRow } from './rlog-codec.js';
import { ownerIndexByte } from './stored-row.js';
import { decodePosition, firstUserKey, metaKey } from './system-rows.js';

/** What an agent reads: one core's copy of a shard and its log. */
export interface RlogSource {
  readonly shard: string;
  readonly historyId: string;
  readonly commitIndex: number;
  /** Transactions committed, counted like the receivers count (system position). */
  readonly committedTransactions: number;
  readonly firstIndex: number;
  term(index: number): number | undefined;
  entries(from: number, to: number, maxBytes: number): readonly AppliedEntry[];
  readonly store: TableStore;
  readonly appliedIndex: number;
  /** Bytes of an `entries` message from `from` for everything committed, shared between receivers. */
  encodedEntries(from: number, maxBytes: number): { readonly frame: Uint8Array; readonly next: number; readonly bytes: number } | undefined;
}

/**
 * What a copy consists of after the system rows, in its order. The owner index comes before the rows:
 * a sweep that happens in between finds in the index, when it is replayed, every row that was copied
 * before it. The other way round rows of dead incarnations would stay for ever.
 */
const copyParts: readonly [CopyPart, ...CopyPart[]] = [
  { start: Uint8Array.of(ownerIndexByte), end: Uint8Array.of(ownerIndexByte + 1) },
  { start: firstUserKey, end: Uint8Array.of(ownerIndexByte) },
  { start: Uint8Array.of(ownerIndexByte + 1), end: undefined },
];

/** The rows of the chunk that is being made; given back when a large row has made it grow. */
const chunkRows: ByteWriter = new ByteWriter(4096);
const chunkRowsBytesMax = 4 * 1024 * 1024;
/** Of one chunk: nothing else happens here while it is read. */
const chunkRowsMax = 8_192;

/** Where the key is copied; the system rows come before the first. */
function partOf(key: Uint8Array): number {
  const first = key[0] ?? 0;
  return first === 0 || first === ownerIndexByte ? 0 : first < ownerIndexByte ? 1 : 2;
}

interface CopyPart {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

/** False: the lane is full or gone; the agent is pumped again on drain. */
export type SendFrame = (frame: Uint8Array, shared?: Uint8Array) => boolean;

export class RlogAgent {
  readonly receiver: string;
  readonly receiverName: string;
  readonly isReplicant: boolean;
  readonly stream: number;
  readonly #source: RlogSource;
  readonly #bounds: DbBounds;
  readonly #send: SendFrame;
  #mode: 'bootstrap' | 'entries' = 'entries';
  /** Next index to send. The log is kept from here on. */
  next: number;
  /** It feeds others, who may be in service for as long as its lease lasts although it is not itself. */
  relays = false;
  /** Until when it counts as in service, and what it has seen. */
  readonly lease: Grantee;
  /** Why the receiver has to copy the tables; '' when it goes on from where it was. */
  copyWhy = '';
  /** It goes on with a copy that another core began. */
  continues = false;
  #sentBytes = 0;
  #ackedBytes = 0;
  #cursor: Uint8Array | undefined;
  #part = 0;
  #announcedCommit = 0;
  /** The receiver was told. */
  #wanted = 0;
  closed = false;
  /** The last pump left something for which there was no credit or no room in the lane. */
  held = false;
  /** Its owner is going to pump it. */
  pumpDue = false;

  constructor(
    receiver: { nodeId: string; name: string; role: string },
    stream: number,
    source: RlogSource,
    bounds: DbBounds,
    terms: LeaseTerms,
    send: SendFrame,
  ) {
    this.receiver = receiver.nodeId;
    this.receiverName = receiver.name;
    this.isReplicant = receiver.role === 'replicant';
    this.stream = stream;
    this.#source = source;
    this.#bounds = bounds;
    this.#send = send;
    this.next = source.appliedIndex + 1;
    this.lease = new Grantee(terms);
  }

  #message(m: RlogMessage): boolean {
    return this.#send(encodeRlog(m));
  }

  /** Decides how the receiver is served, and tells it. False: not now (it was told `later`). */
  open(m: Extract<RlogMessage, { type: 'open' }>): boolean {
    const s = this.#source;
    const opened = (mode: OpenedMode, rows: number, why: string): void => {
      this.#message({ type: 'opened', shard: s.shard, stream: this.stream, mode, historyId: s.historyId, commitIndex: s.commitIndex, rows, why });
    };
    const sameHistory = m.historyId === s.historyId;
    // Also for a copy that was asked for: it would take the receiver back in time.
    if (sameHistory && m.appliedIndex > s.commitIndex) {
      opened('later', 0, 'this core is behind');
      return false;
    }
    if (sameHistory && !m.force && m.appliedIndex + 1 >= s.firstIndex && s.term(m.appliedIndex) === m.appliedTerm) {
      this.next = m.appliedIndex + 1;
      opened('resume', 0, '');
      return true;
    }
    const copy = m.copy?.historyId === s.historyId ? m.copy : undefined;
    if (copy !== undefined && copy.index + 1 >= s.firstIndex && s.term(copy.index) === copy.term) return this.#continue(copy, opened);
    const why = !sameHistory
      ? 'other history'
      : m.force
        ? 'asked for'
        : m.appliedIndex + 1 < s.firstIndex
          ? 'log compacted'
          : 'other term at that index';
    this.copyWhy = why;
    this.#mode = 'bootstrap';
    this.#cursor = undefined;
    this.#part = 0;
    opened('bootstrap', s.store.stat().rows, why);
    return true;
  }

  /**
   * The receiver has rows of another core's tables, up to `copy.stamp`. This core's must not be older: a sweep
   * would not find in the older core's rows what the copied owner index does not name any more.
   */
  #continue(copy: CopyPlace, opened: (mode: 'continue' | 'later', rows: number, why: string) => void): boolean {
    const s = this.#source;
    if (s.appliedIndex < Math.max(copy.stamp, copy.index)) {
      opened('later', 0, 'this core is behind');
      return false;
    }
    this.next = copy.index + 1;
    this.continues = true;
    if (copy.key !== undefined) {
      this.#mode = 'bootstrap';
      this.#cursor = copy.key.length === 0 ? copyParts[0].start : concatBytes([copy.key, Uint8Array.of(0)]);
      this.#part = partOf(copy.key);
    }
    opened('continue', s.store.stat().rows, '');
    return true;
  }

  get unackedBytes(): number {
    return this.#sentBytes - this.#ackedBytes;
  }

  /** Transactions' worth of log not handed over yet, in entries. */
  get backlog(): number {
    return this.#mode === 'entries' ? Math.max(0, this.#source.commitIndex + 1 - this.next) : 0;
  }

  get catchingUp(): boolean {
    return this.#mode === 'bootstrap';
  }

  acked(now: number, visible: number, bytes: number): void {
    this.lease.see(now, visible, this.#source.commitIndex);
    if (bytes > this.#ackedBytes) this.#ackedBytes = Math.min(bytes, this.#sentBytes);
  }

  /** Sends what credit and lane allow, rows no more than one chunk of them. True: the next may follow, in another turn. */
  pump(): boolean {
    let more = false;
    try {
      while (!more && !this.closed && this.unackedBytes < this.#bounds.replicaCreditBytes) {
        const copies = this.#mode === 'bootstrap';
        if (copies ? !this.#sendChunk() : !this.#sendEntries()) break;
        more = copies;
      }
    } catch (error) {
      if (!(error instanceof TablesError)) throw error;
      // Nothing of a damaged copy goes to others.
      this.close('the tables here are damaged');
    }
    this.held = this.catchingUp || this.backlog > 0;
    return more;
  }

  /** Somebody waits until everything up to `index` is seen: told once, when the receiver was sent it. */
  want(index: number): void {
    if (index <= this.#wanted || this.next <= index || this.catchingUp || this.closed) return;
    if (this.#message({ type: 'wanted', shard: this.#source.shard, index })) this.#wanted = index;
  }

  #sendChunk(): boolean {
    const store = this.#source.store;
    const meta = store.get(metaKey);
    const stamp = meta === undefined ? 0 : decodePosition(meta).appliedIndex;
    const w = chunkRows;
    w.reset();
    let rows = 0;
    let bytes = 0;
    let credit = 0;
    /** Where the next chunk begins, when this one is full. */
    let cut: Uint8Array | undefined;
    // The first chunk is everything that apply consults, from one read: it is small and must be whole.
    const system = this.#cursor === undefined;
    let part = this.#part;
    let from = this.#cursor ?? Uint8Array.of(0);
    for (;;) {
      store.range(from, system ? firstUserKey : copyParts[part]?.end, (key, value) => {
        if (!system && (bytes >= this.#bounds.bootstrapChunkBytes || rows >= chunkRowsMax)) {
          cut = copyBytes(key);
          return false;
        }
        writeChunkRow(w, key, value);
        rows++;
        bytes += key.length + value.length;
        credit += rowBytes(key, value);
        return true;
      });
      const next = copyParts[part + 1];
      if (system || cut !== undefined || next === undefined) break;
      part++;
      from = next.start;
    }
    const last = !system && cut === undefined;
    const head = chunkHead({ type: 'chunk', shard: this.#source.shard, stream: this.stream, stamp, last }, rows);
    const sent = this.#send(head, w.view());
    if (w.bytes.length > chunkRowsBytesMax) w.bytes = new Uint8Array(4096);
    if (!sent) return false;
    this.#sentBytes += credit;
    if (system) {
      this.next = stamp + 1;
      this.#cursor = copyParts[0].start;
    } else if (cut !== undefined) {
      this.#part = part;
      this.#cursor = cut;
    }
    if (last) this.#mode = 'entries';
    return true;
  }

  #sendEntries(): boolean {
    const s = this.#source;
    if (this.next > s.commitIndex) return this.#announce();
    if (this.next < s.firstIndex) {
      this.close('log compacted');
      return false;
    }
    const encoded = s.encodedEntries(this.next, this.#bounds.bootstrapChunkBytes);
    if (encoded === undefined || !this.#send(emptyBytes, encoded.frame)) return false;
    this.#sentBytes += encoded.bytes;
    this.next = encoded.next;
    this.#announcedCommit = s.commitIndex;
    return true;
  }

  #announce(): boolean {
    const s = this.#source;
    if (this.#announcedCommit >= s.commitIndex) return false;
    this.#announcedCommit = s.commitIndex;
    this.#message({ type: 'entries', shard: s.shard, commitIndex: s.commitIndex, committedTransactions: s.committedTransactions, entries: [] });
    return false;
  }

  close(why: string): void {
    if (this.closed) return;
    this.closed = true;
    this.#message({ type: 'close', shard: this.#source.shard, stream: this.stream, why });
  }
}

/** Shares one encoding of the newest entries between all agents that stand at the same place. */
export class EntriesEncoder {
  #from = 0;
  #commit = 0;
  #made: { readonly frame: Uint8Array; readonly next: number; readonly bytes: number } | undefined;

  encode(
    source: RlogSource,
    from: number,
    maxBytes: number,
  ): { readonly frame: Uint8Array; readonly next: number; readonly bytes: number } | undefined {
    const commitIndex = source.commitIndex;
    if (this.#made !== undefined && this.#from === from && this.#commit === commitIndex) return this.#made;
    const entries = source.entries(from, commitIndex + 1, maxBytes);
    if (entries.length === 0) return undefined;
    const frame = encodeRlog({ type: 'entries', shard: source.shard, commitIndex, committedTransactions: source.committedTransactions, entries });
    this.#from = from;
    this.#commit = commitIndex;
    this.#made = { frame, next: (entries[entries.length - 1] as AppliedEntry).index + 1, bytes: entriesBytes(entries) };
    return this.#made;
  }
}

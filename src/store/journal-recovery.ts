// Reads a journal (journal.ts) at start: every segment, record by record, into a visitor.
//
// A batch counts only with its commit: what a crash has torn off was told to nobody. Anything else that is
// not as it was written is damage (as in recovery.ts): a record whose content is broken is told by its
// slot, and where records may be missing altogether the visitor hears `gap`.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { utf8Encode } from '#base/utf8.js';
import type { Files } from '#env/files.js';
import { decodeHeader, formatVersion, headerBytes, type SegmentHeader, segmentName, segmentNumber } from './format.js';
import { contentEnd, type Found, Walk } from './record-walk.js';

export const journalMagic: Uint8Array = utf8Encode('smeshses');

/** Types of records that the journal itself writes; lower ones are its user's. */
export const journalRecord: { readonly commit: 0xf0; readonly base: 0xf1 } = { commit: 0xf0, base: 0xf1 };

export interface JournalDamage {
  readonly file: string;
  readonly offset: number;
  readonly reason: string;
}

/** Hears, in order, what the journal holds. */
export interface JournalVisitor {
  /** `r` reads the payload, during the call. Throwing MalformedError is as good as `broken`. */
  record(type: number, slot: number, r: ByteReader): void;
  /** A record about the slot cannot be read. */
  broken(slot: number): void;
  /** Records are missing here, nobody knows about whom. */
  gap(): void;
}

export interface RecoveredJournal {
  readonly segments: readonly { readonly segment: number; readonly bytes: number }[];
  /** Of the last segment: where its last whole batch ends, and the checksum there. */
  readonly end: number;
  readonly chain: number;
  readonly tornBytes: number;
  readonly damage: readonly JournalDamage[];
  /** Files that nobody needs. */
  readonly leftovers: readonly string[];
}

/** Its format is one that this build does not read. */
export class JournalVersionError extends Error {
  override readonly name = 'JournalVersionError';
}

export function recoverJournal(files: Files, dir: string, visitor: JournalVisitor): RecoveredJournal {
  return new JournalRecovery(files, dir, visitor).run();
}

class JournalRecovery {
  readonly #files: Files;
  readonly #dir: string;
  readonly #visitor: JournalVisitor;
  readonly #damage: JournalDamage[] = [];
  readonly #segments: { segment: number; bytes: number }[] = [];
  #first: number | undefined;
  /** The highest segment that everything before was said to be superseded by. */
  #base = 0;
  #end = 0;
  #chain = 0;
  #tornBytes = 0;

  constructor(files: Files, dir: string, visitor: JournalVisitor) {
    this.#files = files;
    this.#dir = dir;
    this.#visitor = visitor;
  }

  run(): RecoveredJournal {
    const names = this.#files.list(this.#dir);
    const leftovers = names.filter((name) => name.endsWith('.tmp'));
    const numbers = names.map(segmentNumber).filter((n) => n !== undefined);
    const newest = numbers.at(-1);
    // The creation of the newest one was not finished.
    if (newest !== undefined && this.#header(newest) === undefined && contentEnd(this.#files.read(this.#path(newest))) < headerBytes) {
      leftovers.push(segmentName(newest));
      numbers.pop();
    }
    this.#first = numbers[0];
    for (const [i, n] of numbers.entries()) {
      const previous = numbers[i - 1];
      if (previous !== undefined && previous !== n - 1) this.#lose(this.#path(previous + 1), 0, `segments ${previous + 1} to ${n - 1} are missing`);
      const next = numbers[i + 1];
      this.#segment(n, next === undefined, next === n + 1 ? this.#header(next) : undefined);
      this.#segments.push({ segment: n, bytes: this.#files.size(this.#path(n)) });
    }
    if (this.#first !== undefined && this.#first > 1 && this.#base < this.#first) {
      // What comes later may build on what is gone.
      this.#lose(this.#path(this.#first - 1), 0, 'the segments before are missing');
    }
    return {
      segments: this.#segments,
      end: this.#end,
      chain: this.#chain,
      tornBytes: this.#tornBytes,
      damage: this.#damage,
      leftovers,
    };
  }

  #path(segment: number): string {
    return `${this.#dir}/${segmentName(segment)}`;
  }

  #header(n: number): SegmentHeader | undefined {
    const header = decodeHeader(this.#files.readAt(this.#path(n), 0, headerBytes), journalMagic);
    if (header === undefined) return undefined;
    if (header.version !== formatVersion)
      throw new JournalVersionError(`${this.#path(n)} has format version ${header.version}; this Starmesh reads version ${formatVersion}`);
    return header.segment === n ? header : undefined;
  }

  #lose(file: string, offset: number, reason: string): void {
    this.#damage.push({ file, offset, reason });
    this.#visitor.gap();
  }

  #segment(n: number, last: boolean, next: SegmentHeader | undefined): void {
    const file = this.#path(n);
    const bytes = this.#files.read(file);
    const header = this.#header(n);
    if (header === undefined) {
      this.#lose(file, 0, 'the header of the segment is not as it was written');
      this.#end = bytes.length;
      this.#chain = 0;
      return;
    }
    const expected = next?.previousEnd ?? bytes.length;
    const walk = new Walk(bytes, headerBytes, Math.min(expected, bytes.length), header.chain, last);
    this.#end = headerBytes;
    this.#chain = header.chain;
    let batch: Found[] = [];
    for (let found = walk.next(); found !== undefined; found = walk.next()) {
      if (found.type !== journalRecord.commit) {
        batch.push(found);
        continue;
      }
      if (found.broken) this.#damage.push({ file, offset: found.offset, reason: 'the checksum of a record is wrong' });
      for (const record of batch) this.#record(record, file);
      batch = [];
      this.#end = walk.offset;
      this.#chain = walk.chain;
    }
    if (walk.stop === 'damaged') {
      this.#lose(file, walk.offset, 'the checksum of a record is wrong');
      // Nobody may rely on where the next record began.
      if (last) this.#end = bytes.length;
    } else if (next !== undefined && (bytes.length < expected || this.#chain !== next.chain)) {
      this.#lose(file, walk.offset, 'the segment is not what the next one continues');
    } else if (last) this.#tornBytes = bytes.length - this.#end;
  }

  #record(found: Found, file: string): void {
    if (found.broken) {
      this.#broken(found, file, 'the checksum of a record is wrong');
      return;
    }
    const r = new ByteReader(found.bytes, found.start, found.end);
    try {
      if (found.type === journalRecord.base) this.#base = Math.max(this.#base, r.varint());
      else this.#visitor.record(found.type, found.shard, r);
    } catch (error) {
      // The checksum is right and the content makes no sense: a bug of the writer, treated as damage.
      if (!(error instanceof MalformedError)) throw error;
      this.#broken(found, file, error.message);
    }
  }

  #broken(found: Found, file: string, reason: string): void {
    this.#damage.push({ file, offset: found.offset, reason });
    this.#visitor.broken(found.shard);
  }
}

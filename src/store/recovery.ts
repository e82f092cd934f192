// Reads the log at start: all segments, record by record, into the state of every shard.
//
// A write that was under way in a crash leaves an incomplete last record (or zeros where the
// file grew before its content was written): a torn tail, never acknowledged, ignored. Anything
// else that is not as it was written is damage: a complete record with a wrong checksum, also at
// the end; a segment that is missing or shorter than its successor or the mirror says. Damage is
// reported with file and offset, and the shards that it touches are flagged (types.ts), unless
// later records prove that nothing which is still needed was lost (recovering-shard.ts).
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import type { Files } from '#env/files.js';
import {
  decodeHeader,
  EntriesReader,
  formatVersion,
  headerBytes,
  readBase,
  readHardState,
  readShardState,
  recordType,
  type SegmentHeader,
  segmentName,
  segmentNumber,
} from './format.js';
import { contentEnd, type Found, Walk } from './record-walk.js';
import { RecoveringShard } from './recovering-shard.js';
import { laterHardState, type ShardLog } from './shard-log.js';
import { type HardState, type WalDamage, WalError } from './types.js';
import { type MirrorContent, mirrorNumber, readMirror } from './vote-mirror.js';

export interface Recovered {
  readonly shards: readonly ShardLog[];
  readonly nodeId: string | undefined;
  readonly tornBytes: number;
  readonly damage: readonly WalDamage[];
  /** Set when shards may be missing altogether; what the mirror knows of them. */
  readonly lost: { readonly damage: WalDamage; readonly hardStates: ReadonlyMap<string, HardState> } | undefined;
  readonly segments: readonly { readonly segment: number; readonly bytes: number }[];
  /** Of the last segment: where it ends, and the checksum that the next record continues from. */
  readonly end: number;
  readonly chain: number;
  /** Files that nobody needs. */
  readonly leftovers: readonly string[];
}

export function recover(files: Files, dir: string): Recovered {
  return new Recovery(files, dir).run();
}

/** A segment whose creation was not finished holds nothing that was acknowledged. */
type Scan = 'done' | 'unfinished';

class Recovery {
  readonly #files: Files;
  readonly #dir: string;
  readonly #shards = new Map<number, RecoveringShard>();
  readonly #damage: WalDamage[] = [];
  #lostNames: WalDamage | undefined;
  #headWhole = true;
  #nodeId: string | undefined;
  #tornBytes = 0;
  #end = 0;
  #chain = 0;

  constructor(files: Files, dir: string) {
    this.#files = files;
    this.#dir = dir;
  }

  run(): Recovered {
    const names = this.#files.list(this.#dir);
    const leftovers: string[] = names.filter((n) => n.endsWith('.tmp'));
    const numbers = names.map(segmentNumber).filter((n) => n !== undefined);
    const headers = new Map<number, SegmentHeader | undefined>();
    for (const n of numbers) headers.set(n, this.#header(n));
    const newest = numbers.at(-1);
    if (newest !== undefined && headers.get(newest) === undefined && contentEnd(this.#files.read(this.#path(newest))) < headerBytes) {
      leftovers.push(segmentName(newest));
      numbers.pop();
    }
    const used: { segment: number; bytes: number }[] = [];
    for (const [i, n] of numbers.entries()) {
      const previous = numbers[i - 1];
      if (previous !== undefined && previous !== n - 1) this.#gap(n, previous);
      const next = numbers[i + 1];
      const scan = this.#segment(n, headers.get(n), next === undefined, next === n + 1 ? headers.get(next) : undefined);
      const bytes = this.#files.size(this.#path(n));
      if (scan === 'unfinished') leftovers.push(segmentName(n));
      else used.push({ segment: n, bytes });
    }
    const mirror = this.#mirror(names, used.at(-1)?.segment);
    return this.#finish(used, leftovers, mirror);
  }

  #path(segment: number): string {
    return `${this.#dir}/${segmentName(segment)}`;
  }

  #header(n: number): SegmentHeader | undefined {
    const header = decodeHeader(this.#files.readAt(this.#path(n), 0, headerBytes));
    if (header === undefined) return undefined;
    if (header.version !== formatVersion) {
      throw new WalError('version', `${this.#path(n)} has format version ${header.version}; this Starmesh reads version ${formatVersion}`);
    }
    return header.segment === n ? header : undefined;
  }

  #gap(n: number, previous: number): void {
    // Segments are deleted one by one from the oldest on, so a gap is never the trace of a crash.
    this.#lose({ file: this.#path(previous + 1), offset: 0, reason: `segments ${previous + 1} to ${n - 1} are missing` });
  }

  #loseAll(damage: WalDamage): void {
    this.#lostNames ??= damage;
    for (const shard of this.#shards.values()) {
      shard.suspect(damage);
      shard.lostVote ??= damage;
      shard.lostBase ??= damage;
    }
  }

  /** `last`: nothing comes after it. `next`: the following segment's header, when there is a readable one. */
  #segment(n: number, header: SegmentHeader | undefined, last: boolean, next: SegmentHeader | undefined): Scan {
    const file = this.#path(n);
    const bytes = this.#files.read(file);
    if (header === undefined) {
      this.#lose({ file, offset: 0, reason: 'the header of the segment is not as it was written' });
      this.#end = bytes.length;
      this.#chain = 0;
      return 'done';
    }
    this.#nodeId = header.nodeId;
    const before = [this.#end, this.#chain] as const;
    const expected = next?.previousEnd ?? bytes.length;
    const end = Math.min(expected, bytes.length);
    const walk = new Walk(bytes, headerBytes, end, header.chain, last);
    let headDone = false;
    for (let r = walk.next(); r !== undefined; r = walk.next()) {
      if (r.broken) this.#brokenRecord(r, file);
      else this.#record(r, n, file);
      if (r.type === recordType.headEnd) headDone = true;
    }
    this.#end = walk.offset;
    this.#chain = walk.chain;
    // Also when it ends right after a record: without its whole head it was never used.
    if (last && !headDone && walk.stop !== 'damaged') {
      [this.#end, this.#chain] = before;
      return 'unfinished';
    }
    if (walk.stop === 'torn') {
      this.#tornBytes += bytes.length - walk.offset;
    } else if (walk.stop === 'damaged') {
      this.#lose({ file, offset: walk.offset, reason: 'the checksum of a record is wrong' });
      // Nobody may rely on where the next record began.
      this.#end = last ? bytes.length : walk.offset;
    } else if (next !== undefined && (bytes.length < expected || walk.chain !== next.chain)) {
      this.#lose({ file, offset: walk.offset, reason: 'the segment is not what the next one continues' });
    }
    return 'done';
  }

  #lose(damage: WalDamage): void {
    this.#damage.push(damage);
    this.#loseAll(damage);
  }

  /** Length and type are known, the content is not. */
  #brokenRecord(r: Found, file: string): void {
    const damage = { file, offset: r.offset, reason: 'the checksum of a record is wrong' };
    this.#damage.push(damage);
    const shard = this.#shards.get(r.shard);
    switch (r.type) {
      case recordType.entries:
      case recordType.truncate:
      case recordType.install:
        if (shard === undefined) {
          this.#lostNames ??= damage;
          return;
        }
        shard.suspect(damage);
        // What follows may fit the log before it, as at a log's beginning: the base itself is lost in any case.
        if (r.type === recordType.install) shard.lostBase ??= damage;
        return;
      case recordType.hardState:
        if (shard !== undefined) shard.lostVote ??= damage;
        return;
      case recordType.base:
        if (shard !== undefined) shard.lostBase ??= damage;
        return;
      case recordType.shard:
        this.#headWhole = false;
        if (shard === undefined) this.#lostNames ??= damage;
        return;
      default:
    }
  }

  #record(r: Found, segment: number, file: string): void {
    try {
      this.#apply(r, segment, file);
    } catch (error) {
      // The checksum is right and the content makes no sense: a bug of the writer, treated as damage.
      if (!(error instanceof MalformedError)) throw error;
      this.#lose({ file, offset: r.offset, reason: error.message });
    }
  }

  #apply(r: Found, segment: number, file: string): void {
    const damage = (): WalDamage => ({ file, offset: r.offset, reason: 'entries before this place are missing' });
    const reader = new ByteReader(r.bytes, r.start, r.end);
    const shard = this.#shards.get(r.shard);
    switch (r.type) {
      case recordType.node:
        this.#nodeId ??= reader.string();
        this.#headWhole = true;
        return;
      case recordType.headEnd:
        if (this.#headWhole) this.#lostNames = undefined;
        return;
      case recordType.shard: {
        const state = readShardState(reader);
        const known = shard !== undefined && shard.log.name === state.name;
        const into = known ? shard : new RecoveringShard(state.name, r.shard);
        this.#shards.set(r.shard, into);
        into.head(state, known, damage);
        return;
      }
      default:
    }
    // Of a shard whose declaration was lost, or a number of no meaning.
    if (shard === undefined) return;
    switch (r.type) {
      case recordType.entries:
        shard.entries(new EntriesReader(r.bytes, r.start, r.end), { segment, offset: r.offset, length: r.end - r.start, crc: r.crc }, damage);
        return;
      case recordType.truncate:
        shard.truncate(reader.varint());
        return;
      case recordType.hardState:
        shard.log.hardState = readHardState(reader);
        return;
      case recordType.base:
        shard.base(readBase(reader));
        return;
      case recordType.install: {
        const base = readBase(reader);
        const adopted = reader.varint();
        shard.install(base, this.#shards.get(adopted));
        this.#shards.delete(adopted);
        return;
      }
      case recordType.repaired:
        shard.log.damage = undefined;
        return;
      case recordType.drop:
        this.#shards.delete(r.shard);
        return;
      default:
        throw new MalformedError(`a record of unknown type ${r.type}`);
    }
  }

  #mirror(names: readonly string[], last: number | undefined): MirrorContent | undefined {
    const hardStates = new Map<string, HardState>();
    let mark: MirrorContent['mark'];
    let newest: MirrorContent | undefined;
    for (const name of names) {
      const number = mirrorNumber(name);
      // Older ones say nothing that the head of the newest segment does not.
      if (number === undefined || number < (last ?? 0)) continue;
      const file = `${this.#dir}/${name}`;
      const content = readMirror(this.#files.read(file));
      mark = content.mark ?? mark;
      if (number === last) newest = content;
      // Of a segment whose creation was not finished: nothing in it was acknowledged, and it is about to go.
      else if (content.mark === undefined) continue;
      if (content.damagedAt !== undefined) this.#damage.push({ file, offset: content.damagedAt, reason: 'the checksum of a record is wrong' });
      for (const [shard, state] of content.hardStates) {
        const known = hardStates.get(shard);
        hardStates.set(shard, known === undefined ? state : laterHardState(known, state));
      }
    }
    if (mark !== undefined && (last === undefined || mark.segment > last || (mark.segment === last && mark.offset > this.#end))) {
      this.#lose({ file: this.#path(mark.segment), offset: this.#end, reason: `the log was durable up to ${mark.offset} and ends before` });
    }
    return newest === undefined ? undefined : { hardStates, mark, damagedAt: newest.damagedAt };
  }

  #finish(segments: readonly { segment: number; bytes: number }[], leftovers: string[], mirror: MirrorContent | undefined): Recovered {
    const shards: ShardLog[] = [];
    for (const shard of this.#shards.values()) {
      const { log, suspicion } = shard;
      if (suspicion !== undefined && !this.#damage.includes(suspicion.damage)) this.#damage.push(suspicion.damage);
      shard.finish();
      const mirrored = mirror?.hardStates.get(log.name);
      if (mirrored !== undefined) log.hardState = laterHardState(log.hardState, mirrored);
      if (shard.lostVote !== undefined && (mirror === undefined || mirror.damagedAt !== undefined)) log.damage ??= shard.lostVote;
      shards.push(log);
    }
    const lost = this.#lostNames === undefined ? undefined : { damage: this.#lostNames, hardStates: mirror?.hardStates ?? new Map() };
    return {
      shards,
      nodeId: this.#nodeId,
      tornBytes: this.#tornBytes,
      damage: this.#damage,
      lost,
      segments,
      end: this.#end,
      chain: this.#chain,
      leftovers,
    };
  }
}

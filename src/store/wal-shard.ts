// One shard's half of the log: what Raft appends, truncates and reads. Changes take effect in
// memory at once and become records of the batch under way.
import { assert } from '#base/assert.js';
import type { Files } from '#env/files.js';
import { recordType, writeBase, writeEntries, writeHardState } from './format.js';
import { LogReader } from './log-reader.js';
import type { LogWriter } from './log-writer.js';
import type { ShardLog } from './shard-log.js';
import type { HardState, LogBase, LogEntry, ShardAppend, WalDamage, WalDone, WalShard } from './types.js';
import { mirrorHardState } from './vote-mirror.js';

/** Entries are split into records of about this size: to read one back means to read its record. */
const recordBytes = 128 * 1024;

/** What a shard needs of the log that it is part of. */
export interface ShardOwner {
  readonly files: Files;
  readonly dir: string;
  readonly writer: LogWriter;
  find(name: string): ShardLog | undefined;
  touch(log: ShardLog): void;
  forget(log: ShardLog): void;
}

export class LogShard implements WalShard {
  readonly log: ShardLog;
  readonly #owner: ShardOwner;
  readonly #reader: LogReader;

  constructor(owner: ShardOwner, log: ShardLog) {
    this.log = log;
    this.#owner = owner;
    this.#reader = new LogReader(owner.files, owner.dir);
  }

  get name(): string {
    return this.log.name;
  }

  get hardState(): HardState {
    return this.log.hardState;
  }

  get base(): LogBase {
    return this.log.base;
  }

  get firstIndex(): number {
    return this.log.base.index + 1;
  }

  get lastIndex(): number {
    return this.log.lastIndex;
  }

  get lastTerm(): number {
    return this.log.lastTerm;
  }

  get durableIndex(): number {
    return this.log.durableIndex;
  }

  get damage(): WalDamage | undefined {
    return this.log.damage;
  }

  get bytes(): number {
    return this.log.index.bytes();
  }

  term(index: number): number | undefined {
    return this.log.term(index);
  }

  entries(from: number, to: number, maxBytes: number): readonly LogEntry[] {
    const { log } = this;
    assert(from > log.base.index && from < to && to <= log.lastIndex + 1, 'wal: entries outside the log');
    const out: LogEntry[] = [];
    const cached = log.cache.firstIndex ?? log.lastIndex + 1;
    if (from < cached) {
      const wrong = this.#reader.read(log, from, Math.min(to, cached), maxBytes, out);
      if (wrong !== undefined) {
        this.#owner.writer.fail(wrong);
        return out;
      }
    }
    let bytes = 0;
    for (const e of out) bytes += e.data.length;
    // From memory only when the disk part is complete: there must be no hole.
    for (let i = from + out.length; i >= cached && i < to; i++) {
      const e = log.cache.get(i);
      if (e === undefined || (out.length > 0 && bytes + e.data.length > maxBytes)) break;
      bytes += e.data.length;
      out.push(e);
    }
    return out;
  }

  append(change: ShardAppend, done?: WalDone): void {
    if (!this.#refused(done)) {
      const { hardState, truncateFrom, entries } = change;
      if (hardState !== undefined) this.#hardState(hardState);
      const first = entries?.[0];
      if (truncateFrom !== undefined && truncateFrom <= this.log.lastIndex) this.#truncate(truncateFrom, first === undefined);
      if (entries !== undefined && first !== undefined) this.#entries(entries);
      if (done !== undefined) this.#owner.writer.whenDurable(done);
    }
  }

  #hardState(state: HardState): void {
    const { log } = this;
    assert(state.currentTerm >= log.hardState.currentTerm, 'wal: the term goes backwards');
    log.hardState = state;
    const { writer } = this.#owner;
    writer.record(recordType.hardState, log.number, (w) => writeHardState(w, state));
    mirrorHardState(writer.mirror, log.name, state);
  }

  /** A record of entries that begins at `from` says the same by itself. */
  #truncate(from: number, alone: boolean): void {
    this.log.truncate(from);
    this.#owner.touch(this.log);
    if (alone) this.#owner.writer.record(recordType.truncate, this.log.number, (w) => w.varint(from));
  }

  #entries(entries: readonly LogEntry[]): void {
    const { log } = this;
    const { writer } = this.#owner;
    let from = 0;
    while (from < entries.length) {
      const first = entries[from] as LogEntry;
      assert(first.index === log.lastIndex + 1, 'wal: entries do not follow the log');
      let to = from;
      for (let bytes = 0; to < entries.length && bytes < recordBytes; to++) bytes += (entries[to] as LogEntry).data.length;
      const previousTerm = log.lastTerm;
      const until = to;
      const start = from;
      // A leader sends the data to its followers too; an entry's data ends its record.
      const { data } = entries[until - 1] as LogEntry;
      const { segment, offset, length, crc } = writer.record(
        recordType.entries,
        log.number,
        (w) => writeEntries(w, entries, start, until, previousTerm),
        data,
      );
      log.index.push({ firstIndex: first.index, segment, offset, length, crc });
      for (; from < to; from++) {
        const e = entries[from] as LogEntry;
        assert(e.index === log.lastIndex + 1 && e.term >= log.lastTerm, 'wal: entries do not follow each other');
        log.terms.push(e.index, e.term);
        log.cache.push(e);
        log.lastIndex = e.index;
      }
    }
    this.#owner.touch(log);
  }

  compact(base: LogBase, done?: WalDone): void {
    if (this.#refused(done)) return;
    const { log } = this;
    assert(base.index <= log.lastIndex && log.term(base.index) === base.term, 'wal: the base is not in the log');
    log.compact(base);
    this.#owner.writer.record(recordType.base, log.number, (w) => writeBase(w, base));
    if (done !== undefined) this.#owner.writer.whenDurable(done);
  }

  installBase(base: LogBase, adopt: string | undefined, done?: WalDone): void {
    if (this.#refused(done)) return;
    const { log } = this;
    const staged = adopt === undefined ? undefined : this.#owner.find(adopt);
    assert(adopt === undefined || (staged !== undefined && staged !== log), 'wal: no such staged log');
    // A staged log that ends at or before the base has nothing to give.
    const useful = staged !== undefined && staged.lastIndex > base.index;
    if (useful) {
      assert(staged.term(base.index) === base.term, 'wal: the staged log does not continue the base');
      log.adopt(staged, base);
    } else {
      log.reset(base);
    }
    this.#owner.writer.record(recordType.install, log.number, (w) => {
      writeBase(w, base);
      w.varint(useful ? staged.number : 0);
    });
    if (staged !== undefined) {
      if (!useful) this.#owner.writer.record(recordType.drop, staged.number, () => undefined);
      this.#owner.forget(staged);
    }
    this.#owner.touch(log);
    if (done !== undefined) this.#owner.writer.whenDurable(done);
  }

  clearDamage(done?: WalDone): void {
    if (this.#refused(done)) return;
    this.log.damage = undefined;
    this.#owner.writer.record(recordType.repaired, this.log.number, () => undefined);
    if (done !== undefined) this.#owner.writer.whenDurable(done);
  }

  drop(done?: WalDone): void {
    if (this.#refused(done)) return;
    this.#owner.writer.record(recordType.drop, this.log.number, () => undefined);
    this.#owner.forget(this.log);
    if (done !== undefined) this.#owner.writer.whenDurable(done);
  }

  /** Begins a change. After a failure nothing changes any more, in memory neither. */
  #refused(done: WalDone | undefined): boolean {
    assert(!this.log.dropped, 'wal: the shard was dropped');
    if (this.#owner.writer.failure === undefined) {
      this.#owner.writer.begin();
      return false;
    }
    if (done !== undefined) this.#owner.writer.whenDurable(done);
    return true;
  }
}

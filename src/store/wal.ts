// The write-ahead log of a node (types.ts says what it promises): opening it, the log as a
// whole, segments that nobody needs any more. The shards' own half is `wal-shard.ts`.
import { assert } from '#base/assert.js';
import type { ByteWriter } from '#base/byte-writer.js';
import type { Env } from '#env/env.js';
import { type Files, FilesError } from '#env/files.js';
import { decodeHeader, headerBytes, recordType, segmentName, segmentNumber, writeShardState } from './format.js';
import { LogWriter } from './log-writer.js';
import { type Recovered, recover } from './recovery.js';
import { emptyHardState, ShardLog } from './shard-log.js';
import { type OpenedWal, type Wal, type WalDone, WalError, type WalOptions, type WalShard, walDefaults } from './types.js';
import { mirrorHardState, mirrorNumber } from './vote-mirror.js';
import { LogShard, type ShardOwner } from './wal-shard.js';

/** What the log asks of the world. */
export type WalEnv = Pick<Env, 'files' | 'clock' | 'metrics' | 'log'>;

/** Records give two bytes to a shard's number. */
const shardsMax = 0xffff;

/**
 * Reads what is there and begins a new segment; what that writes becomes durable with the first
 * batch. Throws {@link WalError}: 'version', 'foreign' (the log of another node), or 'failed'
 * when files cannot be read. Damage is no error: see {@link OpenedWal} and `WalShard.damage`.
 */
export function openWal(env: WalEnv, options: WalOptions): OpenedWal {
  const dir = options.dir ?? walDefaults.dir;
  try {
    env.files.makeDir(dir);
    const found = recover(env.files, dir);
    if (found.nodeId !== undefined && found.nodeId !== options.nodeId) {
      throw new WalError('foreign', `the log in ${dir} was written by node ${found.nodeId}, and this is node ${options.nodeId}`);
    }
    for (const d of found.damage) env.log.error('The log is damaged.', { ...d });
    if (found.tornBytes > 0) env.log.info('An incomplete last write was cut from the log.', { bytes: found.tornBytes });
    const { nodeId, tornBytes, damage } = found;
    const wal = new NodeWal(env, dir, options, found);
    return { wal, recovery: { nodeId, found: found.segments.length > 0, tornBytes, damage } };
  } catch (error) {
    if (error instanceof FilesError) throw new WalError('failed', `${error.path}: ${error.message}`);
    throw error;
  }
}

/** Whose log it is, for a node that lost its `node.json`. Undefined when there is no log. */
export function readWalNodeId(files: Files, dir: string = walDefaults.dir): string | undefined {
  for (const name of files.list(dir)) {
    if (segmentNumber(name) === undefined) continue;
    const header = decodeHeader(files.readAt(`${dir}/${name}`, 0, headerBytes));
    if (header !== undefined) return header.nodeId;
  }
  return undefined;
}

interface Segment {
  readonly segment: number;
  readonly bytes: number;
}

class NodeWal implements Wal, ShardOwner {
  readonly files: Files;
  readonly dir: string;
  readonly writer: LogWriter;
  readonly #env: WalEnv;
  readonly #options: WalOptions;
  readonly #shards = new Map<string, LogShard>();
  /** Numbers of shards that exist. */
  readonly #numbers = new Set<number>();
  readonly #lost: Recovered['lost'];
  readonly #cacheBytes: number;
  readonly #shardCacheBytes: number;
  /** Finished segments, oldest first; the newest one is the writer's. */
  #segments: Segment[];
  /** Changed in the batch under way. */
  readonly #touched = new Set<ShardLog>();
  #syncing: ShardLog[] = [];
  #neededFrom = 0;
  /** Segments below this one are to be deleted. */
  #deleteTo = 0;
  /** The newest segment that was found damaged. What it does not say of itself those before it may have: it outlives none of them. */
  readonly #damagedTo: number;
  #deleting = false;
  #cleanedFor = 0;
  #leftovers: readonly string[];

  constructor(env: WalEnv, dir: string, options: WalOptions, found: Recovered) {
    this.#env = env;
    this.files = env.files;
    this.dir = dir;
    this.#options = options;
    this.#lost = found.lost;
    this.#cacheBytes = options.cacheBytes ?? walDefaults.cacheBytes;
    this.#shardCacheBytes = options.shardCacheBytes ?? walDefaults.shardCacheBytes;
    this.#segments = [...found.segments];
    this.#damagedTo = Math.max(0, ...found.damage.map((d) => segmentNumber(d.file.slice(dir.length + 1)) ?? 0));
    const next = segmentName((found.segments.at(-1)?.segment ?? 0) + 1);
    this.#leftovers = found.leftovers.filter((name) => name !== next);
    for (const log of found.shards) this.#add(log);
    const start = {
      dir,
      nodeId: options.nodeId,
      segmentBytes: options.segmentBytes ?? walDefaults.segmentBytes,
      segment: found.segments.at(-1)?.segment ?? 0,
      end: found.end,
      chain: found.chain,
    };
    this.writer = new LogWriter(env, start, {
      head: (previousBytes) => this.#head(previousBytes),
      mirrorHead: (w) => this.#mirrorHead(w),
      written: () => this.#written(),
      durable: () => this.#durable(),
      failed: (error) => this.#failed(error),
    });
    this.#syncing = [...found.shards];
    this.writer.syncFound();
    // Shards of which nothing but a hard state is left: their log is gone.
    for (const name of found.lost?.hardStates.keys() ?? []) this.shard(name);
    this.#metrics();
  }

  #metrics(): void {
    const { metrics } = this.#env;
    metrics.gaugeFn('starmesh_wal_pending_bytes', 'Bytes of the log that are not yet durable.', {}, () => this.pendingBytes);
    metrics.gaugeFn('starmesh_wal_disk_bytes', 'Size of the log on disk.', {}, () => this.diskBytes);
    metrics.gaugeFn('starmesh_wal_cache_bytes', 'Log entries kept in memory.', {}, () => this.#cached());
    metrics.gaugeFn('starmesh_wal_failed', '1 when the disk has refused a write or sync of the log.', {}, () =>
      this.writer.failure?.kind === 'failed' ? 1 : 0,
    );
  }

  shards(): readonly WalShard[] {
    return [...this.#shards.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  shard(name: string): WalShard {
    const known = this.#shards.get(name);
    if (known !== undefined) return known;
    let number = 1;
    while (this.#numbers.has(number)) number++;
    assert(number <= shardsMax, 'wal: too many shards');
    const log = new ShardLog(name, number);
    if (this.#lost !== undefined) {
      // Whether the log knew this shard is not known any more.
      log.damage = this.#lost.damage;
      log.hardState = this.#lost.hardStates.get(name) ?? emptyHardState;
    }
    if (this.writer.failure !== undefined) return this.#add(log);
    this.writer.begin();
    const shard = this.#add(log);
    this.writer.record(recordType.shard, number, (w) => writeShardState(w, log.state()));
    return shard;
  }

  #add(log: ShardLog): LogShard {
    const shard = new LogShard(this, log);
    this.#shards.set(log.name, shard);
    this.#numbers.add(log.number);
    return shard;
  }

  /** For `LogShard`. */
  find(name: string): ShardLog | undefined {
    return this.#shards.get(name)?.log;
  }

  touch(log: ShardLog): void {
    this.#touched.add(log);
  }

  forget(log: ShardLog): void {
    log.dropped = true;
    this.#shards.delete(log.name);
    this.#numbers.delete(log.number);
    this.#touched.delete(log);
  }

  flush(): void {
    this.writer.flush();
  }

  sync(done: WalDone): void {
    this.writer.whenDurable(done);
  }

  get pendingBytes(): number {
    return this.writer.pendingBytes;
  }

  get diskBytes(): number {
    let total = this.writer.segmentEnd;
    for (const s of this.#segments) if (s.segment !== this.writer.segment) total += s.bytes;
    return total;
  }

  get failure(): WalError | undefined {
    return this.writer.failure;
  }

  close(done: WalDone): void {
    this.writer.close(done);
  }

  /** Asks nothing of the disk: this runs inside an append, and a disk that fails is told of by its batch. */
  #head(previousBytes: number): void {
    const last = this.#segments.at(-1);
    const previous = this.writer.segment - 1;
    if (previous > 0 && last?.segment !== previous) this.#segments.push({ segment: previous, bytes: previousBytes });
    for (const { log } of this.#shards.values()) this.writer.headRecord(recordType.shard, log.number, (w) => writeShardState(w, log.state()));
  }

  #mirrorHead(w: ByteWriter): void {
    for (const { log } of this.#shards.values()) mirrorHardState(w, log.name, log.hardState);
  }

  #written(): void {
    for (const log of this.#touched) {
      log.writtenIndex = log.lastIndex;
      log.syncingIndex = log.lastIndex;
    }
    this.#syncing = [...this.#touched];
    this.#touched.clear();
    this.#neededFrom = this.#oldestNeeded();
    this.trimCache();
  }

  #durable(): void {
    for (const log of this.#syncing) log.durableIndex = log.syncingIndex;
    this.#syncing = [];
    this.#deleteBelow(this.#neededFrom);
  }

  /** The oldest segment with an entry that some shard still has. */
  #oldestNeeded(): number {
    let oldest = this.writer.segment;
    for (const { log } of this.#shards.values()) oldest = Math.min(oldest, log.index.firstSegment() ?? oldest);
    return oldest;
  }

  #deleteBelow(segment: number): void {
    const { durableSegment } = this.writer;
    if (durableSegment !== this.#cleanedFor) {
      this.#cleanedFor = durableSegment;
      this.#attempt(() => this.#deleteStale(durableSegment));
    }
    if (segment > this.#damagedTo) this.#deleteTo = Math.max(this.#deleteTo, segment);
    if (!this.#deleting) this.#deleteNext();
  }

  /** One by one, each durably gone before the next: a crash must not leave a gap that looks like a loss. */
  #deleteNext(): void {
    const oldest = this.#segments[0];
    if (oldest === undefined || oldest.segment >= this.#deleteTo || this.writer.failure !== undefined) return;
    this.#attempt(() => {
      this.files.remove(`${this.dir}/${segmentName(oldest.segment)}`);
      this.#segments.shift();
      this.#deleting = true;
      this.files.syncDir(this.dir, (error) => {
        this.#deleting = false;
        if (error === undefined) this.#deleteNext();
        else this.#notDeleted(error);
      });
    });
  }

  /** Leftovers, and mirrors of older segments: the newest one's head is durable now. */
  #deleteStale(newest: number): void {
    const stale = this.files.list(this.dir).filter((name) => this.#leftovers.includes(name) || (mirrorNumber(name) ?? newest) < newest);
    this.#leftovers = [];
    for (const name of stale) this.files.remove(`${this.dir}/${name}`);
  }

  #attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof FilesError)) throw error;
      this.#notDeleted(error);
    }
  }

  /** Nothing is wrong with the log; the files are tried again later or at the next start. */
  #notDeleted(error: FilesError): void {
    this.#env.log.warn('A file of the log could not be deleted.', { path: error.path, error: error.message });
  }

  #cached(): number {
    let total = 0;
    for (const { log } of this.#shards.values()) total += log.cache.bytes;
    return total;
  }

  /** Forgets the oldest entries in memory until the bounds hold; never ones that are not in a file yet. */
  trimCache(): void {
    let total = 0;
    for (const { log } of this.#shards.values()) {
      trim(log, this.#shardCacheBytes);
      total += log.cache.bytes;
    }
    while (total > this.#cacheBytes) {
      let largest: ShardLog | undefined;
      for (const { log } of this.#shards.values()) if (largest === undefined || log.cache.bytes > largest.cache.bytes) largest = log;
      if (largest === undefined) return;
      const before = largest.cache.bytes;
      trim(largest, Math.max(0, before - Math.max(total - this.#cacheBytes, this.#cacheBytes >> 4)));
      if (largest.cache.bytes === before) return;
      total -= before - largest.cache.bytes;
    }
  }

  #failed(error: WalError): void {
    this.#env.log.error('The log has failed; this node takes no more writes.', { error: error.message });
    this.#options.onFailure?.(error);
  }
}

function trim(log: ShardLog, bytes: number): void {
  while (log.cache.bytes > bytes) {
    const first = log.cache.firstIndex;
    if (first === undefined || first > log.writtenIndex) return;
    log.cache.shift();
  }
}

// A world for the log's own tests: files in memory, and callbacks that run when the test says.

import { crc32c } from '#base/crc32c.js';
import type { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import type { Metrics } from '#env/metrics.js';
import { headerBytes, segmentName } from './format.js';
import { MemoryFiles } from './memory-files.js';
import type { LogBase, LogEntry, Wal, WalError, WalOptions, WalRecovery } from './types.js';
import { openWal, type WalEnv } from './wal.js';

export function entries(first: number, count: number, term: number, size: number = 0): LogEntry[] {
  return Array.from({ length: count }, (_, i): LogEntry => {
    const data = utf8Encode(`entry ${first + i} of term ${term}`.padEnd(size));
    return { index: first + i, term, kind: i % 7 === 6 ? 'noop' : 'normal', data };
  });
}

export function base(index: number, term: number, generation: number = 0): LogBase {
  return { index, term, config: utf8Encode(`config at ${index}`), historyId: 'history', generation };
}

const noMetrics: Metrics = {
  counter: () => ({ value: 0 }),
  gauge: () => ({ value: 0 }),
  gaugeFn: () => undefined,
  histogram: () => ({ observe: () => undefined }),
};

export class TestWorld {
  files: MemoryFiles;
  recovery: WalRecovery = { nodeId: undefined, found: false, tornBytes: 0, damage: [] };
  readonly failures: WalError[] = [];
  readonly #options: Partial<WalOptions>;
  #ends: (() => void)[] = [];
  #disk: (() => void)[] = [];
  #now = 0;

  constructor(options: Partial<WalOptions> = {}) {
    this.#options = options;
    this.files = new MemoryFiles((fn) => this.#disk.push(fn));
  }

  open(more: Partial<WalOptions> = {}): Wal {
    const env: WalEnv = {
      files: this.files,
      clock: {
        now: () => this.#now,
        wallNow: () => 0,
        setTimer: () => ({ cancel: () => undefined }),
        endOfTurn: (fn) => void this.#ends.push(fn),
      },
      metrics: noMetrics,
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    };
    const { wal, recovery } = openWal(env, { nodeId: 'node-a', onFailure: (e) => this.failures.push(e), ...this.#options, ...more });
    this.recovery = recovery;
    return wal;
  }

  /** Runs what waits for the end of the turn. */
  endTurn(): void {
    const ends = this.#ends;
    this.#ends = [];
    for (const fn of ends) fn();
  }

  /** Completes the oldest thing that the disk was asked for; false when there is none. */
  step(): boolean {
    this.#now++;
    const fn = this.#disk.shift();
    fn?.();
    return fn !== undefined;
  }

  /** Until nothing is left to do. */
  run(): void {
    do {
      while (this.#ends.length > 0) this.endTurn();
    } while (this.step() || this.#ends.length > 0);
  }

  /** A killed process: the page cache stays. */
  restart(): Wal {
    this.#ends = [];
    this.#disk = [];
    return this.open();
  }

  /** A machine without power. */
  crash(dice: Prng): Wal {
    this.#ends = [];
    this.#disk = [];
    this.files = this.files.crash(dice);
    return this.open();
  }

  segments(): string[] {
    return this.files.list('wal').filter((n) => n.endsWith('.log'));
  }

  countWrites(): { appends: number } {
    const counts = { appends: 0 };
    const open = this.files.openAppend.bind(this.files);
    this.files.openAppend = (path) => {
      const file = open(path);
      if (!path.endsWith('.log')) return file;
      const append = file.append.bind(file);
      file.append = (parts) => {
        counts.appends++;
        append(parts);
      };
      return file;
    };
    return counts;
  }

  /** Changes a segment's header and makes its checksum right again. */
  rewriteHeader(segment: number, change: (view: DataView) => void): void {
    this.files.damage(`wal/${segmentName(segment)}`, (bytes) => {
      const view = new DataView(bytes.buffer);
      change(view);
      view.setUint32(headerBytes - 4, crc32c(bytes, 0, 0, headerBytes - 4), true);
      return bytes;
    });
  }
}

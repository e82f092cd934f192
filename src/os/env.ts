// The real world of one node, made once by `node` and handed down.
import type { Env } from '#env/env.js';
import { OsClock } from './clock.js';
import { OsFiles } from './files.js';
import { OsHash } from './hash.js';
import { takeLock } from './lock.js';
import { type LoggerOptions, OsLogger } from './logger.js';
import { OsMemory } from './memory.js';
import { OsMetrics } from './metrics.js';
import { type NetOptions, OsNet } from './net.js';
import { OsRandom } from './random.js';
import { OsTables, type TablesOptions } from './tables.js';

export interface OsEnvOptions {
  readonly dataDir: string;
  /** Where the log goes and what each line carries. Default: JSON to standard output, from `info` on. */
  readonly logger?: LoggerOptions;
  readonly net?: NetOptions;
  readonly tables?: TablesOptions;
}

export interface OsEnv extends Env {
  readonly files: OsFiles;
  readonly metrics: OsMetrics;
  readonly log: OsLogger;
  readonly memory: OsMemory;
  /** Ends the sync thread and gives the data directory free. Logs and tables are closed before. */
  close(done: () => void): void;
}

/** Throws `LockedError` when another live process uses the data directory. */
export function createOsEnv(options: OsEnvOptions): OsEnv {
  const lock = takeLock(options.dataDir);
  const files = new OsFiles(options.dataDir);
  return {
    clock: new OsClock(),
    random: new OsRandom(),
    files,
    tables: new OsTables(options.dataDir, options.tables),
    net: new OsNet(options.net),
    hash: new OsHash(),
    log: new OsLogger(options.logger ?? { targets: [{ level: 'info' }] }),
    metrics: new OsMetrics(),
    memory: new OsMemory(),
    close(done) {
      files.close(() => {
        lock.release();
        done();
      });
    },
  };
}

import type { Clock } from './clock.js';
import type { Files } from './files.js';
import type { Hash } from './hash.js';
import type { Logger } from './logger.js';
import type { Memory } from './memory.js';
import type { Metrics } from './metrics.js';
import type { Net } from './net.js';
import type { Random } from './random.js';
import type { Tables } from './tables.js';

/** Everything a node may ask of the world: made once, by `os` or by the simulator, and handed down. */
export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
  readonly tables: Tables;
  readonly net: Net;
  readonly hash: Hash;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Absent: nobody bounds it. */
  readonly memory?: Memory;
}

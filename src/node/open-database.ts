// The package's entry for applications that want the database alone, without MQTT:
// `import { openDatabase } from 'starmesh'`. Builds a node's database half over the real world,
// waits until it is in service, and hands out a `Database`. docs/database.md explains it.
import { toHex } from '#base/bytes.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import { LockedError } from '#os/lock.js';
import { DataDirectoryError } from './data-directory-error.js';
import { type DiskWatch, watchDisk } from './disk-watch.js';
import { Database } from './library/database.js';
import { DatabaseError } from './library/errors.js';
import { coreOptions, type DatabaseOptions, envOptions, openDefaults } from './library/options.js';
import { createNodeCore, type NodeCore, type NodeCoreOptions } from './node-core.js';
import { cannotListen } from './ports.js';

export { CommandRefused, type ShardStatus, type Until, WriteFailure, type WriteFailureKind } from '#db/api.js';
export type { Key } from '#db/key-codec.js';
export { UnstorableError } from '#db/value-codec.js';
export type { MessageProperties } from '#session/message.js';
export { createBroker } from './create-broker.js';
export type { Broker, PublishSettings } from './library/broker.js';
export { BrokerError, type BrokerErrorCode } from './library/broker-error.js';
export type { BrokerOptions, ListenerSettings, TlsSettings } from './library/broker-options.js';
export type { BrokerSubscription, MessageHandler, ReceivedMessage, SubscribeSettings } from './library/broker-subscription.js';
export type { Batch, Database, DatabaseStatus, ReadonlyOptions, WaitOptions, Written } from './library/database.js';
export { DatabaseError, type DatabaseErrorCode } from './library/errors.js';
export type {
  HookClient,
  HookConnect,
  HookEnd,
  HookMessage,
  HookName,
  HookSession,
  HookSubscription,
  Hooks,
  HookWill,
  HookWish,
} from './library/hook-types.js';
export type { Address, ClusterTls, CoreAddress, DatabaseOptions, LogOptions } from './library/options.js';
export { type Command, defineShard, type Shard, type ShardOptions, type TableOptions } from './library/schema.js';
export type { Change, SubscribeOptions, Subscription, TableEvent } from './library/subscription.js';
export type { Table } from './library/table.js';
export type { CommandView, RangeOptions, ReadView, RowOptions, WriteView } from './library/views.js';

/** How often a node that is not in service yet looks whether it is. */
const servingPollMs = 10;
/** An orderly stop that takes longer is cut short. */
const stopMsMax = 8_000;
const timerMsMax = 0x7fffffff;

/**
 * Opens this node's database and resolves once it is in service: the cluster is formed, the node has
 * joined it, and its copy of every shard is in sync. A cluster forms when all its cores are there for
 * the first time, so open them together (`Promise.all` when they are in one process); afterwards a
 * majority is enough. While a database is open it keeps the process alive.
 *
 * Rejects with {@link DatabaseError}; nothing is left running then.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const opening = new Opening(options);
  try {
    return await opening.open();
  } catch (error) {
    await opening.stop();
    throw asDatabaseError(error);
  }
}

function asDatabaseError(error: unknown): DatabaseError {
  if (error instanceof DatabaseError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof LockedError ? 'locked' : error instanceof DataDirectoryError ? 'data-directory' : 'failed';
  return new DatabaseError(code, message, { cause: error });
}

/** The parts of one open database, from the first to the last. */
class Opening {
  readonly #options: DatabaseOptions;
  #env: OsEnv | undefined;
  #disk: DiskWatch | undefined;
  #core: NodeCore | undefined;
  #database: Database | undefined;
  #keepAlive: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;
  /** Fails the opening, or the open database. */
  #fail: (error: DatabaseError) => void = () => {};

  constructor(options: DatabaseOptions) {
    this.#options = options;
  }

  async open(): Promise<Database> {
    const o = this.#options;
    // Before anything is touched: what can be refused is refused here.
    const made = coreOptions(o, '', (error) => this.#fatal(error));
    // Timers of the database do not hold the process.
    this.#keepAlive = setInterval(() => {}, timerMsMax);
    const env = createOsEnv(envOptions(o));
    this.#env = env;
    this.#disk = await watchDisk(o.dataDir, env, (error) => this.#fatal(error));
    const cookie = made.cookie === '' ? toHex(env.random.bytes(32)) : made.cookie;
    await this.#serving({ ...made, cookie }, env);
    const core = this.#core as NodeCore;
    const database = new Database({ name: o.name, core, shards: o.shards, stop: () => this.stop() });
    this.#database = database;
    return database;
  }

  #serving(options: NodeCoreOptions, env: OsEnv): Promise<void> {
    const deadlineMs = this.#options.openDeadlineMs ?? openDefaults.openDeadlineMs;
    const startedAt = env.clock.now();
    return new Promise((resolve, reject) => {
      const end = (error: DatabaseError | undefined): void => {
        clearInterval(timer);
        this.#fail = (later) => this.#database?.fail(later);
        if (error === undefined) resolve();
        else reject(error);
      };
      const timer = setInterval(() => {
        const cluster = this.#core?.cluster;
        if (cluster === undefined) return;
        if (cluster.phase === 'refused') end(new DatabaseError('refused', cluster.why));
        else if (cluster.serving) end(undefined);
        else if (env.clock.now() - startedAt > deadlineMs)
          end(new DatabaseError('deadline', `not in service after ${deadlineMs} ms: ${cluster.why || 'the copies are not in sync'}`));
      }, servingPollMs);
      this.#fail = end;
      try {
        this.#core = createNodeCore(env, {
          ...options,
          onListenError: (error) =>
            end(new DatabaseError('cannot-listen', cannotListen('listen', options.listen ?? options.advertise, error).message)),
        });
      } catch (error) {
        end(asDatabaseError(error));
      }
    });
  }

  #fatal(error: Error): void {
    this.#env?.log.error('the database cannot go on', { reason: error.message });
    this.#fail(new DatabaseError('failed', error.message, { cause: error }));
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#disk?.stop();
    const core = this.#core;
    if (core !== undefined) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((done) => {
        timer = setTimeout(done, stopMsMax);
      });
      await Promise.race([new Promise<void>((done) => core.stop(done)), late]);
      clearTimeout(timer);
    }
    const env = this.#env;
    if (env !== undefined) await new Promise<void>((done) => env.close(done));
    clearInterval(this.#keepAlive);
  }
}

// The package's entry for programs that embed the whole broker: `import { createBroker } from 'starmesh'`
// (`open-database.ts` passes it on). Builds a node over the real world, waits until it serves, and hands
// out a `Broker`. docs/embedding.md explains it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex } from '#base/bytes.js';
import { defaultBrokerOptions } from '#broker/options.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import { LockedError } from '#os/lock.js';
import { createNode, type StarmeshNode } from './create-node.js';
import { DataDirectoryError } from './data-directory-error.js';
import { type DiskWatch, watchDisk } from './disk-watch.js';
import { Broker } from './library/broker.js';
import { BrokerError } from './library/broker-error.js';
import { type BrokerOptions, brokerDefaults, listenerOptionsOf } from './library/broker-options.js';
import { DatabaseError } from './library/errors.js';
import { type DatabaseOptions, envOptions, memberOptions, openDefaults } from './library/options.js';
import { cannotListen } from './ports.js';

const refusedPollMs = 20;
/** An orderly stop that takes longer is cut short. */
const stopMsMax = 8_000;
const timerMsMax = 0x7fffffff;

/**
 * Starts a broker inside this program and resolves once it serves clients. Without options: a single node without
 * listeners whose data goes with it. With `cores` and `cookie`: a member of a cluster, as for `openDatabase`. While it is
 * open it keeps the process alive.
 *
 * Rejects with {@link BrokerError}; nothing is left running then.
 */
export async function createBroker(options: BrokerOptions = {}): Promise<Broker> {
  const opening = new Opening(options);
  try {
    return await opening.open();
  } catch (error) {
    await opening.stop();
    throw asBrokerError(error);
  }
}

function asBrokerError(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof DatabaseError && error.code === 'options') return new BrokerError('options', message);
  const code = error instanceof LockedError ? 'locked' : error instanceof DataDirectoryError ? 'data-directory' : 'failed';
  return new BrokerError(code, message, { cause: error });
}

/** The parts of one broker, from the first to the last. */
class Opening {
  readonly #options: BrokerOptions;
  #temporary: string | undefined;
  #env: OsEnv | undefined;
  #disk: DiskWatch | undefined;
  #node: StarmeshNode | undefined;
  #broker: Broker | undefined;
  #keepAlive: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;
  /** Fails the opening. */
  #fail: (error: BrokerError) => void = () => {};

  constructor(options: BrokerOptions) {
    this.#options = options;
  }

  async open(): Promise<Broker> {
    const o = this.#options;
    if (o.name === undefined && (o.cores !== undefined || o.dataDir !== undefined))
      throw new BrokerError('options', 'name: cluster and data directory know the node by it');
    const listeners = (o.listeners ?? []).map(listenerOptionsOf);
    const settings: DatabaseOptions = { ...o, name: o.name ?? brokerDefaults.name, dataDir: o.dataDir ?? '', shards: o.shards ?? [] };
    // Before anything is touched: what can be refused is refused here.
    const member = memberOptions(settings, '', (error) => this.#fatal(error));
    if (o.dataDir === undefined) this.#temporary = await mkdtemp(join(tmpdir(), 'starmesh-'));
    const dataDir = o.dataDir ?? this.#temporary ?? '';
    this.#keepAlive = setInterval(() => {}, timerMsMax);
    const env = createOsEnv(envOptions({ ...settings, dataDir }));
    this.#env = env;
    this.#disk = await watchDisk(dataDir, env, (error) => this.#fatal(error));
    const cookie = member.cookie === '' ? toHex(env.random.bytes(32)) : member.cookie;
    await this.#serving(env, { ...member, cookie }, listeners);
    const parts = { name: settings.name, env, node: this.#node as StarmeshNode, hookDeadlineMs: o.hookDeadlineMs ?? brokerDefaults.hookDeadlineMs };
    this.#broker = new Broker({ ...parts, stop: () => this.stop() });
    return this.#broker;
  }

  #serving(env: OsEnv, core: ReturnType<typeof memberOptions>, listeners: readonly ReturnType<typeof listenerOptionsOf>[]): Promise<void> {
    const o = this.#options;
    const deadlineMs = o.openDeadlineMs ?? openDefaults.openDeadlineMs;
    const startedAt = env.clock.now();
    return new Promise((resolve, reject) => {
      const end = (error: BrokerError | undefined): void => {
        clearInterval(timer);
        this.#fail = () => {};
        if (error === undefined) resolve();
        else reject(error);
      };
      const timer = setInterval(() => {
        const cluster = this.#node?.core.cluster;
        if (cluster?.phase === 'refused') end(new BrokerError('refused', cluster.why));
        else if (env.clock.now() - startedAt > deadlineMs)
          end(new BrokerError('deadline', `not in service after ${deadlineMs} ms: ${cluster?.why || 'the copies are not in sync'}`));
      }, refusedPollMs);
      this.#fail = end;
      const listenFailed = (what: string, at: { readonly host: string; readonly port: number }, error: unknown): void =>
        end(new BrokerError('cannot-listen', cannotListen(what, at, error).message, { cause: error }));
      try {
        this.#node = createNode(env, {
          core: { ...core, onListenError: (error) => listenFailed('listen', core.listen ?? core.advertise, error) },
          listeners,
          broker: { limits: { ...defaultBrokerOptions.limits, ...o.limits }, withoutQuorum: o.withoutQuorum ?? defaultBrokerOptions.withoutQuorum },
          onServing: () => end(undefined),
          onListenerError: (listener, error) => listenFailed(`listener ${listener.id}`, listener.options, error),
        });
      } catch (error) {
        end(asBrokerError(error));
      }
    });
  }

  #fatal(error: Error): void {
    this.#env?.log.error('the broker cannot go on', { reason: error.message });
    const failure = new BrokerError('failed', error.message, { cause: error });
    this.#fail(failure);
    this.#broker?.fail(failure);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#disk?.stop();
    const node = this.#node;
    if (node !== undefined) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((done) => {
        timer = setTimeout(done, stopMsMax);
      });
      await Promise.race([new Promise<void>((done) => node.stop(done)), late]);
      clearTimeout(timer);
    }
    const env = this.#env;
    if (env !== undefined) await new Promise<void>((done) => env.close(done));
    clearInterval(this.#keepAlive);
    if (this.#temporary !== undefined) await rm(this.#temporary, { recursive: true, force: true, maxRetries: 5 });
  }
}

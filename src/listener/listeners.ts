// All listeners of a node: made once from its options, then started, stopped, restarted and reloaded one by
// one while the others run. `node` owns it; `ctl listeners` and the HTTP API ask it.
import type { Broker } from '#broker/broker.js';
import type { Env } from '#env/env.js';
import type { NetError } from '#env/net.js';
import { Listener } from './listener.js';
import type { ListenerOptions } from './options.js';
import { type Relief, relieve } from './relief.js';

/** As `ctl listeners` and the HTTP API show it. */
export interface ListenerStatus {
  /** `ssl:default`. */
  readonly id: string;
  readonly type: string;
  readonly name: string;
  /** Where it listens, or would. */
  readonly bind: string;
  readonly running: boolean;
  readonly connections: number;
  /** Infinity: no bound. */
  readonly maxConnections: number;
  readonly proxyProtocol: boolean;
  /** Wall clock milliseconds; undefined: no certificate in use. */
  readonly certificateEnds: number | undefined;
}

export class Listeners {
  readonly all: readonly Listener[];
  readonly #env: Env;

  constructor(env: Env, broker: Broker, options: readonly ListenerOptions[]) {
    this.#env = env;
    this.all = options.map((o) => new Listener(env, broker, o));
  }

  get(id: string): Listener | undefined {
    return this.all.find((l) => l.id === id);
  }

  status(): ListenerStatus[] {
    return this.all.map(statusOf);
  }

  /** `done` runs once per listener. */
  start(done: (listener: Listener, error: NetError | undefined) => void): void {
    for (const listener of this.all) listener.start((error) => done(listener, error));
  }

  /** Nobody gets in any more; who is in stays. */
  stop(): void {
    for (const listener of this.all) listener.stop(() => {});
  }

  /** Stops and starts it, with its certificates read anew; its connections stay. */
  restart(listener: Listener, done: (error: NetError | undefined) => void): void {
    listener.stop(() => {
      this.#env.log.info('a listener restarts', { id: listener.id });
      listener.start(done);
    });
  }

  get connectionCount(): number {
    return this.all.reduce((sum, l) => sum + l.connectionCount, 0);
  }

  /** Less is kept for each client, and with `refuseNew` few are heard who are new. */
  shortMemory(short: boolean, refuseNew: boolean): void {
    for (const listener of this.all) listener.shortMemory(short, refuseNew);
  }

  /** To be called some times a second while memory is short: `count` of those that are read slowly, on each listener, are read a chunk. */
  readSlow(count: number): void {
    for (const listener of this.all) listener.readSlow(count);
  }

  /** `look` runs, once and in the middle of a turn, when so many bytes more have come from clients. */
  lookAfter(bytes: number, look: () => void): void {
    for (const listener of this.all) {
      listener.lookAtBytes = listener.metrics.bytesReceived.value + bytes;
      listener.look = look;
    }
  }

  /** Closes who has not said who he is, and clients that take up most until about `bytes` are free; `patient`: not those that may be reading. */
  relieve(bytes: number, patient: boolean): Relief {
    return relieve(
      this.all.flatMap((l) => [...l.connections]),
      bytes,
      patient,
    );
  }

  closeAll(): void {
    for (const listener of this.all) listener.closeAll();
  }
}

function statusOf(listener: Listener): ListenerStatus {
  const { id, options } = listener;
  const { host, port } = listener.address ?? options;
  const colon = id.indexOf(':');
  return {
    id,
    type: id.slice(0, Math.max(0, colon)),
    name: id.slice(colon + 1),
    bind: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
    running: listener.running,
    connections: listener.connectionCount,
    maxConnections: options.maxConnections,
    proxyProtocol: options.proxyProtocolTimeoutMs !== undefined,
    certificateEnds: listener.certificateEnds,
  };
}

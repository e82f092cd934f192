// What other nodes ask the registry of this one: to hand over a session, to discard one that has lost
// its client id, to kick a client. A call about a client that is being registered here waits for that.
import { MalformedError } from '#base/byte-reader.js';
import { emptyBytes } from '#base/bytes.js';
import type { Clock } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Links, RpcReply } from '#link/api.js';
import type { TakeoverSource } from './ports.js';
import type { ClientLines } from './registry-lines.js';
import { overtakenMessage } from './takeover-client.js';
import { type DiscardRequest, decodeDiscard, decodeTakeover, encodeTakeoverReply } from './takeover-frame.js';
import { type TakeoverPhase, TakeoverServer, type TakeoverServerOptions } from './takeover-server.js';

const busyMessage = 'busy';

export interface CallsHost {
  readonly source: TakeoverSource;
  readonly lines: ClientLines;
  beforeHandOver(done: () => void): void;
  /** Something is kept that must be forgotten in time. */
  keepHouse(): void;
  kickHere(clientId: string, epochs: readonly number[]): boolean;
}

export class RegistryCalls {
  readonly #clock: Clock;
  readonly #host: CallsHost;
  readonly #server: TakeoverServer;
  readonly #malformed: Counter;

  constructor(clock: Clock, metrics: Metrics, links: Links, options: Partial<TakeoverServerOptions>, host: CallsHost) {
    this.#clock = clock;
    this.#host = host;
    this.#server = new TakeoverServer(options);
    this.#malformed = metrics.counter('starmesh_takeover_malformed_total', 'Calls of other nodes that could not be read');
    metrics.gaugeFn('starmesh_takeover_transfers_dropped', 'Sessions on their way to other nodes that were dropped for others', {}, () => {
      return this.#server.dropped;
    });
    links.handle('takeover.begin', (_from, body, reply) => this.#onTakeover('begin', body, reply));
    links.handle('takeover.finish', (_from, body, reply) => this.#onTakeover('finish', body, reply));
    links.handle('session.discard', (_from, body, reply) => this.#onDiscard(body, reply));
    links.handle('session.kick', (_from, body, reply) => this.#onKick(body, reply));
  }

  get size(): number {
    return this.#server.size;
  }

  expire(now: number): void {
    this.#server.expire(now);
  }

  #onTakeover(phase: TakeoverPhase, body: Uint8Array, reply: RpcReply): void {
    const q = this.#decode(() => decodeTakeover(body), reply);
    if (q === undefined) return;
    const answer = (): void => {
      const given = this.#server.answer(phase, this.#host.source, q, this.#clock.now());
      this.#host.keepHouse();
      if (given === 'overtaken') reply(overtakenMessage);
      else reply(undefined, encodeTakeoverReply(given));
    };
    const queue = (): void => {
      if (!this.#host.lines.whenFree(q.clientId, answer)) reply(busyMessage);
    };
    if (phase === 'finish' && q.offset === 0) this.#host.beforeHandOver(queue);
    else queue();
  }

  #onDiscard(body: Uint8Array, reply: RpcReply): void {
    this.#whenFree(body, reply, ({ clientId, epochs, reasonCode }) => {
      for (const epoch of epochs) this.#host.source.discard(clientId, epoch, reasonCode);
      reply(undefined, emptyBytes);
    });
  }

  #onKick(body: Uint8Array, reply: RpcReply): void {
    this.#whenFree(body, reply, ({ clientId, epochs }) => {
      reply(undefined, Uint8Array.of(this.#host.kickHere(clientId, epochs) ? 1 : 0));
    });
  }

  #whenFree(body: Uint8Array, reply: RpcReply, run: (q: DiscardRequest) => void): void {
    const q = this.#decode(() => decodeDiscard(body), reply);
    if (q !== undefined && !this.#host.lines.whenFree(q.clientId, () => run(q))) reply(busyMessage);
  }

  #decode<T>(decode: () => T, reply: RpcReply): T | undefined {
    const q = orUndefined(decode);
    if (q === undefined) {
      this.#malformed.value++;
      reply('malformed');
    }
    return q;
  }
}

/** Undefined for bytes that a node of another version may have sent. */
export function orUndefined<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

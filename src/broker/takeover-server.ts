// The holder's side of a takeover: hands a session out in chunks, and keeps what it handed out for a
// while, so that a newer connection that overtakes the first one still finds the session.
//
// Invariants: a session is finished once; of two takers the one with the newer epoch wins, the other
// is refused; kept transfers are bounded in bytes and time.
import type { TakeoverSource } from './ports.js';
import type { TakeoverReply, TakeoverRequest } from './takeover-frame.js';

export interface TakeoverServerOptions {
  readonly chunkBytes: number;
  /** Handed-out sessions kept; the oldest goes first. */
  readonly keptBytesMax: number;
  readonly keptMs: number;
}

export const takeoverServerDefaults: TakeoverServerOptions = { chunkBytes: 512 * 1024, keptBytesMax: 64 * 1024 * 1024, keptMs: 10_000 };

interface Outgoing {
  readonly heldEpoch: number;
  newEpoch: number;
  state: Uint8Array | undefined;
  /** Set once phase 2 has begun: the session is gone here. */
  queue: Uint8Array | undefined;
  /** Numbers of the two transfers: one per byte array handed out. */
  stateTransfer: number;
  queueTransfer: number;
  touchedAt: number;
}

/** What a session was when it was handed out entirely. */
export interface HandedOut {
  readonly state: Uint8Array;
  readonly queue: Uint8Array;
}

export type TakeoverAnswer = TakeoverReply | 'overtaken';

export class TakeoverServer {
  readonly #options: TakeoverServerOptions;
  readonly #outgoing: Map<string, Outgoing> = new Map();
  #bytes = 0;
  #transfer = 0;

  constructor(options: Partial<TakeoverServerOptions> = {}) {
    this.#options = { ...takeoverServerDefaults, ...options };
  }

  get size(): number {
    return this.#outgoing.size;
  }

  begin(source: TakeoverSource, q: TakeoverRequest, now: number): TakeoverAnswer {
    const known = this.#known(q);
    if (known === 'overtaken') return known;
    if (q.offset > 0) return this.#chunk(known?.state, known?.stateTransfer, q);
    if (known?.queue !== undefined) {
      // Already handed out, to a connection that was overtaken: this one gets the same.
      known.newEpoch = q.newEpoch;
      known.touchedAt = now;
      return known.state === undefined ? { kind: 'none' } : this.#chunk(known.state, known.stateTransfer, { ...q, transfer: known.stateTransfer });
    }
    const state = first(q.heldEpochs, (epoch) => source.begin(q.clientId, epoch));
    // A late request about an older epoch leaves alone what is kept of a newer one.
    if (state === undefined) return { kind: 'none' };
    this.#drop(q.clientId);
    const transfer = ++this.#transfer;
    this.#keep(q.clientId, {
      heldEpoch: q.heldEpochs[0] ?? 0,
      newEpoch: q.newEpoch,
      state,
      queue: undefined,
      stateTransfer: transfer,
      queueTransfer: 0,
      touchedAt: now,
    });
    return this.#chunk(state, transfer, { ...q, transfer });
  }

  finish(source: TakeoverSource, q: TakeoverRequest, now: number): TakeoverAnswer {
    const known = this.#known(q);
    if (known === 'overtaken') return known;
    if (q.offset > 0) return this.#chunk(known?.queue, known?.queueTransfer, q);
    if (known?.queue !== undefined) {
      known.touchedAt = now;
      return this.#chunk(known.queue, known.queueTransfer, { ...q, transfer: known.queueTransfer });
    }
    const queue = first(q.heldEpochs, (epoch) => source.finish(q.clientId, epoch));
    if (queue === undefined) return { kind: 'none' };
    this.#drop(q.clientId);
    const transfer = ++this.#transfer;
    this.#keep(q.clientId, {
      heldEpoch: q.heldEpochs[0] ?? 0,
      newEpoch: q.newEpoch,
      state: known?.state,
      queue,
      stateTransfer: known?.stateTransfer ?? 0,
      queueTransfer: transfer,
      touchedAt: now,
    });
    return this.#chunk(queue, transfer, { ...q, transfer });
  }

  /** A session that was handed out but whose taker was overtaken by a connection on this very node. */
  reclaim(clientId: string, heldEpoch: number): HandedOut | undefined {
    const known = this.#outgoing.get(clientId);
    if (known === undefined || known.heldEpoch !== heldEpoch) return undefined;
    this.#drop(clientId);
    return known.state === undefined || known.queue === undefined ? undefined : { state: known.state, queue: known.queue };
  }

  /** What was reclaimed was not needed after all: it waits for the next connection, as the session of `heldEpoch`. */
  putBack(clientId: string, heldEpoch: number, handedOut: HandedOut, now: number): void {
    this.#drop(clientId);
    const stateTransfer = ++this.#transfer;
    const queueTransfer = ++this.#transfer;
    this.#keep(clientId, { ...handedOut, heldEpoch, newEpoch: 0, stateTransfer, queueTransfer, touchedAt: now });
  }

  expire(now: number): void {
    for (const [clientId, o] of this.#outgoing) if (now - o.touchedAt >= this.#options.keptMs) this.#drop(clientId);
  }

  #known(q: TakeoverRequest): Outgoing | 'overtaken' | undefined {
    const known = this.#outgoing.get(q.clientId);
    if (known === undefined || known.heldEpoch !== q.heldEpochs[0]) return undefined;
    return q.newEpoch < known.newEpoch ? 'overtaken' : known;
  }

  #chunk(all: Uint8Array | undefined, transfer: number | undefined, q: TakeoverRequest): TakeoverReply {
    if (all === undefined || transfer === undefined || q.transfer !== transfer || q.offset > all.length) return { kind: 'again' };
    return { kind: 'chunk', transfer, total: all.length, bytes: all.subarray(q.offset, q.offset + this.#options.chunkBytes) };
  }

  #keep(clientId: string, o: Outgoing): void {
    this.#outgoing.set(clientId, o);
    this.#bytes += sizeOf(o);
    for (const oldest of this.#outgoing.keys()) {
      if (this.#bytes <= this.#options.keptBytesMax || oldest === clientId) return;
      this.#drop(oldest);
    }
  }

  #drop(clientId: string): void {
    const o = this.#outgoing.get(clientId);
    if (o === undefined) return;
    this.#outgoing.delete(clientId);
    this.#bytes -= sizeOf(o);
  }
}

function sizeOf(o: Outgoing): number {
  return (o.state?.length ?? 0) + (o.queue?.length ?? 0);
}

function first<T>(epochs: readonly number[], ask: (epoch: number) => T | undefined): T | undefined {
  for (const epoch of epochs) {
    const answer = ask(epoch);
    if (answer !== undefined) return answer;
  }
  return undefined;
}

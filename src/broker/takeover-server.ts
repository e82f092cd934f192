// The holder's side of a takeover: hands a session out in chunks. The session itself stays with its
// source, whole, until it is told that somebody else has it; here are only the bytes on their way, so
// that the chunks of one transfer fit together, and which taker is the newest.
//
// Invariants: of two takers the one with the newer epoch wins, the other is refused; who begins to ask
// gets the session as it is then; what is kept is bounded in bytes and time.
import type { TakeoverSource } from './ports.js';
import type { TakeoverReply, TakeoverRequest } from './takeover-frame.js';

export interface TakeoverServerOptions {
  readonly chunkBytes: number;
  /** Bytes of transfers kept; the oldest goes first, and is begun again if it is still wanted. */
  readonly keptBytesMax: number;
  readonly keptMs: number;
}

export const takeoverServerDefaults: TakeoverServerOptions = { chunkBytes: 512 * 1024, keptBytesMax: 64 * 1024 * 1024, keptMs: 10_000 };

export type TakeoverPhase = 'begin' | 'finish';

interface Outgoing {
  readonly heldEpoch: number;
  readonly newEpoch: number;
  readonly phase: TakeoverPhase;
  readonly bytes: Uint8Array;
  readonly transfer: number;
  touchedAt: number;
}

export type TakeoverAnswer = TakeoverReply | 'overtaken';

export class TakeoverServer {
  readonly #options: TakeoverServerOptions;
  readonly #outgoing: Map<string, Outgoing> = new Map();
  #bytes = 0;
  #transfer = 0;
  /** Transfers that were dropped for others, since the start. */
  dropped = 0;

  constructor(options: Partial<TakeoverServerOptions> = {}) {
    this.#options = { ...takeoverServerDefaults, ...options };
  }

  get size(): number {
    return this.#outgoing.size;
  }

  answer(phase: TakeoverPhase, source: TakeoverSource, q: TakeoverRequest, now: number): TakeoverAnswer {
    const known = this.#known(q);
    if (known !== undefined && q.newEpoch < known.newEpoch) return 'overtaken';
    if (q.offset > 0) {
      if (known?.phase !== phase) return { kind: 'again' };
      known.touchedAt = now;
      return this.#chunk(known, q);
    }
    const bytes = first(q.heldEpochs, (epoch) => source[phase](q.clientId, epoch));
    // A late request about an older epoch leaves alone what is kept of a newer one.
    if (bytes === undefined) return { kind: 'none' };
    const made: Outgoing = { heldEpoch: q.heldEpochs[0] ?? 0, newEpoch: q.newEpoch, phase, bytes, transfer: ++this.#transfer, touchedAt: now };
    this.#drop(q.clientId);
    this.#keep(q.clientId, made);
    return this.#chunk(made, { ...q, transfer: made.transfer });
  }

  expire(now: number): void {
    for (const [clientId, o] of this.#outgoing) if (now - o.touchedAt >= this.#options.keptMs) this.#drop(clientId);
  }

  #known(q: TakeoverRequest): Outgoing | undefined {
    const known = this.#outgoing.get(q.clientId);
    return known?.heldEpoch === q.heldEpochs[0] ? known : undefined;
  }

  #chunk(o: Outgoing, q: TakeoverRequest): TakeoverReply {
    const { bytes, transfer } = o;
    if (q.transfer !== transfer || q.offset > bytes.length) return { kind: 'again' };
    return { kind: 'chunk', transfer, total: bytes.length, bytes: bytes.subarray(q.offset, q.offset + this.#options.chunkBytes) };
  }

  #keep(clientId: string, o: Outgoing): void {
    this.#outgoing.set(clientId, o);
    this.#bytes += o.bytes.length;
    for (const oldest of this.#outgoing.keys()) {
      if (this.#bytes <= this.#options.keptBytesMax || oldest === clientId) return;
      this.#drop(oldest);
      this.dropped++;
    }
  }

  #drop(clientId: string): void {
    const o = this.#outgoing.get(clientId);
    if (o === undefined) return;
    this.#outgoing.delete(clientId);
    this.#bytes -= o.bytes.length;
  }
}

function first<T>(epochs: readonly number[], ask: (epoch: number) => T | undefined): T | undefined {
  for (const epoch of epochs) {
    const answer = ask(epoch);
    if (answer !== undefined) return answer;
  }
  return undefined;
}

// The new owner's side of a takeover: fetches a session's state or queue from its holder, chunk by
// chunk, and keeps trying until the deadline unless the holder is known to be lost.
import { MalformedError } from '#base/byte-reader.js';
import { concatBytes, copyBytes } from '#base/bytes.js';
import type { Database } from '#db/api.js';
import type { Clock } from '#env/clock.js';
import type { Links } from '#link/api.js';
import type { Claim } from './registry-row.js';
import { routeTable } from './schema.js';
import { decodeTakeoverReply, encodeTakeover, type TakeoverReply } from './takeover-frame.js';

export type TakeoverMethod = 'takeover.begin' | 'takeover.finish';

/**
 * none: the holder has no such session · lost: it is dead, fenced, another incarnation, or out of reach at the deadline ·
 * slow: the link with it is up, but not all had come by the deadline; the session is well where it is.
 */
export type FetchResult = { readonly kind: 'fetched'; readonly bytes: Uint8Array } | { readonly kind: 'none' | 'lost' | 'slow' | 'overtaken' };

/** What a session may be in transit; longer ones count as none. */
const transferBytesMax = 64 * 1024 * 1024;
const retryMs = 50;
export const overtakenMessage = 'overtaken';

interface Fetch {
  readonly method: TakeoverMethod;
  readonly holder: Claim;
  readonly clientId: string;
  readonly newEpoch: number;
  readonly deadline: number;
  readonly done: (result: FetchResult) => void;
  transfer: number;
  offset: number;
  chunks: Uint8Array[];
}

/** All epochs under which the claim's node may know the session, the likeliest first. */
export function epochsOf(claim: Claim): number[] {
  return [claim.epoch, ...claim.also.toReversed()];
}

export class TakeoverClient {
  readonly #clock: Clock;
  readonly #links: Links;
  readonly #db: Database;
  /** Nodes whose host refuses connections, and the newest incarnation that we knew of the process that was there. */
  readonly #dead: Map<string, number> = new Map();

  constructor(clock: Clock, links: Links, db: Database) {
    this.#clock = clock;
    this.#links = links;
    this.#db = db;
    links.listen({
      onDead: (peer) => this.#dead.set(peer.nodeId, peer.incarnation),
      onUp: (peer) => this.#dead.delete(peer.nodeId),
    });
  }

  /** True when the incarnation that the claim names will never answer again. */
  isLost(claim: Claim): boolean {
    // A newer incarnation than that of the dead process is one that runs, though we have no link with it yet; and one that
    // our copy of the shard has not heard of is not dead for that.
    if (claim.incarnation <= (this.#dead.get(claim.nodeId) ?? 0) || this.#db.isGone(routeTable.shard, claim.nodeId, claim.incarnation)) return true;
    const peer = this.#links.peer(claim.nodeId);
    return peer !== undefined && peer.incarnation > claim.incarnation;
  }

  /** Calls `done` once, at the deadline at the latest. */
  fetch(method: TakeoverMethod, holder: Claim, clientId: string, newEpoch: number, deadline: number, done: (result: FetchResult) => void): void {
    this.#next({ method, holder, clientId, newEpoch, deadline, done, transfer: 0, offset: 0, chunks: [] });
  }

  #next(f: Fetch): void {
    const left = f.deadline - this.#clock.now();
    if (left <= 0 || this.isLost(f.holder)) {
      // A link that is up shows that the holder lives: it, or the way to it, is slow.
      const lives = !this.isLost(f.holder) && this.#links.peer(f.holder.nodeId) !== undefined;
      f.done({ kind: lives ? 'slow' : 'lost' });
      return;
    }
    const { clientId, newEpoch, offset, transfer } = f;
    const body = encodeTakeover({ clientId, newEpoch, offset, transfer, heldEpochs: epochsOf(f.holder) });
    // All the time there is: the holder may wait for slow links itself. A link that goes down ends the call at once.
    this.#links.call(f.holder.nodeId, f.method, body, left, (failure, reply) => {
      if (failure === undefined) this.#answered(f, reply);
      else if (failure.kind === 'refused' && failure.message === overtakenMessage) f.done({ kind: 'overtaken' });
      else this.#clock.setTimer(Math.min(retryMs, Math.max(0, f.deadline - this.#clock.now())), () => this.#next(f));
    });
  }

  #answered(f: Fetch, bytes: Uint8Array): void {
    let reply: TakeoverReply;
    try {
      reply = decodeTakeoverReply(bytes);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      reply = { kind: 'none' };
    }
    if (reply.kind === 'none' || (reply.kind === 'chunk' && reply.total > transferBytesMax)) {
      f.done({ kind: 'none' });
      return;
    }
    if (reply.kind === 'again' || (f.offset > 0 && reply.transfer !== f.transfer)) {
      f.offset = 0;
      f.transfer = 0;
      f.chunks = [];
      // A pause, so that two takers that reset each other do not spin.
      this.#clock.setTimer(retryMs, () => this.#next(f));
      return;
    }
    f.transfer = reply.transfer;
    f.offset += reply.bytes.length;
    f.chunks.push(copyBytes(reply.bytes));
    if (f.offset >= reply.total) f.done({ kind: 'fetched', bytes: concatBytes(f.chunks) });
    else if (reply.bytes.length === 0) f.done({ kind: 'none' });
    else this.#next(f);
  }
}

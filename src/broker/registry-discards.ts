// Sessions on other nodes that lost their client id: told at once, and again at first contact when
// their node was out of reach. Given up when the incarnation that held them is gone.
import type { Clock, Timer } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Links } from '#link/api.js';
import type { Claim } from './registry-row.js';
import { epochsOf } from './takeover-client.js';
import { encodeDiscard } from './takeover-frame.js';

/** Sessions that wait for their node to come back; more are dropped and counted (they end at their next command). */
const pendingMax = 100_000;
const callMs = 2_000;
const retryMs = 1_000;
/** Sent again in one round. */
const roundMax = 1_000;

interface Discard {
  readonly claim: Claim;
  readonly clientId: string;
  readonly reasonCode: number;
  flying: boolean;
}

export class SessionDiscards {
  readonly #clock: Clock;
  readonly #links: Links;
  readonly #isLost: (claim: Claim) => boolean;
  readonly #pending: Map<string, Discard> = new Map();
  /** How many of them are of one client. */
  readonly #perClient: Map<string, number> = new Map();
  readonly #dropped: Counter;
  #timer: Timer | undefined;
  #closed = false;

  constructor(clock: Clock, metrics: Metrics, links: Links, isLost: (claim: Claim) => boolean) {
    this.#clock = clock;
    this.#links = links;
    this.#isLost = isLost;
    this.#dropped = metrics.counter('starmesh_session_discards_dropped_total', 'Displaced sessions whose node could not be told');
    links.listen({ onUp: () => this.#round() });
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Nothing waits to be told about this client. */
  settled(clientId: string): boolean {
    return !this.#perClient.has(clientId);
  }

  add(claim: Claim, clientId: string, reasonCode: number): void {
    if (this.#isLost(claim)) return;
    if (this.#pending.size >= pendingMax) {
      this.#dropped.value++;
      return;
    }
    const discard: Discard = { claim, clientId, reasonCode, flying: false };
    const key = keyOf(discard);
    if (this.#pending.has(key)) return;
    this.#pending.set(key, discard);
    this.#perClient.set(clientId, (this.#perClient.get(clientId) ?? 0) + 1);
    this.#send(discard);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #send(d: Discard): void {
    d.flying = true;
    const body = encodeDiscard({ clientId: d.clientId, epochs: epochsOf(d.claim), reasonCode: d.reasonCode });
    this.#links.call(d.claim.nodeId, 'session.discard', body, callMs, (failure) => {
      d.flying = false;
      // A refusal means that the node had too many questions about this client: it is asked again.
      if (failure === undefined) this.#delete(keyOf(d), d.clientId);
      else this.#arm();
    });
  }

  #delete(key: string, clientId: string): void {
    if (!this.#pending.delete(key)) return;
    const left = (this.#perClient.get(clientId) ?? 1) - 1;
    if (left > 0) this.#perClient.set(clientId, left);
    else this.#perClient.delete(clientId);
  }

  #arm(): void {
    if (this.#closed || this.#timer !== undefined || this.#pending.size === 0) return;
    this.#timer = this.#clock.setTimer(retryMs, () => {
      this.#timer = undefined;
      this.#round();
    });
  }

  #round(): void {
    let sent = 0;
    for (const [key, d] of this.#pending) {
      if (this.#isLost(d.claim)) this.#delete(key, d.clientId);
      else if (!d.flying && this.#links.peer(d.claim.nodeId) !== undefined && sent < roundMax) {
        sent++;
        this.#send(d);
      }
    }
    this.#arm();
  }
}

function keyOf(d: Discard): string {
  return `${d.claim.nodeId} ${d.claim.epoch} ${d.clientId}`;
}

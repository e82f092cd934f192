// How far other nodes are, for what lasts longer where they are far: the leases that are granted to them.
import type { Clock } from '#env/clock.js';
import type { Links } from '#link/api.js';

/** The farthest of many is looked for so often. */
const lookEveryMs = 1_000;

export class Distances {
  readonly #links: Pick<Links, 'peers' | 'roundTripMs'>;
  readonly #clock: Clock;
  #lookAt = Number.NEGATIVE_INFINITY;
  #farthestMs = 0;

  constructor(links: Pick<Links, 'peers' | 'roundTripMs'>, clock: Clock) {
    this.#links = links;
    this.#clock = clock;
  }

  /** Round trip to the node in ms, 0 while it is not known. */
  to(nodeId: string): number {
    return this.#links.roundTripMs(nodeId) ?? 0;
  }

  /** To the farthest replicant. */
  get farthestMs(): number {
    const now = this.#clock.now();
    if (now >= this.#lookAt) {
      this.#lookAt = now + lookEveryMs;
      this.#farthestMs = 0;
      for (const p of this.#links.peers()) if (p.role === 'replicant') this.#farthestMs = Math.max(this.#farthestMs, this.to(p.nodeId));
    }
    return this.#farthestMs;
  }
}

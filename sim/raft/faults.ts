// The faults of one run, drawn from its seed ("swarm": each run has some kinds of faults and lacks
// others, because faults hide each other). Used by world.ts.
import type { Prng } from '#base/prng.js';

export interface Faults {
  readonly voters: number;
  readonly learners: number;
  /** Nodes that may be added by membership changes. */
  readonly spares: number;
  readonly loss: number;
  readonly duplicate: number;
  readonly delayMs: number;
  /** Share of packets that are up to two seconds late: they arrive in other terms. */
  readonly late: number;
  /** Packets of a pair of nodes keep their order (late ones excepted). */
  readonly ordered: boolean;
  readonly electionMs: number;
  readonly messageEntriesMax: number;
  readonly inflightMessagesMax: number;
  readonly memoryBytesMax: number;
  /** Compact after so many applied entries; 0: never. */
  readonly compactEvery: number;
  /** Entries applied per step. */
  readonly applyMax: number;
  readonly syncMs: number;
  readonly slowSync: boolean;
  readonly crashes: boolean;
  readonly quickRestarts: boolean;
  readonly targetLeader: boolean;
  /** A new leader is killed soon after its election, before its entries have spread (paper, figure 8). */
  readonly killNewLeaders: boolean;
  readonly partitions: boolean;
  readonly oneWayCuts: boolean;
  readonly pauses: boolean;
  /** For a while everything to and from one node is late, up to a few election timeouts. */
  readonly slowLinks: boolean;
  /** Clocks run up to so much too fast or slow. */
  readonly drift: number;
  readonly transfers: boolean;
  readonly membership: boolean;
  readonly damage: boolean;
  /** Nodes are told of dead and unreachable peers, as links tell them. */
  readonly hints: boolean;
  readonly reads: boolean;
  readonly codec: boolean;
  readonly faultEveryMs: number;
  readonly proposeEveryMs: number;
}

export function drawFaults(prng: Prng): Faults {
  const on = (p = 0.5): boolean => prng.chance(p);
  const voters = prng.pick([1, 2, 3, 3, 3, 3, 5, 5, 5, 7]);
  const damage = voters >= 3 && on(0.3);
  const membership = !damage && on(0.4);
  return {
    voters,
    learners: on(0.3) ? prng.range(1, 2) : 0,
    spares: membership ? prng.range(1, 3) : 0,
    loss: on() ? prng.next() * 0.3 : 0,
    duplicate: on() ? prng.next() * 0.5 : 0,
    delayMs: prng.pick([1, 2, 5, 20, 60]),
    late: on() ? prng.pick([0.02, 0.1]) : 0,
    ordered: on(0.3),
    electionMs: prng.pick([60, 60, 150, 400, 1000]),
    messageEntriesMax: prng.pick([1, 1, 2, 4, 33, 1024]),
    inflightMessagesMax: prng.pick([1, 4, 256]),
    memoryBytesMax: prng.pick([0, 64, 1 << 20]),
    compactEvery: prng.pick([0, 0, 1, 5, 50]),
    applyMax: prng.pick([1, 3, 1000]),
    syncMs: prng.pick([0, 1, 5, 20]),
    slowSync: on(0.4),
    crashes: on(0.8),
    quickRestarts: on(0.7),
    targetLeader: on(0.6),
    killNewLeaders: on(0.3),
    partitions: on(),
    oneWayCuts: on(0.4),
    pauses: on(0.4),
    slowLinks: on(0.3),
    drift: on(0.3) ? 0.1 : 0,
    transfers: on(0.4),
    membership,
    damage,
    hints: on(),
    reads: on(),
    codec: on(0.1),
    faultEveryMs: prng.pick([20, 60, 200, 800]),
    proposeEveryMs: prng.pick([2, 10, 40, 200]),
  };
}

// Which node gets a message of a shared subscription, and which of its members: the strategies of
// `mqtt.shared_subscription_strategy` for one group on one node. The broker's shared-dispatch.ts asks.
//
// The members of all candidates stand in one line, candidate by candidate. A strategy points at a place
// in it; that gives the candidate and, as a hint, the place among its own members. So while the counts
// are right, a round-robin visits every member of the cluster once per round, and a hash leads to the
// same member from every node. `sticky` remembers candidates only: which member, the candidate remembers.
// Invariant: a candidate without members is never picked.
import { RecentMap } from './recent-map.js';

export type SharedStrategy = 'random' | 'round_robin' | 'round_robin_per_group' | 'sticky' | 'local' | 'hash_clientid' | 'hash_topic';

export interface Candidate {
  /** Of the node; empty for this one. */
  readonly nodeId: string;
  /** Members that may be picked. */
  readonly weight: number;
}

/** Where a publisher's `round_robin` stands. */
export interface PublisherPlace {
  readonly publisherId: string;
  next: number;
}

/** Room for the place that was found last: most topic names have one publisher. */
export interface PlaceMemo {
  place: PublisherPlace | undefined;
}

/** Publishers that are remembered for each group. */
export const publishersMax = 4096;

export class SharedPicker {
  readonly #strategy: SharedStrategy;
  /** Comparing texts shows, where it is done for each message. */
  readonly #isRoundRobin: boolean;

  /** Uniform integer in [0, limit). */
  readonly #random: (limit: number) => number;
  /** `round_robin`: each publisher's next place. `sticky`: its node. */
  #places: RecentMap<PublisherPlace> | undefined;
  #nodes: RecentMap<string> | undefined;
  #next = 0;
  /** Of the last pick: the place among the candidate's members. */
  hint = 0;

  constructor(strategy: SharedStrategy, random: (limit: number) => number) {
    this.#strategy = strategy;
    this.#isRoundRobin = strategy === 'round_robin';
    this.#random = random;
  }

  /** A publisher's messages go to one member. */
  get sticky(): boolean {
    return this.#strategy === 'sticky';
  }

  /** Index of the candidate, -1 when nobody has a member. The candidates' order should be the same everywhere. */
  pick(candidates: readonly Candidate[], publisherId: string, topicName: string, memo?: PlaceMemo): number {
    let total = 0;
    for (let i = 0; i < candidates.length; i++) {
      const { nodeId, weight } = candidates[i] as Candidate;
      total += weight;
      if (this.#strategy !== 'local' || nodeId !== '' || weight === 0) continue;
      this.hint = this.#random(weight);
      return i;
    }
    if (total === 0) return -1;
    if (this.#strategy === 'sticky') return this.#stick(candidates, total, publisherId);
    return this.#at(candidates, this.#place(total, publisherId, topicName, memo));
  }

  /** The place that is picked where one candidate alone has members, `weight` of them, at least one. Not for `sticky`. */
  pickAlone(weight: number, publisherId: string, topicName: string, memo: PlaceMemo): number {
    return this.#isRoundRobin ? this.#nextOf(publisherId, weight, memo) : this.#place(weight, publisherId, topicName, memo);
  }

  #nextOf(publisherId: string, total: number, memo: PlaceMemo | undefined): number {
    let of = memo?.place;
    if (of === undefined || of.publisherId !== publisherId) {
      of = this.#placeOf(publisherId, total);
      if (memo !== undefined) memo.place = of;
    }
    const { next } = of;
    // Division shows, too.
    const place = next < total ? next : next % total;
    of.next = place + 1;
    return place;
  }

  #place(total: number, publisherId: string, topicName: string, memo: PlaceMemo | undefined): number {
    switch (this.#strategy) {
      case 'round_robin':
        return this.#nextOf(publisherId, total, memo);
      case 'round_robin_per_group':
        return this.#step(total);
      case 'hash_clientid':
        return hash(publisherId) % total;
      case 'hash_topic':
        return hash(topicName) % total;
      default:
        return this.#random(total);
    }
  }

  #placeOf(publisherId: string, total: number): PublisherPlace {
    this.#places ??= new RecentMap(publishersMax);
    let of = this.#places.get(publisherId);
    if (of === undefined) {
      // Publishers begin at different places: many of them may have one message each.
      of = { publisherId, next: this.#step(total) };
      this.#places.set(publisherId, of);
    }
    return of;
  }

  #step(total: number): number {
    const place = this.#next % total;
    this.#next = place + 1;
    return place;
  }

  #at(candidates: readonly Candidate[], place: number): number {
    let i = 0;
    for (let weight = (candidates[0] as Candidate).weight; place >= weight; weight = (candidates[++i] as Candidate).weight) place -= weight;
    this.hint = place;
    return i;
  }

  #stick(candidates: readonly Candidate[], total: number, publisherId: string): number {
    this.#nodes ??= new RecentMap(publishersMax);
    const known = this.#nodes.get(publisherId);
    let i = known === undefined ? -1 : candidates.findIndex((c) => c.nodeId === known && c.weight > 0);
    if (i < 0) {
      i = this.#at(candidates, this.#random(total));
      this.#nodes.set(publisherId, (candidates[i] as Candidate).nodeId);
    } else this.hint = this.#random((candidates[i] as Candidate).weight);
    return i;
  }
}

/** FNV-1a over UTF-16 units, mixed: the same on every node. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}

// The links between the nodes of a run: delay, loss, repetition, disorder, cuts. World.ts sends on them,
// nemesis.ts hurts them.
import type { Prng } from '#base/prng.js';
import type { RaftMessage } from '#raft/types.js';
import type { Faults } from './faults.js';
import type { SimNode } from './node.js';
import { kinds, type Timeline } from './timeline.js';

export class Network {
  calm = false;
  readonly #timeline: Timeline;
  readonly #faults: Faults;
  readonly #net: Prng;
  readonly #cuts: Set<number> = new Set();
  /** Last arrival per ordered pair. */
  readonly #arrivals: Map<number, number> = new Map();
  /** Until when everything of a node is late, and everything to it. */
  readonly #slowLink: Map<number, number> = new Map();
  readonly #slowInbound: Map<number, number> = new Map();

  constructor(timeline: Timeline, faults: Faults, prng: Prng) {
    this.#timeline = timeline;
    this.#faults = faults;
    this.#net = prng;
  }

  /** Nothing passes from one node to the other; the other direction is as it was. */
  cut(from: SimNode, to: SimNode): void {
    this.#cuts.add(from.number * 16 + to.number);
  }

  isCut(from: SimNode, to: SimNode): boolean {
    return this.#cuts.has(from.number * 16 + to.number);
  }

  healCuts(): void {
    this.#cuts.clear();
  }

  /** Nothing is cut or slow any more. */
  heal(): void {
    this.#cuts.clear();
    this.#slowLink.clear();
    this.#slowInbound.clear();
  }

  slow(node: SimNode, until: number): void {
    this.#slowLink.set(node.number, until);
  }

  slowTo(node: SimNode, until: number): void {
    this.#slowInbound.set(node.number, until);
  }

  send(from: SimNode, to: SimNode, message: RaftMessage): void {
    if (this.isCut(from, to)) return;
    const f = this.#faults;
    if (!this.calm && f.loss > 0 && this.#net.chance(f.loss)) return;
    this.#transmit(from, to, message);
    if (!this.calm && f.duplicate > 0 && this.#net.chance(f.duplicate)) this.#transmit(from, to, message);
  }

  #transmit(from: SimNode, to: SimNode, message: RaftMessage): void {
    const f = this.#faults;
    const { now } = this.#timeline;
    if (!this.calm && f.late > 0 && this.#net.chance(f.late)) {
      this.#timeline.push(now + this.#net.next() * 2000, kinds.deliver, to.number, from.life, from.number, message);
      return;
    }
    const mean = this.calm ? Math.min(f.delayMs, 1) : f.delayMs;
    let at = now + mean * (0.5 + this.#net.next());
    if (now < Math.max(this.#slowLink.get(from.number) ?? 0, this.#slowLink.get(to.number) ?? 0)) at += this.#net.next() * 3 * f.electionMs;
    if (now < (this.#slowInbound.get(to.number) ?? 0)) at += this.#net.next() * 0.5 * f.electionMs;
    // Once healed, links are what real ones are: in order.
    if (f.ordered || this.calm) {
      const pair = from.number * 16 + to.number;
      at = Math.max(at, this.#arrivals.get(pair) ?? 0);
      this.#arrivals.set(pair, at);
    }
    this.#timeline.push(at, kinds.deliver, to.number, from.life, from.number, message);
  }
}

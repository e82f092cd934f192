// Which incarnations are live in a shard. Changed only by admit and purge entries; every copy of
// the shard (tables, leader's head) has its own, fed with the same entries.
//
// Invariant: per node at most one incarnation is live, and only numbers above the highest one
// ever seen can be admitted, so a late entry cannot resurrect a dead incarnation.

export interface NodeIncarnations {
  readonly highest: number;
  /** 0 when none is live. */
  readonly live: number;
}

export class LiveSet {
  readonly #byNode: Map<string, NodeIncarnations>;
  readonly #live: Set<number>;

  constructor(from?: LiveSet) {
    this.#byNode = new Map(from === undefined ? [] : from.#byNode);
    this.#live = new Set(from === undefined ? [] : from.#live);
  }

  has(incarnation: number): boolean {
    return this.#live.has(incarnation);
  }

  /** 0 when the node has none. */
  ofNode(nodeId: string): number {
    return this.#byNode.get(nodeId)?.live ?? 0;
  }

  highest(nodeId: string): number {
    return this.#byNode.get(nodeId)?.highest ?? 0;
  }

  nodes(): IterableIterator<[string, NodeIncarnations]> {
    return this.#byNode.entries();
  }

  load(nodeId: string, state: NodeIncarnations): void {
    this.#byNode.set(nodeId, state);
    if (state.live !== 0) this.#live.add(state.live);
  }

  /** Whether anything changed, and the incarnation (or 0) that this one replaces and thereby purges. */
  admit(nodeId: string, incarnation: number): { readonly admitted: boolean; readonly replaced: number } {
    const now = this.#byNode.get(nodeId);
    if (now !== undefined && incarnation <= now.highest) return { admitted: false, replaced: 0 };
    const replaced = now?.live ?? 0;
    if (replaced !== 0) this.#live.delete(replaced);
    this.#byNode.set(nodeId, { highest: incarnation, live: incarnation });
    this.#live.add(incarnation);
    return { admitted: true, replaced };
  }

  /** True when the incarnation was live until now. */
  purge(nodeId: string, incarnation: number): boolean {
    const now = this.#byNode.get(nodeId);
    const wasLive = now !== undefined && now.live === incarnation;
    const highest = Math.max(now?.highest ?? 0, incarnation);
    this.#byNode.set(nodeId, { highest, live: wasLive ? 0 : (now?.live ?? 0) });
    if (wasLive) this.#live.delete(incarnation);
    return wasLive;
  }
}

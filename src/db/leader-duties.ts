// What a shard's leader does unasked: admits and purges incarnations as the members table says,
// and deletes, in bounded steps, the rows of purged ones.
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { DbBounds } from './bounds.js';
import type { CoreShard } from './core-shard.js';
import { ownerIndexByte, ownerIndexStart, storedOfOwnerIndex } from './stored-row.js';

/** A member as the shard `cluster` knows it. */
export interface KnownMember {
  readonly nodeId: string;
  readonly incarnation: number;
  /** False: declared down; its rows must go. */
  readonly up: boolean;
}

/**
 * Every other shard follows the members table; safe to repeat, and with an old table: numbers only grow.
 * `minted`: the last incarnation that this copy of the table has heard of.
 */
export function reconcile(shard: CoreShard, members: Iterable<KnownMember>, minted: number): void {
  const leader = shard.leader;
  if (leader === undefined) return;
  const { live } = leader.head;
  const known = new Set<string>();
  for (const m of members) {
    known.add(m.nodeId);
    if (m.incarnation === 0) continue;
    if (m.up && live.highest(m.nodeId) < m.incarnation) leader.submitOwn([{ kind: 'admit', nodeId: m.nodeId, incarnation: m.incarnation }]);
    // An older one may be live still, when this shard never saw the one that was declared down.
    const here = live.ofNode(m.nodeId);
    if (!m.up && here !== 0 && here <= m.incarnation) leader.submitOwn([{ kind: 'purge', nodeId: m.nodeId, incarnation: here }]);
  }
  // No member any more: it left, was forgotten, or its name was taken over by a node with a new data directory.
  // A number above the last one minted may be of a node that this copy of the table has yet to hear of.
  for (const [nodeId, { live: here }] of live.nodes())
    if (here !== 0 && here <= minted && !known.has(nodeId)) leader.submitOwn([{ kind: 'purge', nodeId, incarnation: here }]);
}

export class Sweeper {
  readonly #shard: CoreShard;
  readonly #bounds: DbBounds;
  /** Index of the last sweep entry proposed: the next waits until it is applied. */
  #waitFor = 0;

  constructor(shard: CoreShard, bounds: DbBounds) {
    this.#shard = shard;
    this.#bounds = bounds;
  }

  /** Proposes the next step, if there is anything to delete and the last step is applied. */
  step(): void {
    const { state, leader } = this.#shard;
    if (leader === undefined || state.appliedIndex < this.#waitFor) return;
    const incarnation = state.cursor.system.unswept.values().next().value;
    if (incarnation === undefined) return;
    let from: Uint8Array | undefined;
    let to: Uint8Array = emptyBytes;
    let count = 0;
    let more = false;
    if (state.damaged) return;
    state.store.range(ownerIndexStart(incarnation), ownerIndexStart(incarnation + 1), (key) => {
      if (key[0] !== ownerIndexByte) return false;
      if (count >= this.#bounds.sweepRowsMax) {
        to = copyBytes(storedOfOwnerIndex(key));
        more = true;
        return false;
      }
      from ??= copyBytes(storedOfOwnerIndex(key));
      count++;
      return true;
    });
    this.#waitFor = this.#shard.raft.lastIndex + 1;
    leader.submitOwn([{ kind: 'sweep', incarnation, from: from ?? emptyBytes, to, last: !more }]);
  }
}

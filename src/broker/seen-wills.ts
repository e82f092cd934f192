// Wills that this node has delivered lately: one that stands with the registry may be published twice, by its client's node
// and, if that was lost before it could say so, by the leader of a registry shard; or by two leaders. Its number, the epoch of
// its client's connection, tells. Asked by publish.ts.
import type { Message } from '#session/message.js';

/** The oldest are forgotten. */
const seenMax = 20_000;

export class SeenWills {
  readonly #seen = new Set<string>();

  /** Not delivered here before, as far as is known; it counts as delivered from now on. */
  isFirst({ originIncarnation, originNumber }: Message): boolean {
    const id = `${originIncarnation}:${originNumber}`;
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > seenMax) {
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest);
        break;
      }
    }
    return true;
  }
}

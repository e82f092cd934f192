// The newest committed entries of a shard in a relay's memory: what it has received and sends on. Bounded in
// bytes; who needs older ones is fed by a core. Pure.
import { assert } from '#base/assert.js';
import { Deque } from '#base/deque.js';
import type { AppliedEntry } from './apply.js';

export class RelayLog {
  readonly #bytesMax: number;
  readonly #entries: Deque<AppliedEntry> = new Deque();
  #bytes = 0;
  #baseIndex: number;
  #baseTerm: number;

  /** Begins behind the entry at `index`. */
  constructor(bytesMax: number, index: number, term: number) {
    this.#bytesMax = bytesMax;
    this.#baseIndex = index;
    this.#baseTerm = term;
  }

  get firstIndex(): number {
    return this.#baseIndex + 1;
  }

  get lastIndex(): number {
    return this.#baseIndex + this.#entries.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Of an entry that is there, or of the one before the first. */
  term(index: number): number | undefined {
    return index === this.#baseIndex ? this.#baseTerm : this.#entries.at(index - this.#baseIndex - 1)?.term;
  }

  push(entries: readonly AppliedEntry[]): void {
    for (const e of entries) {
      assert(e.index === this.lastIndex + 1, 'entries of a relay are without gaps');
      this.#entries.push(e);
      this.#bytes += e.data.length;
    }
    while (this.#bytes > this.#bytesMax && this.#entries.length > 1) {
      const first = this.#entries.shift();
      if (first === undefined) return;
      this.#bytes -= first.data.length;
      this.#baseIndex = first.index;
      this.#baseTerm = first.term;
    }
  }

  /** From `from` on, below `to`, at least one and about `bytesMax`; none if they are not there. */
  read(from: number, to: number, bytesMax: number): readonly AppliedEntry[] {
    const found: AppliedEntry[] = [];
    if (from < this.firstIndex) return found;
    let bytes = 0;
    for (let index = from; index < to && (found.length === 0 || bytes < bytesMax); index++) {
      const e = this.#entries.at(index - this.#baseIndex - 1);
      if (e === undefined) break;
      found.push(e);
      bytes += e.data.length;
    }
    return found;
  }

  /** The tables were replaced: nothing of before follows on. */
  reset(index: number, term: number): void {
    this.#entries.clear();
    this.#bytes = 0;
    this.#baseIndex = index;
    this.#baseTerm = term;
  }
}

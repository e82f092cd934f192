// How much of the process's resident memory is in use. What was freed mostly stays resident: the allocator
// keeps it for the next who asks, and the system is not told. Counted as in use it would keep a node over its
// watermark for ever after an attack. V8 says how much its objects and arrays take; the rest (the allocator's
// overhead, sockets, TLS) is what was resident beyond that when the process last grew, less as V8's share is less.
// Invariants: never more than is resident; all that is resident when the process has just grown, for then
// nothing was free.
import type { MemorySample } from '#env/memory.js';

/** Growth below this part of the highest size says nothing: a page here and there. */
const growthMin = 1 / 100;
/** What lies beyond V8's share after it has shrunk counts half after so long. */
const halfLifeMs = 15_000;

export class MemoryUse {
  #highBytes = 0;
  /** Beyond V8's share, now. */
  #beyondBytes = 0;
  /** The same, and V8's share, when the process last grew with much in use. */
  #refBeyondBytes = 0;
  #refCountedBytes = 1;
  #at = 0;

  /** `now`: monotonic ms. */
  of(sample: MemorySample, now: number): number {
    const { residentBytes } = sample;
    const counted = sample.heapBytes + sample.bufferBytes;
    if (residentBytes > this.#highBytes * (1 + growthMin)) {
      this.#highBytes = residentBytes;
      this.#beyondBytes = Math.max(0, residentBytes - counted);
      // With little in use much of the rest is free, and no measure.
      if (counted >= this.#refCountedBytes / 2) {
        this.#refCountedBytes = Math.max(1, counted);
        this.#refBeyondBytes = this.#beyondBytes;
      }
    } else {
      const least = this.#refBeyondBytes * Math.min(1, counted / this.#refCountedBytes);
      const left = Math.max(0, this.#beyondBytes - least) * 0.5 ** ((now - this.#at) / halfLifeMs);
      this.#beyondBytes = least + left;
    }
    this.#at = now;
    return Math.min(residentBytes, counted + this.#beyondBytes);
  }
}

// The memory of a simulated node, as its process reads it (memory.ts moves it), and what the process has made of it.
import { levelNames } from '#broker/overload.js';
import type { Memory, MemorySample } from '#env/memory.js';

/** Of the watermark, while nothing is wrong. */
export const restPart = 0.3;
/** More than any watermark. */
const availableBytes = 1_000 * 1_048_576;

/** What a node is told of its memory. It stays what it is when the process ends. */
export class SimGauge implements Memory {
  readonly availableBytes: number = availableBytes;
  readonly heapLimitBytes: number = availableBytes;
  watermarkBytes = 0;
  /** Of the watermark. */
  part: number = restPart;

  sample(): MemorySample {
    const bytes = this.part * this.watermarkBytes;
    return { residentBytes: bytes, heapBytes: bytes / 10, bufferBytes: (bytes * 9) / 10 };
  }

  collect(): void {}
}

/** Which level each life of a node had, and since when. */
export class Levels {
  readonly #changes: { readonly at: number; readonly level: number }[] = [];

  get now(): number {
    return this.#changes.at(-1)?.level ?? 0;
  }

  note(at: number, name: string): void {
    this.#changes.push({ at, level: levelNames.indexOf(name) });
  }

  /** Whether the node had that level, or a higher one, at any time between. */
  reached(level: number, from: number, to: number): boolean {
    return this.#changes.some((c, i) => c.level >= level && c.at <= to && (this.#changes[i + 1]?.at ?? Number.POSITIVE_INFINITY) >= from);
  }
}

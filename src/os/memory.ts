// env's memory over what Linux and V8 say of this process. Where there is no /proc, mapped files count as
// memory of the process: watermarks are met too early there, never too late.
import { closeSync, openSync, readSync } from 'node:fs';
import { totalmem } from 'node:os';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Memory, MemorySample } from '#env/memory.js';

const statusFile = '/proc/self/status';
/** The file is about half of it. */
const statusBytesMax = 4096;
const anonymousLine = /^RssAnon:\s+(\d+) kB$/m;

export class OsMemory implements Memory {
  readonly availableBytes: number = availableBytes(process.constrainedMemory(), totalmem());
  readonly heapLimitBytes: number = getHeapStatistics().heap_size_limit;
  readonly #status: Buffer = Buffer.allocUnsafe(statusBytesMax);
  #collect: (() => void) | undefined;

  sample(): MemorySample {
    const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
    return { residentBytes: this.#anonymousBytes() ?? rss, heapBytes: heapUsed, bufferBytes: arrayBuffers };
  }

  collect(): void {
    this.#collect ??= collector();
    this.#collect();
  }

  #anonymousBytes(): number | undefined {
    let file: number;
    try {
      file = openSync(statusFile, 'r');
    } catch {
      return undefined;
    }
    try {
      const length = readSync(file, this.#status, 0, statusBytesMax, 0);
      const found = anonymousLine.exec(this.#status.toString('latin1', 0, length));
      return found === null ? undefined : Number(found[1]) * 1024;
    } catch {
      return undefined;
    } finally {
      closeSync(file);
    }
  }
}

/** The bound of the container, where there is one: without, it is 0, absent or larger than any machine. */
export function availableBytes(constrained: number | undefined, total: number): number {
  return constrained === undefined || constrained <= 0 ? total : Math.min(constrained, total);
}

/** V8's own, which it shows to contexts that are made after the flag is set. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  return typeof collect === 'function' ? () => void collect() : () => {};
}

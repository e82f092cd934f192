// The memory of this process. `os` reads it of the system; the simulator has none, and nobody asks it.

export interface MemorySample {
  /** Resident memory that stands for no file: what the tables map does not count. */
  readonly residentBytes: number;
  /** Of that, objects of JavaScript, and the arrays that they own beside the heap; garbage that is not collected yet included. */
  readonly heapBytes: number;
  readonly bufferBytes: number;
}

export interface Memory {
  /** What this process may use: the machine's memory, or less where a container bounds it. */
  readonly availableBytes: number;
  /** At this size of the heap the process ends. */
  readonly heapLimitBytes: number;
  /** Cheap: some ten microseconds. */
  sample(): MemorySample;
  /** Collects garbage before this returns. */
  collect(): void;
}

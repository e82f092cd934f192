// Time. Only `os` and the simulator implement it; nothing else may know what time it is.

export interface Timer {
  /** After this `fn` never runs. Harmless when it has run already. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds (fractions allowed). Only differences mean something. */
  now(): number;
  /** Milliseconds since 1970 by the wall clock. May jump. Never used for consensus or leases. */
  wallNow(): number;
  /** Runs `fn` once, `delayMs` from now or later. A process does not stay alive for it alone. */
  setTimer(delayMs: number, fn: () => void): Timer;
  /** Runs `fn` once the input of the current turn of the event loop has been handled. */
  endOfTurn(fn: () => void): void;
}

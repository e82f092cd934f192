// What the simulator's command line runs: a scope is one kind of system (raft alone, the database,
// the whole broker) with its faults and checkers. To plug one in: implement Scope, add it to scopes.ts.

export interface RunOptions {
  /** Called with one line per event, when asked for (`--trace`). */
  readonly trace?: ((line: string) => void) | undefined;
}

export interface RunResult {
  /** Empty when every checker was content. Each says what, who and when. */
  readonly violations: readonly string[];
  /** Unsigned 32 bit: a function of scope, seed, seconds and program, of nothing else. */
  readonly traceHash: number;
  readonly simSeconds: number;
  readonly events: number;
  /** What happened, for the summary: crashes, elections, committed entries, … */
  readonly counts: Readonly<Record<string, number>>;
}

export interface Scope {
  readonly name: string;
  /** Simulated seconds of one run when the command line does not say. */
  readonly defaultSeconds: number;
  run(seed: number, seconds: number, options: RunOptions): RunResult;
}

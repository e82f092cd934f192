// One deliberate bug, as data. Each scope lists its own (raft/mutants.ts, …); mutants.ts runs them.
export interface Mutant {
  readonly name: string;
  readonly scope: string;
  /** Below dist/. */
  readonly file: string;
  /** Must occur exactly once in the file. */
  readonly find: string;
  readonly replace: string;
  /** Which promise it breaks. */
  readonly why: string;
}

// One deliberate bug, as data. Each scope lists its own (raft/mutants.ts, …); mutants.ts runs them.
export interface Patch {
  /** Below dist/. */
  readonly file: string;
  /** Must occur exactly once in the file. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutant extends Patch {
  readonly name: string;
  readonly scope: string;
  /** What would make up for it goes as well. */
  readonly also?: readonly Patch[];
  /** Which promise it breaks. */
  readonly why: string;
}

export function patchesOf(m: Mutant): readonly Patch[] {
  return [m, ...(m.also ?? [])];
}

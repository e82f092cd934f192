// What the linearizability checker is told: what a sequential object does, and what its clients did
// and were told. Pure; the checker knows nothing of databases.

/** The output of an operation that nobody was told: it may have taken effect at any time after its call, or never. */
export const unknownOutput: unique symbol = Symbol('unknown output');
export type Unknown = typeof unknownOutput;

/** A sequential object with states `S`. All functions are pure; states are never changed in place. */
export interface Model<S, I, O> {
  readonly init: S;
  /**
   * The state after `input`, executed on `state`, has answered `output`; undefined when it cannot have
   * answered that. With {@link unknownOutput} any answer is possible.
   */
  step(state: S, input: I, output: O | Unknown): S | undefined;
  /** True: an operation that answered so changed nothing, whatever the state was. Not known: false. */
  changesNothing?(input: I, output: O | Unknown): boolean;
  equal(a: S, b: S): boolean;
  /** A 32-bit number, the same for equal states. */
  hash(state: S): number;
  describeState(state: S): string;
  describe(input: I, output: O | Unknown): string;
}

export interface Operation<I, O> {
  /** Who called; for the explanation only. */
  readonly client: string | number;
  readonly input: I;
  /** {@link unknownOutput}: nobody was told, mostly because it never returned. */
  readonly output: O | Unknown;
  /** When it was called. Any numbers that grow with time; a return and a call at the same number count as concurrent. */
  readonly call: number;
  /** When it returned, or has taken effect for certain; Infinity for an operation that never did. Not before `call`. */
  readonly return: number;
}

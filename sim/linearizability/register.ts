// One register: read, write, write that returns what was there, compare-and-set. States are numbers;
// 0 stands for nothing.
import { type Model, type Operation, type Unknown, unknownOutput } from './model.js';

export type RegisterInput =
  | { readonly kind: 'read'; readonly key: string }
  | { readonly kind: 'write'; readonly key: string; readonly value: number }
  /** Writes, and answers the value before. */
  | { readonly kind: 'swap'; readonly key: string; readonly value: number }
  /** Writes if the value is `expect`; answers the value before. */
  | { readonly kind: 'cas'; readonly key: string; readonly expect: number; readonly value: number };

/** The value read, or that was there before; anything for 'write'. */
export type RegisterOutput = number;

export const register: Model<number, RegisterInput, RegisterOutput> = {
  init: 0,
  step(state: number, input: RegisterInput, output: RegisterOutput | Unknown): number | undefined {
    if (input.kind === 'write') return input.value;
    if (output !== unknownOutput && output !== state) return undefined;
    switch (input.kind) {
      case 'read':
        return state;
      case 'swap':
        return input.value;
      case 'cas':
        return state === input.expect ? input.value : state;
    }
  },
  changesNothing: (input: RegisterInput, output: RegisterOutput | Unknown): boolean =>
    input.kind === 'read' || (input.kind === 'cas' && output !== unknownOutput && output !== input.expect),
  equal: (a: number, b: number): boolean => a === b,
  hash: (state: number): number => state | 0,
  describeState: (state: number): string => String(state),
  describe(input: RegisterInput, output: RegisterOutput | Unknown): string {
    const answer = output === unknownOutput ? '?' : String(output);
    switch (input.kind) {
      case 'read':
        return `read ${answer}`;
      case 'write':
        return `write ${input.value}`;
      case 'swap':
        return `swap ${answer} for ${input.value}`;
      case 'cas':
        return `set ${input.value} if it is ${input.expect}, found ${answer}`;
    }
  },
};

export function registerKey(input: RegisterInput): string {
  return input.key;
}

type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

/**
 * The same question about one register, with less to search: of the operations that never returned,
 * - a write of a value that nobody saw and nobody expected is left out. Whatever order holds with it holds without
 *   it: until the next write the value is another one, and nobody looked.
 * - the one write of a value that somebody saw took effect before that one returned. It is no open end any more.
 */
export function withFewerOpenEnds(operations: readonly RegisterOperation[]): RegisterOperation[] {
  let left = [...operations];
  for (;;) {
    const kept = withoutUnseen(left);
    if (kept.length === left.length) break;
    // Who expected a value and is left out expects it no more.
    left = kept;
  }
  const writers = new Map<number, number>();
  for (const { input } of left) if (input.kind !== 'read') writers.set(input.value, (writers.get(input.value) ?? 0) + 1);
  const seenBy = new Map<number, number>();
  for (const o of left) {
    const seen = answerOf(o);
    if (seen !== undefined) seenBy.set(seen, Math.min(seenBy.get(seen) ?? Number.POSITIVE_INFINITY, o.return));
  }
  return left.map((o) => {
    const { input, call } = o;
    if (o.return !== Number.POSITIVE_INFINITY || input.kind === 'read' || input.value === register.init || writers.get(input.value) !== 1) return o;
    const by = seenBy.get(input.value) ?? Number.POSITIVE_INFINITY;
    return by < call ? o : { ...o, return: by };
  });
}

function withoutUnseen(operations: readonly RegisterOperation[]): RegisterOperation[] {
  const matters = new Set<number>();
  for (const o of operations) {
    const seen = answerOf(o);
    if (seen !== undefined) matters.add(seen);
    if (o.input.kind === 'cas') matters.add(o.input.expect);
  }
  return operations.filter((o) => o.return !== Number.POSITIVE_INFINITY || (o.input.kind !== 'read' && matters.has(o.input.value)));
}

/** The value that the operation told somebody. */
function answerOf({ input, output }: RegisterOperation): RegisterOutput | undefined {
  return input.kind === 'write' || output === unknownOutput ? undefined : output;
}

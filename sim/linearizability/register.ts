// One register: read, write, write that returns what was there, compare-and-set. States are numbers;
// 0 stands for nothing.
import { type Model, type Unknown, unknownOutput } from './model.js';

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

// A value that must not be seen: passwords, keys, tokens of the configuration. Whatever prints it
// (a template, JSON) gets asterisks, an inspection nothing at all; only `reveal` gives it.
import { timingSafeEqual } from 'node:crypto';

const shown = '******';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return shown;
  }

  toJSON(): string {
    return shown;
  }
}

/** Compares in a time that does not depend on where they differ; only their lengths show. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

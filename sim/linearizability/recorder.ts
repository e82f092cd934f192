// Records what clients call and are told, with one counter for the order of events.
import { type Operation, type Unknown, unknownOutput } from './model.js';

export interface Call<O> {
  /** The operation returned. */
  returned(output: O): void;
  /** It is certain that it has not taken effect and never will. */
  failed(): void;
}

interface Entry<I, O> {
  readonly client: string | number;
  readonly input: I;
  readonly call: number;
  output: O | Unknown;
  return: number;
}

export class Recorder<I, O> {
  #events = 0;
  readonly #entries: Set<Entry<I, O>> = new Set();

  /** An operation of which nothing more is told is one that never returned. */
  called(client: string | number, input: I): Call<O> {
    const entry: Entry<I, O> = { client, input, call: ++this.#events, output: unknownOutput, return: Number.POSITIVE_INFINITY };
    this.#entries.add(entry);
    return {
      returned: (output) => {
        entry.output = output;
        entry.return = ++this.#events;
      },
      failed: () => {
        this.#entries.delete(entry);
      },
    };
  }

  get operations(): readonly Operation<I, O>[] {
    return [...this.#entries];
  }
}

// Which messages that travel between nodes this node has delivered lately. A session that moves away
// takes with it what it got here, so that a copy that is late at its new node is known for one there.
// Written by publish.ts for each such message, read by takeover.ts.
// Bounded: of more messages than fit in the time, the oldest are forgotten.
import { matches } from '#mqtt/topic.js';
import type { Message } from '#session/message.js';

const entriesMax = 16_384;

/** Incarnation of the node where a message entered the cluster, and its number there. */
export type Origin = readonly [incarnation: number, number: number];

export class RecentOrigins {
  readonly #topicNames: string[] = [];
  readonly #incarnations: Float64Array = new Float64Array(entriesMax);
  readonly #numbers: Float64Array = new Float64Array(entriesMax);
  readonly #times: Float64Array = new Float64Array(entriesMax);
  #next = 0;

  add(message: Message, now: number): void {
    const at = this.#next++ % entriesMax;
    this.#topicNames[at] = message.topicName;
    this.#incarnations[at] = message.originIncarnation;
    this.#numbers[at] = message.originNumber;
    this.#times[at] = now;
  }

  /** Those since `since` whose topic name matches one of the filters: the newest `max`. */
  matching(topicFilters: Iterable<string>, since: number, max: number): Origin[] {
    const filters = [...topicFilters];
    // Few topic names come often.
    const wanted = new Map<string, boolean>();
    const found: Origin[] = [];
    const oldest = Math.max(0, this.#next - entriesMax);
    for (let i = this.#next - 1; i >= oldest && found.length < max; i--) {
      const at = i % entriesMax;
      if ((this.#times[at] as number) < since) break;
      const topicName = this.#topicNames[at] as string;
      let is = wanted.get(topicName);
      if (is === undefined) {
        is = filters.some((f) => matches(f, topicName));
        wanted.set(topicName, is);
      }
      if (is) found.push([this.#incarnations[at] as number, this.#numbers[at] as number]);
    }
    return found;
  }
}

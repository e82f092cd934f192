// How busy this node's event loop is: by how much its timers run late, smoothed. Replicants weigh it when they
// choose who feeds them (upstreams.ts); fed by the database's ticker. Pure.

/** What was is forgotten so fast. */
const forgetMs = 30_000;
/** One long halt is none of the load that another stream would make worse: it counts for so late, and for so long. */
const lateMsMax = 250;
const haltMsMax = 250;
/** Lateness that is nothing, and what weighs as much as one stream; at most so many streams. */
const idleMs = 20;
const lateMsPerStream = 20;
const streamsMax = 5;

export class LoadMeter {
  #lateMs = 0;
  #at: number | undefined;

  /** A timer ran at `now`, so much too late. */
  note(now: number, lateMs: number): void {
    const since = this.#at === undefined ? 0 : Math.min(haltMsMax, now - this.#at);
    this.#at = now;
    const share = 1 - Math.exp(-Math.max(0, since) / forgetMs);
    this.#lateMs += share * (Math.min(lateMsMax, Math.max(0, lateMs)) - this.#lateMs);
  }

  /** The load as a number of streams, 0 for hardly any. */
  get streams(): number {
    return Math.min(streamsMax, Math.max(0, this.#lateMs - idleMs) / lateMsPerStream);
  }
}

// News of commits on their way to the other cores, for the driver of a shard. Raft tells every member at
// once what is committed; under load the next AppendEntries says it too, a moment later, and a
// frame of its own costs as much as a batch of entries. So news wait a little, the longer the more
// a round carried, and what was told meanwhile is dropped. A quiet shard's wait for nothing but the turn.
import type { Clock } from '#env/clock.js';
import type { RaftMessage } from '#raft/types.js';
import { Pacer } from './pacer.js';

type News = Extract<RaftMessage, { type: 'heartbeat' }>;

export class CommitNews {
  readonly #clock: Clock;
  readonly #pacer: Pacer;
  readonly #send: (to: string, message: RaftMessage) => void;
  /** Transactions put into the log so far: how busy the shard is. */
  readonly #logged: () => number;
  readonly #held: Map<string, News> = new Map();
  #carried = 0;
  #scheduled = false;
  #closed = false;

  constructor(clock: Clock, pauseMsMax: number, logged: () => number, send: (to: string, message: RaftMessage) => void) {
    this.#clock = clock;
    this.#pacer = new Pacer(clock, pauseMsMax);
    this.#logged = logged;
    this.#send = send;
  }

  /** Sends the message, or keeps it back for a moment. */
  send(to: string, message: RaftMessage): void {
    if (message.type === 'heartbeat' && message.round === 0) {
      this.#held.set(to, message);
      this.#later();
      return;
    }
    if (this.#held.size > 0) {
      const held = this.#held.get(to);
      if (held !== undefined) {
        this.#held.delete(to);
        // Whatever is not said by this message goes before it.
        if (!saysAsMuch(message, held)) this.#send(to, held);
      }
    }
    this.#send(to, message);
  }

  #later(): void {
    if (this.#scheduled || this.#pacer.holds(() => this.#afterTurn())) return;
    this.#afterTurn();
  }

  /** Two ends of a turn: what the answers to the committed writes lead to is proposed at the first and may carry the news. */
  #afterTurn(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    this.#clock.endOfTurn(() =>
      this.#clock.endOfTurn(() => {
        this.#scheduled = false;
        this.#flush();
      }),
    );
  }

  #flush(): void {
    const logged = this.#logged();
    this.#pacer.ran(this.#clock.now(), logged - this.#carried);
    this.#carried = logged;
    if (this.#closed) return;
    for (const [to, message] of this.#held) this.#send(to, message);
    this.#held.clear();
  }

  close(): void {
    this.#closed = true;
    this.#pacer.reset();
    this.#held.clear();
  }
}

/** Its receiver will know of the commit all the same. */
function saysAsMuch(message: RaftMessage, held: News): boolean {
  if (message.term > held.term) return true;
  return (message.type === 'append' || message.type === 'heartbeat') && message.commit >= held.commit && message.term === held.term;
}

// PUBLISHes on their way through the hook `message.publish`: per client in the order they came in, those
// behind one whose answer is outstanding included. The client is not read meanwhile, so that what waits
// is bounded by what one read brought. Used by `publish.ts` alone, and only while somebody hooked, or an answer is outstanding.
import type { Channel } from '#session/channel.js';
import { settle } from '#session/channel.js';
import { keep } from '#session/message.js';
import type { HeldPublish } from './asked-publishes.js';
import type { Core } from './core.js';
import type { PublishVerdict } from './hooks.js';

export class HookedPublishes {
  readonly #core: Core;
  readonly #through: (channel: Channel, held: HeldPublish) => void;
  readonly #waiting: Map<Channel, HeldPublish[]> = new Map();

  constructor(core: Core, through: (channel: Channel, held: HeldPublish) => void) {
    this.#core = core;
    this.#through = through;
  }

  /** Whether the client's next PUBLISH has to stand in line, hook or not: one before it has no answer yet. */
  waits(channel: Channel): boolean {
    return this.#waiting.size > 0 && this.#waiting.has(channel);
  }

  add(channel: Channel, held: HeldPublish): void {
    keep(held.message);
    const line = this.#waiting.get(channel);
    if (line !== undefined) {
      line.push(held);
      return;
    }
    const begun = [held];
    this.#waiting.set(channel, begun);
    channel.pauseReading();
    this.#next(channel, begun);
  }

  /** Those at the head of the line whose answer comes at once, up to the first whose does not. */
  #next(channel: Channel, line: HeldPublish[]): void {
    for (let first = line[0]; first !== undefined; first = line[0]) {
      const { publish } = this.#core.hooks;
      let verdict: PublishVerdict | undefined = publish === undefined ? first.message : undefined;
      if (publish !== undefined) {
        let returned = false;
        publish(first.message, channel, (said) => {
          if (!returned) verdict = said;
          else {
            this.#decide(channel, line, said);
            this.#next(channel, line);
          }
        });
        returned = true;
      }
      if (verdict === undefined) return;
      this.#decide(channel, line, verdict);
    }
    this.#waiting.delete(channel);
    channel.resumeReading();
  }

  #decide(channel: Channel, line: HeldPublish[], verdict: PublishVerdict): void {
    const held = line.shift();
    if (held === undefined) return;
    if (typeof verdict !== 'number') {
      this.#through(channel, { ...held, message: verdict });
      return;
    }
    this.#core.metrics.messagesDropped.value++;
    if (held.ack !== undefined) settle(held.ack, verdict);
  }
}

// PUBLISHes that wait until somebody else (an HTTP service) has said whether the client may: per client
// in the order they came in, those behind one that waits included. The client is not read meanwhile, so
// that what waits is bounded by what one read brought. Used by `publish.ts` alone.
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from '#session/channel.js';
import type { Message } from '#session/message.js';
import type { DeferredAck } from '#session/session.js';
import { askAccess } from './access.js';
import type { Core } from './core.js';

/** A PUBLISH that waits for its turn; its message is kept. */
export interface HeldPublish {
  readonly message: Message;
  readonly ack: DeferredAck | undefined;
  /** It is published so much later; undefined: at once. */
  readonly delayMs?: number | undefined;
}

export class AskedPublishes {
  readonly #core: Core;
  readonly #judged: (channel: Channel, held: HeldPublish, allowed: boolean) => void;
  readonly #waiting = new Map<Channel, HeldPublish[]>();

  constructor(core: Core, judged: (channel: Channel, held: HeldPublish, allowed: boolean) => void) {
    this.#core = core;
    this.#judged = judged;
  }

  /** Whether the client's next PUBLISH has to stand in line. */
  waits(channel: Channel): boolean {
    return this.#waiting.size > 0 && this.#waiting.has(channel);
  }

  add(channel: Channel, held: HeldPublish): void {
    const line = this.#waiting.get(channel);
    if (line !== undefined) {
      line.push(held);
      return;
    }
    this.#waiting.set(channel, [held]);
    channel.pauseReading();
    this.#next(channel);
  }

  /** Judges the first in line, and those behind it that need not wait. */
  #next(channel: Channel): void {
    const { access } = this.#core;
    const line = this.#waiting.get(channel) ?? [];
    for (let first = line[0]; first !== undefined; first = line[0]) {
      const { topicName, qos, retain } = first.message;
      let may = access.mayPublish(channel, topicName, qos, retain, this.#core.now());
      if (may === undefined) {
        let returned = false;
        askAccess(access, channel, 'publish', topicName, qos, retain, (allowed) => {
          if (!returned) may = allowed;
          else {
            this.#decide(channel, line, allowed);
            this.#next(channel);
          }
        });
        returned = true;
      }
      if (may === undefined) return;
      this.#decide(channel, line, may);
    }
    this.#waiting.delete(channel);
    channel.resumeReading();
  }

  #decide(channel: Channel, line: HeldPublish[], allowed: boolean): void {
    const first = line.shift();
    if (first === undefined) return;
    if (!allowed && this.#core.access.denyAction === 'disconnect') {
      channel.disconnect(ReasonCode.notAuthorized, this.#core.now());
      line.length = 0;
    }
    this.#judged(channel, first, allowed);
  }
}

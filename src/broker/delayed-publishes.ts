// PUBLISHes that do not go out now, or not under the name that the client gave: to `$delayed/SECONDS/NAME`,
// and those of clients behind a mountpoint. Used by `publish.ts` alone, which asks for rights in between.
import { ReasonCode } from '#mqtt/reason-code.js';
import { isDelayedTopic, parseDelayed, unmountName } from '#mqtt/special-topics.js';
import { isTopicName } from '#mqtt/topic.js';
import type { Message } from '#session/message.js';
import { AbsentClient } from './absent-client.js';
import { type AccessClient, openAccess } from './access.js';
import type { HeldPublish } from './asked-publishes.js';
import type { Core } from './core.js';
import type { DelayedPublisher } from './ports.js';
import type { PublishOutcome } from './publish-outcome.js';

/**
 * Until a delayed message is tried again that could not be stored as a retained one, or that a persistent session could not
 * take, in ms: twice as long each time, for who could take it gets it again.
 */
const dueRetryMs = 1_000;
const dueRetryMsMax = 60_000;

export class DelayedPublishes {
  readonly #core: Core;
  readonly #publish: (message: Message, done: (outcome: PublishOutcome) => void) => void;

  constructor(core: Core, publish: (message: Message, done: (outcome: PublishOutcome) => void) => void) {
    this.#core = core;
    this.#publish = publish;
    core.ports.delayed?.onDue((message, done, publisher) => this.#due(message, done, publisher));
  }

  takes(message: Message): boolean {
    return this.#core.ports.delayed !== undefined && isDelayedTopic(message.topicName);
  }

  /** What is to be published, and when; undefined: it says so wrongly. */
  target(message: Message): Pick<HeldPublish, 'message' | 'delayMs'> | undefined {
    if (!this.takes(message)) return { message };
    const delayed = parseDelayed(message.topicName, this.#core.env.clock.wallNow());
    return delayed === undefined ? undefined : { message: { ...message, topicName: delayed.topicName }, delayMs: delayed.delayMs };
  }

  /** Kept for later: accepted when that is committed. */
  keep(message: Message, delayMs: number, done: (outcome: PublishOutcome) => void, publisher?: DelayedPublisher): void {
    const stored = (outcome: 'stored' | 'refused' | 'no-quorum', text: string): void => {
      if (outcome === 'stored') {
        done({ kind: 'accepted', matched: true });
        return;
      }
      this.#core.metrics.messagesDropped.value++;
      const reasonCode = outcome === 'refused' ? ReasonCode.quotaExceeded : ReasonCode.implementationSpecificError;
      done({ kind: 'failed', message: text, reasonCode });
    };
    this.#core.ports.delayed?.store(message, delayMs, stored, publisher);
  }

  /**
   * Whose rights count again when the message is due. Undefined: nobody's, because the client has them by its connection
   * (superusers, tokens, addresses, a service that says so), and there will be none then.
   */
  publisherOf(client: AccessClient, message: Message): DelayedPublisher | undefined {
    const { access } = this.#core;
    if (access === openAccess || access.isUnderRules?.(client) === false) return undefined;
    const { username, mountpoint = '' } = client;
    return this.#absentMay(message, { username, mountpoint }) === true ? { username, mountpoint } : undefined;
  }

  #absentMay({ publisherId, topicName, qos, retain }: Message, { username, mountpoint }: DelayedPublisher): boolean | undefined {
    const client = new AbsentClient(publisherId, username, mountpoint);
    return this.#core.access.mayPublish(client, unmountName(mountpoint, topicName), qos, retain, this.#core.now());
  }

  /** One of the broker's own. `by`: whose will it is. */
  keepOwn(message: Message, done: (outcome: PublishOutcome) => void, by: AccessClient | undefined): void {
    const target = this.target(message);
    if (target?.delayMs === undefined) done({ kind: 'failed', message: 'no such delay', reasonCode: ReasonCode.topicNameInvalid });
    else this.keep(target.message, target.delayMs, done, by === undefined ? undefined : this.publisherOf(by, target.message));
  }

  /** Its time has come. It went through access and hooks when it came; rules may have changed since. */
  #due(message: Message, done: () => void, publisher: DelayedPublisher | undefined, retryMs: number = dueRetryMs): void {
    if (publisher !== undefined && this.#absentMay(message, publisher) === false) {
      this.#core.metrics.publishDenied.value++;
      this.#core.metrics.messagesDropped.value++;
      done();
      return;
    }
    this.#publish(message, (outcome) => {
      if (outcome.kind === 'accepted') done();
      else this.#core.env.clock.setTimer(retryMs, () => this.#due(message, done, publisher, Math.min(2 * retryMs, dueRetryMsMax)));
    });
  }
}

/** Undefined: behind the mountpoint the name would be none. */
export function mountHeld(held: HeldPublish, mountpoint: string): HeldPublish | undefined {
  const topicName = mountpoint + held.message.topicName;
  return isTopicName(topicName, Number.POSITIVE_INFINITY) ? { ...held, message: { ...held.message, topicName } } : undefined;
}

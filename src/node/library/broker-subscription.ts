// The messages of one topic filter for an embedding program: an async iterator with a bounded buffer, or
// a handler that is run message by message. Nobody waits for a slow consumer: beyond the bound the oldest
// messages that wait are dropped, and counted.
import type { Message, MessageProperties } from '#session/message.js';

/** A message as the embedding program gets it. `payload` is shared with other receivers: do not change it. */
export interface ReceivedMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  /** The publisher's RETAIN flag. */
  readonly retain: boolean;
  /** It was there before the subscription. */
  readonly retained: boolean;
  /** Those of MQTT 5.0 that travel with a message; undefined: none. */
  readonly properties: MessageProperties | undefined;
  /** Client id; undefined: a broker's own message. */
  readonly publisherId: string | undefined;
}

/** While it returns a promise, the following messages wait in the buffer. What it throws is logged and counted. */
export type MessageHandler = (message: ReceivedMessage) => unknown;

export interface SubscribeSettings {
  /** Whether what is retained already comes first. Default true. */
  readonly retained?: boolean;
  /** Messages that may wait for the consumer. Default 1,000. */
  readonly bufferMessagesMax?: number;
  /** Bytes of their payloads. Default 16 MiB. */
  readonly bufferBytesMax?: number;
}

const bufferMessagesMax = 1_000;
const bufferBytesMax = 16 * 1024 * 1024;

type Result = IteratorResult<ReceivedMessage, undefined>;

/** Ends with `unsubscribe`, with `return` (leaving a `for await` does it) and when the broker is closed. */
export class BrokerSubscription implements AsyncIterableIterator<ReceivedMessage, undefined> {
  readonly topicFilter: string;
  readonly #handler: MessageHandler | undefined;
  readonly #onError: (error: unknown) => void;
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  #onEnd: () => void = () => {};
  #waiting: ReceivedMessage[] = [];
  #bytes = 0;
  #dropped = 0;
  #running = false;
  #ended = false;
  readonly #readers: ((result: Result) => void)[] = [];

  /** Use `Broker.subscribe`. */
  constructor(topicFilter: string, settings: SubscribeSettings, handler: MessageHandler | undefined, onError: (error: unknown) => void) {
    this.topicFilter = topicFilter;
    this.#handler = handler;
    this.#onError = onError;
    this.#messagesMax = settings.bufferMessagesMax ?? bufferMessagesMax;
    this.#bytesMax = settings.bufferBytesMax ?? bufferBytesMax;
  }

  /** Messages dropped because the consumer was too slow. */
  get dropped(): number {
    return this.#dropped;
  }

  /** `onEnd` runs once, at the end. */
  opened(onEnd: () => void): void {
    this.#onEnd = onEnd;
  }

  push(m: Message, retained: boolean): void {
    if (this.#ended) return;
    const { topicName: topic, payload, qos, retain, properties, publisherId } = m;
    this.#waiting.push({ topic, payload, qos, retain, retained, properties, publisherId: publisherId === '' ? undefined : publisherId });
    this.#bytes += payload.length;
    while (this.#waiting.length > this.#messagesMax || (this.#bytes > this.#bytesMax && this.#waiting.length > 1)) {
      this.#take();
      this.#dropped++;
    }
    if (this.#handler === undefined) this.#serve();
    else if (!this.#running) {
      this.#running = true;
      // Not within the fan-out: the handler may publish.
      queueMicrotask(() => this.#run());
    }
  }

  #take(): ReceivedMessage | undefined {
    const message = this.#waiting.shift();
    if (message !== undefined) this.#bytes -= message.payload.length;
    return message;
  }

  #run(): void {
    for (let message = this.#take(); message !== undefined; message = this.#take()) {
      let result: unknown;
      try {
        result = this.#handler?.(message);
      } catch (error) {
        this.#onError(error);
      }
      if (result instanceof Promise) {
        result.catch(this.#onError).then(() => this.#run());
        return;
      }
    }
    this.#running = false;
  }

  #serve(): void {
    while (this.#readers.length > 0) {
      const value = this.#take();
      if (value === undefined) return;
      this.#readers.shift()?.({ done: false, value });
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next message, once there is one. With a handler there is none. */
  next(): Promise<Result> {
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => {
      this.#readers.push(resolve);
      this.#serve();
    });
  }

  return(): Promise<Result> {
    this.unsubscribe();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** No message follows; the route goes with the last subscriber of the filter. */
  unsubscribe(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#waiting = [];
    this.#bytes = 0;
    for (const read of this.#readers.splice(0)) read({ done: true, value: undefined });
    this.#onEnd();
  }
}

// QoS 1 and 2 messages sent to a client and not yet completed, by packet identifier, in the order they
// were first sent. They survive the connection: a resumed session sends them again in that order, with
// DUP, within the new connection's window.
import { assert } from '#base/assert.js';
import type { Message } from './message.js';

export interface InflightEntry {
  readonly packetId: number;
  readonly qos: 1 | 2;
  /** Undefined once the client has it (PUBREC), and from the start in a session that ends with its connection, unless it is a group's. */
  message: Message | undefined;
  readonly retain: boolean;
  readonly subscriptionIdentifiers: readonly number[] | undefined;
  /** As of a {@link QueuedMessage}. */
  readonly group?: string | undefined;
  /** QoS 2 after PUBREC: PUBREL was sent, PUBCOMP is awaited. */
  released: boolean;
  /** Sent on the current connection. */
  sent: boolean;
  /** While somebody wants to hear of completed deliveries; it does not move to other nodes. */
  watched?: Watched | undefined;
}

/** A delivery whose end is told. */
export interface Watched {
  readonly message: Message;
  /** Monotonic ms. */
  readonly sentAt: number | undefined;
}

export class Inflight {
  readonly #entries = new Map<number, InflightEntry>();
  /** Entries sent on the current connection: what counts against its window. */
  sent = 0;
  /** After a resume: what is to be sent again, in order; `#next` is the first not yet sent. */
  #resend: InflightEntry[] | undefined = undefined;
  #next = 0;

  get size(): number {
    return this.#entries.size;
  }

  get(packetId: number): InflightEntry | undefined {
    return this.#entries.get(packetId);
  }

  entries(): IterableIterator<InflightEntry> {
    return this.#entries.values();
  }

  add(entry: InflightEntry): void {
    assert(!this.#entries.has(entry.packetId), 'inflight: packet identifier is in use'); // [MQTT-2.2.1-4]
    this.#entries.set(entry.packetId, entry);
    if (entry.sent) this.sent++;
  }

  /** Completes the entry: its packet identifier is free again. */
  remove(entry: InflightEntry): void {
    if (this.#entries.delete(entry.packetId) && entry.sent) this.sent--;
  }

  /** A new connection: nothing is sent on it yet. */
  restart(): void {
    this.sent = 0;
    this.#resend = undefined;
    this.#next = 0;
    if (this.#entries.size === 0) return;
    for (const entry of this.#entries.values()) entry.sent = false;
    this.#resend = [...this.#entries.values()];
  }

  /** The next entry to send again, without taking it; undefined when there is none. */
  nextResend(): InflightEntry | undefined {
    const resend = this.#resend;
    if (resend === undefined) return undefined;
    while (this.#next < resend.length) {
      const entry = resend[this.#next] as InflightEntry;
      if (!entry.sent && this.#entries.get(entry.packetId) === entry) return entry;
      this.#next++;
    }
    this.#resend = undefined;
    return undefined;
  }

  markSent(entry: InflightEntry): void {
    if (entry.sent) return;
    entry.sent = true;
    this.sent++;
  }
}

// What was decided about a client's last plain PUBLISH (passing.ts), for the next ones with the same Topic Name. With a
// thousand clients that send a message each, what is looked at on the way is in cold memory: the decoder, the channel, the
// verdict, the way. Here all of it is one object and the name's bytes; reading a shared group's messages takes half the time.
// Invariants: a shortcut does what `Passing.pass` would do, or leaves it to it; that nothing has changed is one number,
// which grows with every change of the tables, the rights and the hooks that the decision was made from.
import { type ByteSlot, ByteSlots } from '#base/byte-slots.js';
import type { TopicEntry } from '#mqtt/topic-cache.js';
import type { PlaceMemo, PublisherPlace } from '#router/shared-picker.js';
import type { Channel, ClientShortcut } from '#session/channel.js';
import { takesPass } from '#session/deliver.js';
import type { Session, Subscription } from '#session/session.js';
import type { StandingRight } from './access.js';
import type { Group } from './shared-dispatch.js';

/** Passing, as a shortcut sees it. */
export interface ShortcutHost {
  /** Grows with all that may make a decision another one; NaN: nobody knows. */
  readonly changes: number;
  /** Somebody else wants to see messages first. */
  readonly hooked: boolean;
  placeOf(group: Group, publisherId: string, topicName: string, memo: PlaceMemo): number;
  /** To the member at `place`, which was picked and does not take the message as it is. */
  toPicked(group: Group, place: number, topicName: string, bytes: Uint8Array, start: number, end: number, channel: Channel, now: number): void;
  /** `n` messages were passed on; `counts`: of their right. */
  took(n: number, counts: unknown): void;
}

/** One group all of whose members are here, or one subscriber. */
export type Destination = Group | Subscription;

/** QoS 0, nothing retained. */
const plainPublish = 0x30;
/** Names with their length in front. Longer ones have no shortcut. */
const slots = new ByteSlots(128);

export class Shortcut implements ClientShortcut, PlaceMemo {
  // In the order in which they are looked at.
  readonly #host: ShortcutHost;
  #changes = Number.NaN;
  #untilS = 0;
  /** Where the Topic Name is, as it comes in a packet. */
  readonly #names: Uint8Array;
  readonly #nameAt: number;
  #nameLength = 0;
  #is5 = false;
  readonly #packetBytesMax: number;
  #counts: unknown = undefined;
  #group: Group | undefined = undefined;
  place: PublisherPlace | undefined = undefined;
  #to: Subscription | undefined = undefined;
  readonly #clientId: string;
  #topicName = '';
  readonly #channel: Channel;
  readonly #slot: ByteSlot;

  constructor(host: ShortcutHost, channel: Channel) {
    this.#host = host;
    this.#channel = channel;
    this.#clientId = channel.clientId;
    this.#packetBytesMax = channel.limits.maxPacketSizeBytes;
    this.#slot = slots.take();
    this.#names = this.#slot.bytes;
    this.#nameAt = this.#slot.at;
  }

  static fits(topic: TopicEntry): boolean {
    return topic.bytes.length + 2 <= slots.slotBytes;
  }

  /** In use, of all clients. */
  static get count(): number {
    return slots.used;
  }

  lead(topic: TopicEntry, to: Destination, place: PublisherPlace | undefined, right: StandingRight): void {
    const { bytes, topicName } = topic;
    const channel = this.#channel;
    this.#changes = this.#host.changes;
    this.#counts = right.counts;
    this.#untilS = right.untilS;
    this.#is5 = channel.version === 5;
    this.#topicName = topicName;
    this.#group = 'picker' in to ? to : undefined;
    this.#to = 'picker' in to ? undefined : to;
    this.place = place;
    this.#nameLength = bytes.length + 2;
    const names = this.#names;
    names[this.#nameAt] = bytes.length >>> 8;
    names[this.#nameAt + 1] = bytes.length & 255;
    names.set(bytes, this.#nameAt + 2);
  }

  close(): void {
    this.#changes = Number.NaN;
    slots.give(this.#slot);
  }

  take(bytes: Uint8Array, start: number, end: number, now: number): number {
    const host = this.#host;
    if (this.#changes !== host.changes || host.hooked || this.#untilS * 1000 <= now) return start;
    let at = start;
    let n = 0;
    for (let next = this.#end(bytes, at, end); next > 0; next = this.#end(bytes, at, end)) {
      const group = this.#group;
      if (group !== undefined) {
        const here = group.local?.here;
        if (here === undefined || here.length === 0) break;
        const place = host.placeOf(group, this.#clientId, this.#topicName, this);
        const to = here[place];
        // Picked is picked: the member gets it in another way, or who helps it out. What comes then may be another matter.
        if (to === undefined || hasQueue(to.session) || !this.#pass(to, bytes, at, next)) {
          host.toPicked(group, place, this.#topicName, bytes, at, next, this.#channel, now);
          at = next;
          break;
        }
      } else if (this.#to === undefined || !this.#pass(this.#to, bytes, at, next)) break;
      n++;
      at = next;
    }
    if (at > start) host.took(n, this.#counts);
    return at;
  }

  #pass(to: Subscription, bytes: Uint8Array, start: number, end: number): boolean {
    if (!takesPass(to, this.#clientId, this.#is5 ? 5 : 4, end - start)) return false;
    to.session.channel?.out.pass?.(bytes, start, end);
    return true;
  }

  /** Where the plain PUBLISH with the name that begins at `at` ends, if it does before `end`; 0: there is none. */
  #end(bytes: Uint8Array, at: number, end: number): number {
    // Remaining lengths of one byte and two; others go the way of all packets, as do those that are not in their shortest form.
    if (at + 4 > end || bytes[at] !== plainPublish) return 0;
    let bodyAt = at + 2;
    let remaining = bytes[at + 1] as number;
    if (remaining >= 0x80) {
      const high = bytes[at + 2] as number;
      if (high === 0 || high >= 0x80) return 0;
      remaining = (remaining & 0x7f) | (high << 7);
      bodyAt++;
    }
    const length = this.#nameLength;
    const bodyEnd = bodyAt + remaining;
    if (bodyEnd > end || remaining < length || bodyEnd - at > this.#packetBytesMax) return 0;
    const names = this.#names;
    // From the end: names differ there more often than at the front.
    for (let own = this.#nameAt + length - 1, its = bodyAt + length - 1; its >= bodyAt; ) if (names[own--] !== bytes[its--]) return 0;
    // No properties.
    if (this.#is5 && (remaining === length || bytes[bodyAt + length] !== 0)) return 0;
    return bodyEnd;
  }
}

export function hasQueue({ queue }: Session): boolean {
  return queue !== undefined && queue.length > 0;
}

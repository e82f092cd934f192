// The short way of a PUBLISH: QoS 0, not retained, without properties, for one subscriber of this node who takes it as it
// is. Its bytes go from the memory that the socket was read into to what the subscriber is sent, and no packet, message or
// view is made of them. Asked by publish.ts's callers first; whatever is not so plain goes the long way (publish.ts).
// Invariants: until `pass` answers true nothing has happened, so the long way may be taken; what it is lent is not
// referred to when it returns.
import { copyBytes } from '#base/bytes.js';
import type { ProtocolVersion } from '#mqtt/packet.js';
import type { TopicEntry } from '#mqtt/topic-cache.js';
import type { PlaceMemo } from '#router/shared-picker.js';
import type { Channel, ClientShortcut } from '#session/channel.js';
import { deliver, takesPass } from '#session/deliver.js';
import { type Message, makeMessage } from '#session/message.js';
import type { Subscription } from '#session/session.js';
import { openAccess } from './access.js';
import type { Core } from './core.js';
import type { Group } from './shared-dispatch.js';
import { type Destination, hasQueue, Shortcut, type ShortcutHost } from './shortcut.js';
import { changesOf, wayOf } from './way.js';

/** What it needs of publish.ts. */
export interface LongWay {
  /** Messages of the client, or of anybody, stand in line. */
  waits(channel: Channel): boolean;
  /** The client's rights are not known yet. */
  ask(channel: Channel, message: Message): void;
  denied(channel: Channel, now: number): void;
  stamp(message: Message): void;
  unwanted(message: Message): void;
}

/** pressure.ts, as messages see it. */
export interface BacklogWatch {
  /** Whether publishers are looked at. */
  readonly holding: boolean;
  /** Grows with every message that is put into a backlog. */
  readonly backlogs: number;
  hold(channel: Channel, now: number): void;
}

const dollar = 0x24;

export class Passing implements ShortcutHost {
  readonly #core: Core;
  readonly #long: LongWay;
  /** Not counted yet. */
  #passed = 0;
  /** Messages that took a shortcut to a member who got them otherwise. */
  #detours = 0;
  /** Publishers that make backlogs grow are held by it. */
  pressure: BacklogWatch | undefined = undefined;

  constructor(core: Core, long: LongWay) {
    this.#core = core;
    this.#long = long;
  }

  /** See `ChannelEffects.pass`. */
  pass(channel: Channel, topicName: string, bytes: Uint8Array, start: number, end: number, now: number): boolean {
    const core = this.#core;
    const { clientId } = channel;
    // Who is told of rights may end anybody's connection meanwhile.
    if (core.hooks.publish !== undefined || core.hooks.authorized !== undefined) return false;
    if (channel.mountpoint !== '' || topicName.charCodeAt(0) === dollar || this.#long.waits(channel)) return false;
    const way = wayOf(core, channel, topicName);
    let to: Subscription | undefined;
    if (way === undefined) {
      const list = core.subscribers.match(topicName);
      to = list[0];
      if (list.length !== 1 || to === undefined || !takesPass(to, clientId, channel.version, end - start)) return false;
      if (core.ports.routes.match(topicName).length !== 0) return false;
    } else if (!way.isOneGroupHere()) return false;
    const { metrics } = core;
    if (core.access !== openAccess) {
      const may = core.access.mayPublish(channel, topicName, 0, false, now);
      if (may !== true) {
        metrics.received.value++;
        metrics.receivedQos0.value++;
        if (may === false) this.#long.denied(channel, now);
        else this.#long.ask(channel, messageOf(topicName, bytes, start, end, channel.version, clientId));
        return true;
      }
    }
    if (way !== undefined) {
      const { local } = way.group as Group;
      const place = core.shared.placeHere(way.group as Group, clientId, topicName, way);
      to = local?.here[place];
      // Picked is picked: the member gets it in another way, or who helps it out.
      if (to === undefined || hasQueue(to.session) || !takesPass(to, clientId, channel.version, end - start)) {
        this.#deliver(local?.pick('here', place, undefined), messageOf(topicName, bytes, start, end, channel.version, clientId), channel, now);
        return true;
      }
    }
    this.#passed++;
    to?.session.channel?.out.pass?.(bytes, start, end);
    return true;
  }

  // ---- for shortcuts ----

  /** See `ChannelEffects.shortcut`: what `pass` has looked at that does not change is not looked at again. */
  shortcut(channel: Channel, topic: TopicEntry, before: ClientShortcut | undefined, now: number): ClientShortcut | undefined {
    const { topicName } = topic;
    const core = this.#core;
    // Its last message waits until its right is known.
    if (!Shortcut.fits(topic) || channel.mountpoint !== '' || topicName.charCodeAt(0) === dollar || this.#long.waits(channel)) return undefined;
    const right = core.access.standing?.(channel, topicName, now);
    if (right === undefined || Number.isNaN(this.changes)) return undefined;
    const way = wayOf(core, channel, topicName);
    let to: Destination | undefined = way?.group;
    if (way === undefined) {
      const list = core.subscribers.match(topicName);
      if (list.length === 1 && core.ports.routes.match(topicName).length === 0) to = list[0];
    }
    if (to === undefined) return undefined;
    const shortcut = before instanceof Shortcut ? before : new Shortcut(this, channel);
    shortcut.lead(topic, to, way?.place, right);
    return shortcut;
  }

  get changes(): number {
    return changesOf(this.#core) + (this.#core.access.changes ?? Number.NaN);
  }

  get hooked(): boolean {
    return this.#core.hooks.publish !== undefined;
  }

  placeOf(group: Group, publisherId: string, topicName: string, memo: PlaceMemo): number {
    return this.#core.shared.placeHere(group, publisherId, topicName, memo);
  }

  toPicked(group: Group, place: number, topicName: string, bytes: Uint8Array, start: number, end: number, channel: Channel, now: number): void {
    this.#detours++;
    const message = messageOf(topicName, bytes, start, end, channel.version, channel.clientId);
    this.#deliver(group.local?.pick('here', place, undefined), message, channel, now);
  }

  took(n: number, counts: unknown): void {
    this.#passed += n;
    if (counts !== undefined) this.#core.access.counted?.(n + this.#detours, counts);
  }

  /**
   * The end of what was lent: what was passed is counted. Six counters for each message are six places in memory. Returns how
   * many messages came by shortcuts, or were passed on.
   */
  settle(): number {
    const n = this.#passed;
    const all = n + this.#detours;
    this.#detours = 0;
    if (n === 0) return all;
    this.#passed = 0;
    const { metrics } = this.#core;
    metrics.received.value += n;
    metrics.receivedQos0.value += n;
    metrics.published.value += n;
    metrics.delivered.value += n;
    metrics.sent.value += n;
    metrics.sentQos0.value += n;
    return all;
  }

  /** To a member that was picked, whose message must wait, change or be dropped. */
  #deliver(to: Subscription | undefined, message: Message, channel: Channel, now: number): void {
    const { frames, metrics } = this.#core;
    const { pressure } = this;
    const backlogs = pressure?.backlogs;
    metrics.received.value++;
    metrics.receivedQos0.value++;
    this.#long.stamp(message);
    frames.begin(message, now);
    const received = to !== undefined && deliver(to, message, frames);
    frames.end();
    if (received) metrics.delivered.value++;
    else this.#long.unwanted(message);
    if (pressure?.holding === true && pressure.backlogs !== backlogs) pressure.hold(channel, now);
  }
}

/** With memory of its own. */
function messageOf(topicName: string, bytes: Uint8Array, start: number, end: number, version: ProtocolVersion, publisherId: string): Message {
  let at = start + 1;
  while ((bytes[at++] as number) >= 0x80);
  at += 2 + (((bytes[at] as number) << 8) | (bytes[at + 1] as number));
  // Of 5.0: no properties.
  if (version === 5) at++;
  const payload = copyBytes(bytes.subarray(at, end));
  const message = makeMessage(topicName, payload, 0, false, undefined, Number.POSITIVE_INFINITY, publisherId);
  message.kept = true;
  return message;
}

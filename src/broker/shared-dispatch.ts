// Messages for shared subscriptions: of each group that matches, one member of the whole cluster gets
// one. publish.ts asks for every message; sessions.ts hands over what a session that ended has left.
//
// The node is picked here, by the numbers of members that the nodes have (SharedPicker); the member by
// its node (shared-members.ts). A node without that member any more refuses, a node that is lost does
// not answer: then another is picked, each node at most once for members whose client is connected and
// once for members who are away. Those come after all who are connected, and nodes without a link after
// those with one. Invariant: with no fault one member gets one copy, and `done` is called exactly once.
import type { Env } from '#env/env.js';
import type { ProtocolVersion, PublishPacket } from '#mqtt/packet.js';
import { MatchCache } from '#router/match-cache.js';
import { RecentMap } from '#router/recent-map.js';
import { type Candidate, type PlaceMemo, SharedPicker } from '#router/shared-picker.js';
import { deliver } from '#session/deliver.js';
import type { Frames } from '#session/frames.js';
import type { Message } from '#session/message.js';
import { keep } from '#session/message.js';
import type { QueuedMessage } from '#session/queue.js';
import type { Subscription } from '#session/session.js';
import type { LocalSubscribers } from './local-subscribers.js';
import type { BrokerMetrics } from './metrics.js';
import type { BrokerOptions } from './options.js';
import type { BrokerPorts, Keeping, SharedAddress, SharedRoutes, SharedRow } from './ports.js';
import type { LocalGroup, SharedMembers } from './shared-members.js';

/** What it needs of the core, which owns it. */
export interface SharedHost {
  readonly env: Env;
  readonly options: BrokerOptions;
  readonly ports: BrokerPorts;
  readonly metrics: BrokerMetrics;
  readonly frames: Frames;
  readonly subscribers: LocalSubscribers;
  readonly durable: Keeping | undefined;
  now(): number;
}

/** A group with a filter that matches, and where it has members. */
export interface Group {
  /** `$share/GROUP/FILTER`. */
  readonly name: string;
  readonly local: LocalGroup | undefined;
  /** Other nodes in the order of their ids. */
  readonly rows: readonly SharedRow[];
  /** How many of them come before this node in that order, which is the same on all nodes. */
  readonly before: number;
  readonly picker: SharedPicker;
}

/** A pick of another node. */
export interface Elsewhere {
  readonly name: string;
  readonly row: SharedRow;
  readonly to: SharedAddress;
}

/** A message for a group on its way. */
interface Errand {
  readonly message: Message;
  readonly name: string;
  /** No node is picked any more after this. */
  readonly until: number;
  /** Nodes that have refused, by what was asked of them, or are lost. */
  readonly tried: Set<string>;
  /** Some node had a member and no room for it: if nobody else takes the message its publisher has to hear that. */
  refused: boolean;
  /** Its publisher was answered when it came to a session that has ended since. */
  readonly owed: boolean;
  /** `matched`: a member has got it, or will. */
  readonly done: (matched: boolean, kept: boolean) => void;
}

type Presence = SharedAddress['presence'];

/** In this order: members whose client is connected before others, nodes with a link before others. */
const stages: readonly (readonly [presence: Presence, reachable: boolean])[] = [
  ['here', true],
  ['away', true],
  ['here', false],
  ['away', false],
];

/** After the first pick: longer than the forwarder waits for a node that does not answer (5 s). The last one picked has that time too. */
const errandMs = 6500;
const pickersMax = 65_536;
const none: readonly Group[] = [];
/** What is asked of this node: nobody here any more. */
const selfTried: ReadonlySet<string> = new Set(['here', 'away']);

interface Slot {
  nodeId: string;
  weight: number;
}

export class SharedDispatch {
  readonly #core: SharedHost;
  readonly #members: SharedMembers;
  readonly #routes: SharedRoutes | undefined;
  readonly #cache: MatchCache<readonly Group[]>;
  readonly #pickers: RecentMap<SharedPicker> = new RecentMap(pickersMax);
  readonly #here: RecentMap<Group> = new RecentMap(pickersMax);
  /** The candidates of one pick, reused. */
  readonly #slots: Slot[] = [];
  /** When this node is the only one. */
  readonly #alone: readonly [Slot] = [{ nodeId: '', weight: 0 }];
  readonly #repicked: { value: number };
  readonly #redispatched: { value: number };
  readonly #unwanted: { value: number };

  constructor(core: SharedHost) {
    this.#core = core;
    this.#members = core.subscribers.groups;
    this.#routes = core.ports.shared;
    this.#cache = new MatchCache(core.options.matchCacheEntries);
    const { metrics } = core.env;
    this.#repicked = metrics.counter(
      'starmesh_shared_repicked_total',
      'Messages for shared subscriptions whose picked node had no member any more, or was lost',
    );
    this.#redispatched = metrics.counter('starmesh_shared_redispatched_total', 'Messages of ended sessions given to other members of their groups');
    this.#unwanted = metrics.counter('starmesh_shared_dropped_total', 'Messages for shared subscriptions that no member was left for');
    this.#members.onChange = (group, what) => this.#changed(group, what);
    if (this.#routes === undefined) return;
    this.#routes.counts = (name) => {
      const group = this.#members.get(name);
      return { here: group?.here.length ?? 0, away: group?.away.length ?? 0 };
    };
    this.#routes.onChange = (topicFilter) => (topicFilter === undefined ? this.#cache.clear() : this.#cache.changed(topicFilter));
  }

  /** Grows with each change of what `match` answers, unless that is nothing at all. */
  get changes(): number {
    return this.#cache.changes;
  }

  /** The groups that get a copy. Good until the next change. */
  match(topicName: string): readonly Group[] {
    if (this.#members.size === 0 && this.#routes?.empty !== false) return none;
    const cached = this.#cache.get(topicName);
    if (cached !== undefined) return cached;
    const groups = this.#lookUp(topicName);
    this.#cache.set(topicName, groups);
    return groups;
  }

  /** To the members of this node that are picked; how many those were. The other picks are added to `elsewhere`, for `send`. `memo`: of the publisher, where there is one group. */
  deliver(
    message: Message,
    groups: readonly Group[],
    now: number,
    packet: PublishPacket | undefined,
    version: ProtocolVersion | undefined,
    elsewhere: Elsewhere[],
    memo: PlaceMemo | undefined,
  ): number {
    const { frames } = this.#core;
    let received = 0;
    frames.begin(message, now, packet, version);
    for (let i = 0; i < groups.length; i++) {
      const group = groups[i] as Group;
      const to = this.#pick(group, message, undefined, memo);
      if (to === undefined) continue;
      if (typeof to !== 'string') {
        elsewhere.push(to);
        continue;
      }
      const member = group.local?.pick(to, group.picker.hint, group.picker.sticky ? message.publisherId : undefined);
      const other =
        member === undefined || group.rows.length === 0 || this.#takes(member, message) ? undefined : this.#pick(group, message, selfTried);
      if (other !== undefined && typeof other !== 'string') elsewhere.push(other);
      else if (member !== undefined && deliver(member, message, frames)) received++; // with the QoS of its own [MQTT-4.8.2-3]
    }
    frames.end();
    this.#core.metrics.delivered.value += received;
    return received;
  }

  /** The place, among this node's members with their clients, that gets the publisher's message where `Way.isOneGroupHere`. */
  placeHere({ local, picker }: Group, publisherId: string, topicName: string, memo: PlaceMemo): number {
    return picker.pickAlone((local as LocalGroup).here.length, publisherId, topicName, memo);
  }

  /** A message whose pick is on another node. `done`, for QoS 1 and 2, when some member has got it or none is left. */
  send(message: Message, { name, row, to }: Elsewhere, done: (matched: boolean, kept: boolean) => void): void {
    if (message.qos === 0) {
      this.#core.ports.forwarder.forwardTo?.(message, row.target, to);
      return;
    }
    keep(message);
    const errand: Errand = { message, name, until: this.#core.now() + errandMs, tried: new Set(), refused: false, owed: false, done };
    this.#sendTo(errand, row, to);
  }

  /** Another node has picked a member of this one. */
  receive(message: Message, to: SharedAddress, now: number): boolean {
    const group = this.#members.get(to.name);
    const stickTo = to.sticky ? message.publisherId : undefined;
    const member = group?.pick('here', to.place, stickTo) ?? (to.presence === 'away' ? group?.pick('away', to.place, stickTo) : undefined);
    if (member === undefined) return false;
    this.#deliverOne(member, message, now);
    return true;
  }

  /** What a session that ended had got as a member of groups and not passed on: others get it, behind all that happens in this turn. */
  redispatch(items: readonly QueuedMessage[]): void {
    if (items.length > 0) this.#core.env.clock.endOfTurn(() => this.#redispatch(items));
  }

  #redispatch(items: readonly QueuedMessage[]): void {
    const now = this.#core.now();
    for (const { message, group } of items) {
      if (group === undefined || message.expiresAt <= now) continue;
      this.#redispatched.value++;
      this.#again({ message, name: group, until: now + errandMs, tried: new Set(), refused: false, owed: true, done: ignore });
    }
  }

  // ---- matching ----

  #changed(group: LocalGroup, what: 'exists' | 'resized'): void {
    if (what === 'exists') this.#cache.changed(group.topicFilter);
    else this.#routes?.changed(group.name);
  }

  #lookUp(topicName: string): readonly Group[] {
    const locals = this.#members.match(topicName);
    const rows = this.#routes?.match(topicName) ?? [];
    if (locals.length === 0 && rows.length === 0) return none;
    const byName = new Map<string, { local: LocalGroup | undefined; rows: SharedRow[] }>();
    for (const local of locals) byName.set(local.name, { local, rows: [] });
    for (const row of rows) {
      const known = byName.get(row.name);
      if (known === undefined) byName.set(row.name, { local: undefined, rows: [row] });
      else known.rows.push(row);
    }
    const self = this.#routes?.nodeId ?? '';
    const groups: Group[] = [];
    for (const [name, { local, rows: others }] of byName) {
      if (local !== undefined && others.length === 0) {
        groups.push(this.#groupHere(name, local));
        continue;
      }
      others.sort((a, b) => (a.target.nodeId < b.target.nodeId ? -1 : 1));
      groups.push({ name, local, rows: others, before: others.filter((r) => r.target.nodeId < self).length, picker: this.#picker(name) });
    }
    return groups;
  }

  /** A group that no other node knows is the same object for all topic names that it gets. */
  #groupHere(name: string, local: LocalGroup): Group {
    const picker = this.#picker(name);
    const known = this.#here.get(name);
    if (known !== undefined && known.local === local && known.picker === picker) return known;
    const group: Group = { name, local, rows: [], before: 0, picker };
    this.#here.set(name, group);
    return group;
  }

  #picker(name: string): SharedPicker {
    let picker = this.#pickers.get(name);
    if (picker === undefined) {
      const { env, options } = this.#core;
      const strategy = options.sharedStrategies.get(groupOf(name)) ?? options.sharedStrategy;
      picker = new SharedPicker(strategy, (limit) => env.random.int(limit));
      this.#pickers.set(name, picker);
    }
    return picker;
  }

  // ---- picking ----

  /** The presence of the member of this node that is picked (the picker's hint says which), or where else; undefined: nobody. */
  #pick(group: Group, message: Message, tried: ReadonlySet<string> | undefined, memo?: PlaceMemo): Presence | Elsewhere | undefined {
    const { picker, rows, before } = group;
    if (rows.length === 0) return group.local === undefined ? undefined : this.#pickHere(group, group.local, message, memo);
    const stageCount = message.qos > 0 ? stages.length : 2;
    for (let s = 0; s < stageCount; s++) {
      const [presence, reachable] = stages[s] as (typeof stages)[number];
      const at = picker.pick(this.#line(group, presence, reachable, tried), message.publisherId, message.topicName, memo);
      if (at < 0) continue;
      if (at === before) return presence;
      const row = rows[at < before ? at : at - 1] as SharedRow;
      return { name: group.name, row, to: { name: group.name, presence, place: picker.hint, sticky: picker.sticky } };
    }
    return undefined;
  }

  /** No other node has members. */
  #pickHere(group: Group, local: LocalGroup, message: Message, memo: PlaceMemo | undefined): Presence | undefined {
    const here = local.here.length > 0;
    const [slot] = this.#alone;
    slot.weight = here ? local.here.length : local.away.length;
    if (group.picker.pick(this.#alone, message.publisherId, message.topicName, memo) < 0) return undefined;
    return here ? 'here' : 'away';
  }

  #line(group: Group, presence: Presence, reachable: boolean, tried: ReadonlySet<string> | undefined): readonly Candidate[] {
    const { rows, before, local } = group;
    const slots = this.#slots;
    const { forwarder } = this.#core.ports;
    for (let i = 0; i <= rows.length; i++) {
      if (i === slots.length) slots.push({ nodeId: '', weight: 0 });
      const slot = slots[i] as Slot;
      if (i === before) {
        slot.nodeId = '';
        slot.weight = tried?.has(presence) === true ? 0 : (local?.[presence].length ?? 0);
        continue;
      }
      const row = rows[i < before ? i : i - 1] as SharedRow;
      slot.nodeId = row.target.nodeId;
      slot.weight = row[presence];
      if (tried?.has(presence + slot.nodeId) === true || (reachable && forwarder.reachable?.(row.target) === false)) slot.weight = 0;
    }
    // Said each time it would be a call out of compiled code for each message.
    if (slots.length > rows.length + 1) slots.length = rows.length + 1;
    return slots;
  }

  /** Whether its node, this one, keeps the message for the member as it must. */
  #takes(member: Subscription, message: Message): boolean {
    const { durable } = this.#core;
    return durable === undefined || message.qos === 0 || member.qos === 0 || durable.takes(member.session, message);
  }

  // ---- errands ----

  #sendTo(errand: Errand, row: SharedRow, to: SharedAddress): void {
    const { nodeId } = row.target;
    const { forwarder } = this.#core.ports;
    errand.tried.add(to.presence + nodeId);
    if (forwarder.forwardTo === undefined) {
      errand.done(false, true);
      return;
    }
    if (errand.message.qos === 0) {
      forwarder.forwardTo(errand.message, row.target, to);
      errand.done(true, true);
      return;
    }
    forwarder.forwardTo(errand.message, row.target, to, (outcome, matched) => {
      if (matched) {
        errand.done(true, true);
        return;
      }
      if (outcome === 'refused') errand.refused = true;
      if (outcome !== 'accepted') for (const presence of ['here', 'away']) errand.tried.add(presence + nodeId);
      this.#repicked.value++;
      this.#again(errand);
    });
  }

  #again(errand: Errand): void {
    const { message } = errand;
    const now = this.#core.now();
    const group = now > errand.until ? undefined : this.match(message.topicName).find((g) => g.name === errand.name);
    const to = group === undefined ? undefined : this.#pick(group, message, errand.tried);
    if (group === undefined || to === undefined) {
      this.#unwanted.value++;
      errand.done(false, !errand.refused);
      return;
    }
    if (typeof to !== 'string') {
      this.#sendTo(errand, to.row, to.to);
      return;
    }
    const member = group.local?.pick(to, group.picker.hint, group.picker.sticky ? message.publisherId : undefined);
    if (member !== undefined && !errand.owed && !this.#takes(member, message)) {
      errand.refused = true;
      for (const presence of selfTried) errand.tried.add(presence);
      this.#again(errand);
      return;
    }
    const { durable } = this.#core;
    const written = durable?.position;
    if (durable !== undefined) durable.owed = errand.owed;
    if (member !== undefined) this.#deliverOne(member, message, now);
    if (durable !== undefined) durable.owed = false;
    if (durable === undefined || durable.position === written) errand.done(member !== undefined, true);
    else durable.kept(written ?? 0, (ok) => errand.done(ok, ok));
  }

  #deliverOne(member: Subscription, message: Message, now: number): void {
    const { frames, metrics } = this.#core;
    frames.begin(message, now);
    if (deliver(member, message, frames)) metrics.delivered.value++;
    frames.end();
  }
}

/** Of `$share/GROUP/FILTER`. */
function groupOf(name: string): string {
  return name.split('/', 2)[1] ?? '';
}

function ignore(): void {}

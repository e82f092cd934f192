// This node's members of shared subscriptions, by group: who of them gets a message is picked here, once
// shared-dispatch.ts (on this node or another) has picked this node. Kept up by local-subscribers.ts.
//
// A member is `here` while its client is connected, `away` while its session waits for it, `leaving` once
// the session has been handed over to another node. Those here are picked first; those away only when
// nobody is here in the whole cluster; those that leave never: what they got would be lost.
import { parseTopicFilter } from '#mqtt/topic.js';
import { RecentMap } from '#router/recent-map.js';
import { publishersMax } from '#router/shared-picker.js';
import type { Session, Subscription } from '#session/session.js';
import { FilterIndex } from './filter-index.js';

export type Presence = 'here' | 'away' | 'leaving';

/** `$share/GROUP/FILTER`. */
type GroupName = string;

export class LocalGroup {
  readonly name: GroupName;
  readonly topicFilter: string;
  /** Members by presence. */
  readonly here: Subscription[] = [];
  readonly away: Subscription[] = [];
  readonly leaving: Subscription[] = [];
  /** `sticky`: each publisher's member. */
  #sticky: RecentMap<Subscription> | undefined;

  constructor(name: GroupName, topicFilter: string) {
    this.name = name;
    this.topicFilter = topicFilter;
  }

  get size(): number {
    return this.here.length + this.away.length + this.leaving.length;
  }

  /** `place`: among the members of that presence; `stickTo`: the publisher whose member stays the same while it can. */
  pick(presence: 'here' | 'away', place: number, stickTo: string | undefined): Subscription | undefined {
    const members = presence === 'here' ? this.here : this.away;
    if (members.length === 0) return undefined;
    if (stickTo === undefined) return withRoom(members, place);
    this.#sticky ??= new RecentMap(publishersMax);
    const known = this.#sticky.get(stickTo);
    // While it has no room another one helps out.
    if (known !== undefined && members[known.index] === known) return isFull(known.session) ? withRoom(members, place) : known;
    const picked = withRoom(members, place);
    this.#sticky.set(stickTo, picked);
    return picked;
  }

  listOf(subscription: Subscription): Subscription[] | undefined {
    const { index } = subscription;
    for (const list of [this.here, this.away, this.leaving]) if (list[index] === subscription) return list;
    return undefined;
  }
}

/** How many members behind the one that was picked are asked whether they have room. */
const helpersMax = 64;

/** The member at that place, or the next one with room in its queue; when all are full the first, whose queue drops. */
function withRoom(members: readonly Subscription[], place: number): Subscription {
  const n = members.length;
  const picked = members[place % n] as Subscription;
  if (!isFull(picked.session)) return picked;
  for (let i = 1; i < Math.min(n, helpersMax); i++) {
    const other = members[(place + i) % n] as Subscription;
    if (!isFull(other.session)) return other;
  }
  return picked;
}

function isFull({ queue, home, channel }: Session): boolean {
  if (queue === undefined) return channel !== undefined && !channel.out.writable;
  return queue.length >= home.limits.maxQueuedMessages || queue.bytes >= home.limits.maxQueuedBytes;
}

export class SharedMembers {
  readonly #groups = new Map<GroupName, LocalGroup>();
  readonly #index: FilterIndex<LocalGroup[]>;
  /** A group came or went; `resized`: it has more or fewer members of a presence. */
  onChange: (group: LocalGroup, what: 'exists' | 'resized') => void = () => {};
  /** Subscriptions. */
  count = 0;

  constructor(shapesMax: number) {
    this.#index = new FilterIndex(shapesMax);
  }

  /** Groups. */
  get size(): number {
    return this.#groups.size;
  }

  names(): IterableIterator<string> {
    return this.#groups.keys();
  }

  get(name: GroupName): LocalGroup | undefined {
    return this.#groups.get(name);
  }

  /** True when it is the group's first member here. */
  add(subscription: Subscription, name: GroupName): boolean {
    let group = this.#groups.get(name);
    const first = group === undefined;
    if (group === undefined) {
      group = new LocalGroup(name, parseTopicFilter(name, Number.POSITIVE_INFINITY)?.topicFilter ?? name);
      this.#groups.set(name, group);
      const others = this.#index.get(group.topicFilter);
      if (others === undefined) this.#index.add(group.topicFilter, [group]);
      else others.push(group);
    }
    push(subscription.session.channel === undefined ? group.away : group.here, subscription);
    this.count++;
    this.onChange(group, first ? 'exists' : 'resized');
    return first;
  }

  /** True when it was the group's last member here. */
  remove(subscription: Subscription, name: GroupName): boolean {
    const group = this.#groups.get(name);
    const list = group?.listOf(subscription);
    if (group === undefined || list === undefined) return false;
    takeOut(list, subscription);
    this.count--;
    const last = group.size === 0;
    if (last) this.#forget(group);
    this.onChange(group, last ? 'exists' : 'resized');
    return last;
  }

  presence(subscription: Subscription, presence: Presence): void {
    const group = this.#groups.get(subscription.group ?? '');
    const list = group?.listOf(subscription);
    if (group === undefined || list === undefined || list === group[presence]) return;
    takeOut(list, subscription);
    push(group[presence], subscription);
    this.onChange(group, 'resized');
  }

  match(topicName: string): LocalGroup[] {
    return this.#groups.size === 0 ? [] : this.#index.match(topicName).flat();
  }

  #forget(group: LocalGroup): void {
    this.#groups.delete(group.name);
    const others = this.#index.get(group.topicFilter);
    if (others === undefined) return;
    others.splice(others.indexOf(group), 1);
    if (others.length === 0) this.#index.delete(group.topicFilter);
  }
}

function push(list: Subscription[], subscription: Subscription): void {
  subscription.index = list.length;
  list.push(subscription);
}

function takeOut(list: Subscription[], subscription: Subscription): void {
  const last = list.pop() as Subscription;
  if (last !== subscription) {
    list[subscription.index] = last;
    last.index = subscription.index;
  }
  subscription.index = -1;
}

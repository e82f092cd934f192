// This node's own subscribers, by topic filter: who gets a message of a topic name here. Called for
// every message (`match`) and every change of a subscription. Members of shared groups are kept apart
// (`groups`). Results are cached per topic name and dropped when a filter that may match it changes.
import { MatchCache } from '#router/match-cache.js';
import type { Session, Subscription } from '#session/session.js';
import { mergeSubscriptions } from '#session/subscription.js';
import { FilterIndex } from './filter-index.js';
import { SharedMembers } from './shared-members.js';

/** The subscribers of one filter. */
export interface FilterEntry {
  readonly topicFilter: string;
  readonly subscribers: Subscription[];
}

const nobody: readonly Subscription[] = [];

export class LocalSubscribers {
  readonly #index: FilterIndex<FilterEntry>;
  readonly #cache: MatchCache<readonly Subscription[]>;
  /** Of shared subscriptions. */
  readonly groups: SharedMembers;
  #count = 0;

  constructor(cacheEntriesMax: number = 16_384, shapesMax: number = 64) {
    this.#cache = new MatchCache(cacheEntriesMax);
    this.#index = new FilterIndex(shapesMax);
    this.groups = new SharedMembers(shapesMax);
  }

  /** Subscriptions. */
  get count(): number {
    return this.#count + this.groups.count;
  }

  get filterCount(): number {
    return this.#index.size + this.groups.size;
  }

  /** True when it is the filter's first subscriber, or the first member of its group. */
  add(subscription: Subscription): boolean {
    if (subscription.group !== undefined) return this.groups.add(subscription, subscription.group);
    const { topicFilter } = subscription;
    const entry = this.#index.get(topicFilter);
    const first = entry === undefined;
    if (entry === undefined) {
      // Most filters have one subscriber: a list of one has room for one.
      this.#index.add(topicFilter, { topicFilter, subscribers: [subscription] });
      subscription.index = 0;
    } else {
      subscription.index = entry.subscribers.length;
      entry.subscribers.push(subscription);
    }
    this.#count++;
    this.#cache.changed(topicFilter);
    return first;
  }

  /** True when it was the filter's last subscriber, or the last member of its group. */
  remove(subscription: Subscription): boolean {
    if (subscription.group !== undefined) return this.groups.remove(subscription, subscription.group);
    const { topicFilter, index } = subscription;
    const entry = this.#index.get(topicFilter);
    if (entry === undefined || entry.subscribers[index] !== subscription) return false;
    const last = entry.subscribers.pop() as Subscription;
    if (last !== subscription) {
      entry.subscribers[index] = last;
      last.index = index;
    }
    subscription.index = -1;
    this.#count--;
    this.#cache.changed(topicFilter);
    if (entry.subscribers.length > 0) return false;
    this.#index.delete(topicFilter);
    return true;
  }

  /** Options of a subscription changed in place. */
  changed(subscription: Subscription): void {
    if (subscription.group === undefined) this.#cache.changed(subscription.topicFilter);
  }

  /** Its client has come, or gone, or the session is on its way to another node. */
  presence(session: Session, presence: 'here' | 'away' | 'leaving'): void {
    if (this.groups.count === 0) return;
    for (const subscription of session.subscriptions.values()) if (subscription.group !== undefined) this.groups.presence(subscription, presence);
  }

  /** What this node's routes should be. */
  *filters(): IterableIterator<string> {
    yield* this.#index.filters();
    yield* this.groups.names();
  }

  /** Grows with each change of what `match` answers. */
  get changes(): number {
    return this.#cache.changes;
  }

  /** Each session with a matching subscription once. Not to be changed, and good until the next change. */
  match(topicName: string): readonly Subscription[] {
    const cached = this.#cache.get(topicName);
    if (cached !== undefined) return cached;
    const result = combine(this.#index.match(topicName));
    this.#cache.set(topicName, result);
    return result;
  }
}

/** One list with each session once. A single filter's own list is used as it is. */
function combine(found: readonly FilterEntry[]): readonly Subscription[] {
  if (found.length === 0) return nobody;
  if (found.length === 1) return (found[0] as FilterEntry).subscribers;
  const bySession = new Map<Subscription['session'], Subscription[]>();
  for (const entry of found) {
    for (const subscription of entry.subscribers) {
      const own = bySession.get(subscription.session);
      if (own === undefined) bySession.set(subscription.session, [subscription]);
      else own.push(subscription);
    }
  }
  const out: Subscription[] = [];
  for (const own of bySession.values()) out.push(own.length === 1 ? (own[0] as Subscription) : mergeSubscriptions(own));
  return out;
}

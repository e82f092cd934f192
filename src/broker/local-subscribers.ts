// This node's own subscribers, by topic filter: who gets a message of a topic name here. Called for
// every message (`match`) and every change of a subscription.
//
// All filters, wildcards included, are keys of one Map; which *shapes* of wildcard filters exist (per
// level: literal, `+` or `#`) is counted, and a topic name is looked up once per shape. Fleets use a
// handful of shapes, so a filter costs one Map entry and no tree. Shapes beyond `shapesMax` go to a
// tree (hostile or odd clients), so that matching stays bounded. Results are cached per topic name and
// dropped when a filter that may match it changes.
import { hasWildcard } from '#mqtt/topic.js';
import { MatchCache } from '#router/match-cache.js';
import type { Subscription } from '#session/session.js';
import { mergeSubscriptions } from '#session/subscription.js';
import { FilterTree } from './filter-tree.js';

/** The subscribers of one filter. */
export interface FilterEntry {
  readonly topicFilter: string;
  readonly subscribers: Subscription[];
}

interface Shape {
  /** One letter per level: `L`, `+`, `#`. */
  readonly pattern: string;
  readonly multiLevel: boolean;
  /** Levels before a `#`, or all of them. */
  readonly levels: number;
  /** Filters of this shape. */
  count: number;
}

const nobody: readonly Subscription[] = [];

export class LocalSubscribers {
  readonly #byFilter = new Map<string, FilterEntry>();
  readonly #shapes = new Map<string, Shape>();
  readonly #shapesMax: number;
  /** The shapes as a list, for matching. */
  #shapeList: Shape[] = [];
  readonly #rest = new FilterTree<FilterEntry>();
  readonly #cache: MatchCache<readonly Subscription[]>;
  /** Subscriptions. */
  count = 0;

  constructor(cacheEntriesMax: number = 16_384, shapesMax: number = 64) {
    this.#cache = new MatchCache(cacheEntriesMax);
    this.#shapesMax = shapesMax;
  }

  get filterCount(): number {
    return this.#byFilter.size;
  }

  /** True when it is the filter's first subscriber. */
  add(subscription: Subscription): boolean {
    const { topicFilter } = subscription;
    let entry = this.#byFilter.get(topicFilter);
    const first = entry === undefined;
    if (entry === undefined) {
      entry = { topicFilter, subscribers: [] };
      this.#byFilter.set(topicFilter, entry);
      if (hasWildcard(topicFilter)) this.#addShape(entry);
    }
    subscription.index = entry.subscribers.length;
    entry.subscribers.push(subscription);
    this.count++;
    this.#cache.changed(topicFilter);
    return first;
  }

  /** True when it was the filter's last subscriber. */
  remove(subscription: Subscription): boolean {
    const { topicFilter, index } = subscription;
    const entry = this.#byFilter.get(topicFilter);
    if (entry === undefined || entry.subscribers[index] !== subscription) return false;
    const last = entry.subscribers.pop() as Subscription;
    if (last !== subscription) {
      entry.subscribers[index] = last;
      last.index = index;
    }
    subscription.index = -1;
    this.count--;
    this.#cache.changed(topicFilter);
    if (entry.subscribers.length > 0) return false;
    this.#byFilter.delete(topicFilter);
    if (hasWildcard(topicFilter)) this.#removeShape(topicFilter);
    return true;
  }

  /** Options of a subscription changed in place. */
  changed(subscription: Subscription): void {
    this.#cache.changed(subscription.topicFilter);
  }

  has(topicFilter: string): boolean {
    return this.#byFilter.has(topicFilter);
  }

  filters(): IterableIterator<string> {
    return this.#byFilter.keys();
  }

  /** Each session with a matching subscription once. Not to be changed, and good until the next change. */
  match(topicName: string): readonly Subscription[] {
    const cached = this.#cache.get(topicName);
    if (cached !== undefined) return cached;
    const found: FilterEntry[] = [];
    const exact = this.#byFilter.get(topicName);
    if (exact !== undefined) found.push(exact);
    if (this.#shapeList.length > 0 || !this.#rest.empty) this.#matchWildcards(topicName, found);
    const result = combine(found);
    this.#cache.set(topicName, result);
    return result;
  }

  #matchWildcards(topicName: string, found: FilterEntry[]): void {
    const levels = topicName.split('/');
    const system = topicName.charCodeAt(0) === dollar;
    for (const shape of this.#shapeList) {
      if (shape.multiLevel ? levels.length < shape.levels : levels.length !== shape.levels) continue;
      if (system && shape.pattern.charCodeAt(0) !== literal) continue; // [MQTT-4.7.2-1]
      const entry = this.#byFilter.get(candidate(shape.pattern, levels));
      if (entry !== undefined) found.push(entry);
    }
    if (!this.#rest.empty) this.#rest.match(levels, system, (entry) => found.push(entry));
  }

  #addShape(entry: FilterEntry): void {
    const pattern = patternOf(entry.topicFilter);
    // A level like `+x` is no wildcard: the filter matches as it stands, and `match` looks that up anyway.
    if (!pattern.includes('+') && !pattern.endsWith('#')) return;
    const shape = this.#shapes.get(pattern);
    if (shape !== undefined) {
      shape.count++;
      return;
    }
    if (this.#shapes.size >= this.#shapesMax) {
      this.#rest.set(entry.topicFilter, entry);
      return;
    }
    const multiLevel = pattern.endsWith('#');
    this.#shapes.set(pattern, { pattern, multiLevel, levels: multiLevel ? pattern.length - 1 : pattern.length, count: 1 });
    this.#shapeList = [...this.#shapes.values()];
  }

  #removeShape(topicFilter: string): void {
    // It went to the tree if its shape was one too many then, whatever it is now.
    if (this.#rest.delete(topicFilter)) return;
    const pattern = patternOf(topicFilter);
    const shape = this.#shapes.get(pattern);
    if (shape === undefined || --shape.count > 0) return;
    this.#shapes.delete(pattern);
    this.#shapeList = [...this.#shapes.values()];
  }
}

const dollar = 0x24;
const literal = 0x4c;

function patternOf(topicFilter: string): string {
  let pattern = '';
  for (const level of topicFilter.split('/')) pattern += level === '+' || level === '#' ? level : 'L';
  return pattern;
}

/** The filter of this shape that matches the topic name. */
function candidate(pattern: string, levels: readonly string[]): string {
  let filter = '';
  for (let i = 0; i < pattern.length; i++) {
    if (i > 0) filter += '/';
    filter += pattern.charCodeAt(i) === literal ? (levels[i] as string) : (pattern[i] as string);
  }
  return filter;
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

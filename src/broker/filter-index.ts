// Values by topic filter, matched by topic name: the index under this node's subscribers and shared groups.
//
// All filters, wildcards included, are keys of one Map; which *shapes* of wildcard filters exist (per
// level: literal, `+` or `#`) is counted, and a topic name is looked up once per shape. Fleets use a
// handful of shapes, so a filter costs one Map entry and no tree. Shapes beyond `shapesMax` go to a
// tree (hostile or odd clients), so that matching stays bounded.
import { hasWildcard } from '#mqtt/topic.js';
import { FilterTree } from './filter-tree.js';

interface Shape {
  /** One letter per level: `L`, `+`, `#`. */
  readonly pattern: string;
  readonly multiLevel: boolean;
  /** Levels before a `#`, or all of them. */
  readonly levels: number;
  /** Filters of this shape. */
  count: number;
}

export class FilterIndex<T> {
  readonly #byFilter = new Map<string, T>();
  readonly #shapes = new Map<string, Shape>();
  readonly #shapesMax: number;
  /** The shapes as a list, for matching. */
  #shapeList: Shape[] = [];
  readonly #rest = new FilterTree<T>();

  constructor(shapesMax: number) {
    this.#shapesMax = shapesMax;
  }

  get size(): number {
    return this.#byFilter.size;
  }

  get(topicFilter: string): T | undefined {
    return this.#byFilter.get(topicFilter);
  }

  filters(): IterableIterator<string> {
    return this.#byFilter.keys();
  }

  /** The filter must not be there yet. */
  add(topicFilter: string, value: T): void {
    this.#byFilter.set(topicFilter, value);
    if (hasWildcard(topicFilter)) this.#addShape(topicFilter, value);
  }

  delete(topicFilter: string): void {
    if (this.#byFilter.delete(topicFilter) && hasWildcard(topicFilter)) this.#removeShape(topicFilter);
  }

  match(topicName: string): T[] {
    const found: T[] = [];
    const exact = this.#byFilter.get(topicName);
    if (exact !== undefined) found.push(exact);
    if (this.#shapeList.length > 0 || !this.#rest.empty) this.#matchWildcards(topicName, found);
    return found;
  }

  #matchWildcards(topicName: string, found: T[]): void {
    const levels = topicName.split('/');
    const system = topicName.charCodeAt(0) === dollar;
    for (const shape of this.#shapeList) {
      if (shape.multiLevel ? levels.length < shape.levels : levels.length !== shape.levels) continue;
      if (system && shape.pattern.charCodeAt(0) !== literal) continue; // [MQTT-4.7.2-1]
      const value = this.#byFilter.get(candidate(shape.pattern, levels));
      if (value !== undefined) found.push(value);
    }
    if (!this.#rest.empty) this.#rest.match(levels, system, (value) => found.push(value));
  }

  #addShape(topicFilter: string, value: T): void {
    const pattern = patternOf(topicFilter);
    // A level like `+x` is no wildcard: the filter matches as it stands, and `match` looks that up anyway.
    if (!pattern.includes('+') && !pattern.endsWith('#')) return;
    const shape = this.#shapes.get(pattern);
    if (shape !== undefined) {
      shape.count++;
      return;
    }
    if (this.#shapes.size >= this.#shapesMax) {
      this.#rest.set(topicFilter, value);
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

// Finds the rows of the route table whose filter matches a topic name, through lookups only: the
// table may have tens of millions of rows and lives on disk. Two ways, same result:
//  - by shape: one exact lookup per shape that exists (route-shapes.ts) — the normal case;
//  - skip-scan: down the levels of the topic name, at each level `#`, `+` and the literal, one seek
//    each — while the shapes are not known, or when there are too many of them.
// The skip-scan is bounded by `seeksMax`; beyond it `match` says so, and the caller takes every node
// that has routes (a node without a receiver drops the message), which is never wrong, only wasteful.
import { endOfLevels, levelEscape, levelSeparator, levelsLength, nodeIdLength, writeLevels } from './route-key.js';
import type { RouteShapes } from './route-shapes.js';

/** The ordered table as the matcher sees it. Keys are views valid during the call. */
export interface RouteRows {
  /** Visits the keys that begin with `prefix`, in order, until `visit` returns false. */
  prefix(prefix: Uint8Array, visit: (key: Uint8Array) => boolean): void;
  /** Whether there is a row of exactly this key; much less work than `prefix`. Absent: keys hold more than filter and node. */
  has?(key: Uint8Array): boolean;
  /** First key at or after `key`. */
  seek(key: Uint8Array): Uint8Array | undefined;
}

/** With more nodes than this behind a shape one range is less work than a lookup for each. */
const lookupsMax = 4;

const plus = 0x2b;
const hash = 0x23;
const dollar = 0x24;

export class RouteMatcher {
  readonly #rows: RouteRows;
  readonly #shapes: RouteShapes;
  readonly #seeksMax: number;
  // The topic name's levels, encoded once per match; level i is topic[starts[i], starts[i + 1] - 1).
  #topic: Uint8Array = new Uint8Array(256);
  readonly #starts: number[] = [];
  #levels = 0;
  #prefix: Uint8Array = new Uint8Array(256);
  #seeks = 0;
  #stopped = false;
  readonly #self: string;
  #visit: (key: Uint8Array) => boolean = () => true;

  /** `self`: the node (its 16 bytes as a string) whose rows nobody asks for; empty: all are. */
  constructor(rows: RouteRows, shapes: RouteShapes, seeksMax: number = 10_000, self: string = '') {
    this.#self = self;
    this.#rows = rows;
    this.#shapes = shapes;
    this.#seeksMax = seeksMax;
  }

  /**
   * Calls `visit` with each matching key (a node may come more than once) until it returns false.
   * Returns false when it gave up at its bound: then every node with routes must be assumed to match.
   */
  match(topicName: string, visit: (key: Uint8Array) => boolean): boolean {
    this.#load(topicName);
    this.#seeks = 0;
    this.#stopped = false;
    this.#visit = (key) => {
      if (visit(key)) return true;
      this.#stopped = true;
      return false;
    };
    if (this.#shapes.complete && !this.#shapes.overflowing) this.#matchByShape();
    else this.#descend(0, 0);
    return this.#stopped || this.#seeks <= this.#seekBound();
  }

  #seekBound(): number {
    // Before the first count the nodes are not known either, so that giving up would lose routes.
    return this.#shapes.complete ? this.#seeksMax : Number.POSITIVE_INFINITY;
  }

  #load(topicName: string): void {
    const n = levelsLength(topicName);
    if (this.#topic.length < n + 1) this.#topic = new Uint8Array(2 * n);
    // Every literal level of a prefix comes from the topic name; `+` and `#` add at most two bytes a level.
    if (this.#prefix.length < 3 * n + 8 + nodeIdLength) this.#prefix = new Uint8Array(6 * n + 8 + nodeIdLength);
    writeLevels(topicName, this.#topic, 0, n);
    const topic = this.#topic;
    topic[n] = endOfLevels;
    this.#starts.length = 0;
    this.#starts.push(0);
    for (let i = 0; i < n; i++) {
      if (topic[i] === levelEscape) i++;
      else if (topic[i] === levelSeparator) this.#starts.push(i + 1);
    }
    this.#levels = this.#starts.length;
    this.#starts.push(n + 1);
  }

  #matchByShape(): void {
    const system = this.#topic[0] === dollar;
    for (const shape of this.#shapes.list()) {
      if (shape.multiLevel ? this.#levels < shape.levels : this.#levels !== shape.levels) continue;
      // Wildcards at the first level do not match names that begin with $ [MQTT-4.7.2-1].
      if (system && shape.pattern.charCodeAt(0) !== 0x4c) continue;
      let at = 0;
      for (let i = 0; i < shape.pattern.length; i++) {
        if (i > 0) this.#prefix[at++] = levelSeparator;
        const letter = shape.pattern.charCodeAt(i);
        if (letter === 0x4c) at = this.#writeLevel(i, at);
        else this.#prefix[at++] = letter;
      }
      if (this.#rows.has === undefined || shape.nodes.size > lookupsMax) this.#visitRows(at);
      else this.#lookUp(this.#rows, shape.nodes, at);
      if (this.#stopped) return;
    }
  }

  /** The rows of these nodes for the filter in prefix[0, at), each by its own key. */
  #lookUp(rows: RouteRows, nodes: ReadonlyMap<string, number>, at: number): void {
    this.#seeks++;
    this.#prefix[at] = endOfLevels;
    const end = at + 1 + nodeIdLength;
    for (const node of nodes.keys()) {
      if (node === this.#self) continue;
      for (let i = 0; i < nodeIdLength; i++) this.#prefix[at + 1 + i] = node.charCodeAt(i);
      const key = this.#prefix.subarray(0, end);
      if (rows.has?.(key) === true && !this.#visit(key)) return;
    }
  }

  #writeLevel(level: number, at: number): number {
    const end = (this.#starts[level + 1] as number) - 1;
    for (let i = this.#starts[level] as number; i < end; i++) this.#prefix[at++] = this.#topic[i] as number;
    return at;
  }

  /** The rows of the filter that is written in prefix[0, at). */
  #visitRows(at: number): void {
    this.#seeks++;
    this.#prefix[at] = endOfLevels;
    this.#rows.prefix(this.#prefix.subarray(0, at + 1), this.#visit);
  }

  /** `level` levels of the topic name are matched by the levels in prefix[0, at). */
  #descend(level: number, at: number): void {
    const next = level === 0 ? 0 : at + 1;
    const wildcards = level > 0 || this.#topic[0] !== dollar;
    if (level === this.#levels) this.#visitRows(at);
    if (level > 0) this.#prefix[at] = levelSeparator;
    if (wildcards && !this.#over()) {
      this.#prefix[next] = hash;
      this.#visitRows(next + 1);
    }
    if (level === this.#levels) return;
    if (wildcards) {
      this.#prefix[next] = plus;
      this.#descendInto(level + 1, next + 1);
    }
    if (this.#over()) return;
    // The branch above wrote behind `next` only.
    this.#descendInto(level + 1, this.#writeLevel(level, next));
  }

  #descendInto(level: number, at: number): void {
    if (this.#over()) return;
    this.#seeks++;
    const found = this.#rows.seek(this.#prefix.subarray(0, at));
    if (found === undefined || found.length <= at + nodeIdLength) return;
    for (let i = at - 1; i >= 0; i--) if (found[i] !== this.#prefix[i]) return;
    const after = found[at];
    if (after === endOfLevels || after === levelSeparator) this.#descend(level, at);
  }

  #over(): boolean {
    return this.#stopped || this.#seeks > this.#seekBound();
  }
}

// Which shapes of topic filters exist: a shape says of each level whether it is literal (`L`), `+` or
// `#`. Real fleets use a handful, so a topic name is matched by one exact lookup per shape
// (route-match.ts). The counts come from the change feed and from scans of the table (route-sync.ts).
//
// Invariant: a shape with a row in the table is always listed once `complete` is true. The feed may
// repeat a put, so counts may err; therefore a shape is only dropped by a recount that saw no row of
// it, never by subtraction. Beyond `shapesMax` shapes everything is `overflowing`, and the matcher
// skip-scans instead.
import { byteString } from '#base/bytes.js';
import { endOfLevels, levelEscape, levelSeparator, nodeIdLength } from './route-key.js';

export interface Shape {
  /** One letter per level: `L`, `+`, `#`. */
  readonly pattern: string;
  /** Levels before a `#`, or all of them. */
  readonly levels: number;
  readonly multiLevel: boolean;
  /** Every node that has rows of it (its 16 bytes as a string), and maybe some that had; how many, about. */
  readonly nodes: ReadonlyMap<string, number>;
}

const plus = 0x2b;
const hash = 0x23;

/** Shape of a route's key, its end mark at `end`. */
export function shapePattern(key: Uint8Array, end: number = routeKeyEnd(key)): string {
  let pattern = '';
  let start = 0;
  for (let i = 0; i <= end; i++) {
    const c = i === end ? endOfLevels : (key[i] as number);
    if (c === levelEscape) i++;
    else if (c === levelSeparator || i === end) {
      const first = i - start === 1 ? key[start] : undefined;
      pattern += first === plus ? '+' : first === hash ? '#' : 'L';
      start = i + 1;
    }
  }
  return pattern;
}

/** Where a key's end mark is. */
export type KeyEnd = (key: Uint8Array) => number;

const routeKeyEnd: KeyEnd = (key) => key.length - nodeIdLength - 1;

class ShapeCount {
  readonly shape: Shape;
  /** Rows per node (its 16 bytes as a string). */
  readonly perNode: Map<string, number> = new Map();
  total = 0;

  constructor(pattern: string) {
    const multiLevel = pattern.endsWith('#');
    this.shape = { pattern, multiLevel, levels: multiLevel ? pattern.length - 1 : pattern.length, nodes: this.perNode };
  }

  add(node: string, n: number): void {
    this.total += n;
    this.perNode.set(node, (this.perNode.get(node) ?? 0) + n);
  }
}

class Counts {
  readonly byPattern: Map<string, ShapeCount> = new Map();
  /** Rows of shapes beyond the bound. */
  readonly rest: ShapeCount = new ShapeCount('');
  readonly nodes: Map<string, number> = new Map();
  total = 0;
  readonly #shapesMax: number;
  readonly #endOf: KeyEnd;

  constructor(shapesMax: number, endOf: KeyEnd) {
    this.#shapesMax = shapesMax;
    this.#endOf = endOf;
  }

  add(key: Uint8Array): void {
    const pattern = shapePattern(key, this.#endOf(key));
    let count = this.byPattern.get(pattern);
    if (count === undefined) {
      if (this.byPattern.size >= this.#shapesMax) count = this.rest;
      else {
        count = new ShapeCount(pattern);
        this.byPattern.set(pattern, count);
      }
    }
    this.#count(count, nodeOf(key), 1);
  }

  /** False when the counts have become doubtful. */
  remove(key: Uint8Array): boolean {
    const count = this.byPattern.get(shapePattern(key, this.#endOf(key))) ?? this.rest;
    this.#count(count, nodeOf(key), -1);
    return count.total > 0;
  }

  purge(node: string): boolean {
    let sure = true;
    for (const count of [...this.byPattern.values(), this.rest]) {
      const n = count.perNode.get(node);
      if (n === undefined) continue;
      count.perNode.delete(node);
      count.total -= n;
      this.total -= n;
      if (count.total <= 0) sure = false;
    }
    this.nodes.delete(node);
    return sure;
  }

  #count(count: ShapeCount, node: string, n: number): void {
    count.add(node, n);
    this.total += n;
    this.nodes.set(node, (this.nodes.get(node) ?? 0) + n);
  }
}

function nodeOf(key: Uint8Array): string {
  return byteString(key.subarray(key.length - nodeIdLength));
}

export class RouteShapes {
  readonly #shapesMax: number;
  readonly #endOf: KeyEnd;
  #counts: Counts;
  #recount: Counts | undefined;
  #list: readonly Shape[] | undefined;
  #complete = false;
  #doubtful = false;

  /** `endOf`: for keys that have more than a node behind the end mark. */
  constructor(shapesMax: number = 64, endOf: KeyEnd = routeKeyEnd) {
    this.#shapesMax = shapesMax;
    this.#endOf = endOf;
    this.#counts = new Counts(shapesMax, endOf);
  }

  /** False until the first count after a reset has finished: the list may miss shapes. */
  get complete(): boolean {
    return this.#complete;
  }

  /** More shapes exist than are kept. */
  get overflowing(): boolean {
    return this.#counts.rest.perNode.size > 0;
  }

  /** A recount would tell whether a shape is gone. */
  get doubtful(): boolean {
    return this.#doubtful;
  }

  /** A put may have been one of a row that was there. */
  doubt(): void {
    this.#doubtful = true;
  }

  get counting(): boolean {
    return this.#recount !== undefined;
  }

  /** Rows, own ones included; exact after a recount, otherwise nearly so. */
  get total(): number {
    return Math.max(0, this.#counts.total);
  }

  list(): readonly Shape[] {
    this.#list ??= [...this.#counts.byPattern.values()].map((c) => c.shape);
    return this.#list;
  }

  /** Nodes that have routes, each as a string of its 16 bytes; a node whose last route went may still be named. */
  nodes(): Iterable<string> {
    return this.#counts.nodes.keys();
  }

  get nodeCount(): number {
    return this.#counts.nodes.size;
  }

  put(key: Uint8Array): void {
    const shapes = this.#counts.byPattern.size;
    this.#counts.add(key);
    if (this.#counts.byPattern.size !== shapes) this.#list = undefined;
    this.#recount?.add(key);
  }

  /** During a count the row may have been gone before the scan passed, so that nothing is taken off the new counts. */
  remove(key: Uint8Array): void {
    if (!this.#counts.remove(key)) this.#doubtful = true;
  }

  /** All rows of the node (16 bytes as a string) are gone. */
  purge(node: string): void {
    if (!this.#counts.purge(node)) this.#doubtful = true;
    this.#recount?.purge(node);
  }

  /** The table was replaced: nothing known before holds. A count must follow. */
  reset(): void {
    this.#complete = false;
    this.#counts = new Counts(this.#shapesMax, this.#endOf);
    this.#list = undefined;
    this.beginCount();
  }

  beginCount(): void {
    this.#recount = new Counts(this.#shapesMax, this.#endOf);
    this.#doubtful = false;
  }

  /** One row that the count's scan saw. */
  counted(key: Uint8Array): void {
    this.#recount?.add(key);
  }

  /** The scan has seen every row: its counts replace the old ones. */
  finishCount(): void {
    if (this.#recount === undefined) return;
    this.#counts = this.#recount;
    this.#recount = undefined;
    this.#list = undefined;
    this.#complete = true;
  }
}

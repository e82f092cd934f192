// Decides whether a history is linearizable: whether there is one order of its operations that the
// sequential object allows, with every operation somewhere between its call and its return. The
// search of Wing and Gong, one operation after the other just in time for the next return (Lowe), with
// what was reached once never searched again (the set of operations and the state). Operations that
// never returned may take effect anywhere after their call, or nowhere.
//
// Deterministic. Bounded: after `visitsMax` steps of the model, when the memory of where it was is full,
// or when `expired` says so, the answer is 'unknown', which is no verdict.
import type { Model, Operation } from './model.js';

export interface CheckOptions {
  /** Steps of the model, over all parts of the history. Default 1,000,000. */
  readonly visitsMax?: number;
  /** Asked now and then: true ends the search. For a bound on time, which is the caller's to measure. */
  readonly expired?: () => boolean;
}

export const visitsMaxDefault = 1_000_000;
const visitsPerLook = 1_024;
/** Bits of the sets that are remembered, in words of 32: 128 MiB. */
const rememberedWordsMax = 32 * 1024 * 1024;

/** The longest order that was found, for an explanation. */
export interface LongestOrder<S, I, O> {
  /** In this order. */
  readonly linearized: readonly Operation<I, O>[];
  /** After them. */
  readonly state: S;
  /** Operations that may come next by their times, and which of them the model refuses in `state`. */
  readonly candidates: readonly { readonly operation: Operation<I, O>; readonly refused: boolean }[];
  /** Operations of the part that returned. */
  readonly returned: number;
}

export type Verdict = 'ok' | 'illegal' | 'unknown';

export interface CheckResult<S, I, O> {
  readonly verdict: Verdict;
  readonly visits: number;
  /** Of the first part that is not 'ok'. */
  readonly longest: LongestOrder<S, I, O> | undefined;
  /** Name of that part. */
  readonly part: string;
}

/** Parts of a history that do not influence each other: a history is linearizable if each object's is. */
export function partition<I, O>(operations: Iterable<Operation<I, O>>, keyOf: (input: I) => string): Map<string, Operation<I, O>[]> {
  const parts = new Map<string, Operation<I, O>[]>();
  for (const o of operations) {
    const key = keyOf(o.input);
    const part = parts.get(key);
    if (part === undefined) parts.set(key, [o]);
    else part.push(o);
  }
  return parts;
}

/** Checks part by part; 'illegal' if one is, else 'unknown' if one is. The bounds are for all together. */
export function checkParts<S, I, O>(
  model: Model<S, I, O>,
  parts: ReadonlyMap<string, readonly Operation<I, O>[]>,
  options: CheckOptions = {},
): CheckResult<S, I, O> {
  let visits = 0;
  let open: CheckResult<S, I, O> | undefined;
  for (const [part, operations] of parts) {
    const left = (options.visitsMax ?? visitsMaxDefault) - visits;
    const found = check(model, operations, { ...options, visitsMax: left });
    visits += found.visits;
    if (found.verdict === 'illegal') return { ...found, visits, part };
    if (found.verdict === 'unknown') open ??= { ...found, part };
  }
  return open === undefined ? { verdict: 'ok', visits, longest: undefined, part: '' } : { ...open, visits };
}

export function check<S, I, O>(model: Model<S, I, O>, operations: readonly Operation<I, O>[], options: CheckOptions = {}): CheckResult<S, I, O> {
  return new Search(model, operations, options).run();
}

/** One end of an operation in the list of what is not linearized yet, in the order of time. */
interface Node {
  /** Index of the operation; -1 for the list's head. */
  readonly op: number;
  readonly isCall: boolean;
  /** Of a call: its return, if it has one. */
  match: Node | undefined;
  previous: Node | undefined;
  next: Node | undefined;
}

/** Where the search was. Words before `from` are full, those after the last kept one are empty. */
interface Seen<S> {
  readonly from: number;
  readonly bits: Uint32Array;
  readonly state: S;
}

interface Taken<S> {
  readonly node: Node;
  /** Before it. */
  readonly state: S;
  /** There is no other choice to be tried. */
  readonly forced: boolean;
}

class Search<S, I, O> {
  readonly #model: Model<S, I, O>;
  readonly #ops: readonly Operation<I, O>[];
  readonly #visitsMax: number;
  readonly #expired: () => boolean;
  readonly #head: Node = { op: -1, isCall: false, match: undefined, previous: undefined, next: undefined };
  /** Which operations are linearized, one bit each, and a hash of it. */
  readonly #bits: Uint32Array;
  #bitsHash = 0;
  readonly #seen: Map<number, Seen<S>[]> = new Map();
  #seenWords = 0;
  readonly #stack: Taken<S>[] = [];
  #visits = 0;
  /** Returned and not linearized yet. */
  #missing: number;
  readonly #returned: number;
  #best: readonly number[] = [];
  #bestState: S;
  #bestMissing: number;

  constructor(model: Model<S, I, O>, operations: readonly Operation<I, O>[], options: CheckOptions) {
    this.#model = model;
    // By their calls: what is linearized is then mostly a beginning of the list.
    this.#ops = [...operations].sort((a, b) => a.call - b.call);
    this.#visitsMax = options.visitsMax ?? visitsMaxDefault;
    this.#expired = options.expired ?? (() => false);
    this.#bits = new Uint32Array(Math.ceil(operations.length / 32));
    this.#returned = operations.reduce((n, o) => (returned(o) ? n + 1 : n), 0);
    this.#missing = this.#returned;
    this.#bestMissing = this.#returned;
    this.#bestState = model.init;
    this.#link();
  }

  /** Calls and returns in the order of time; at the same time calls first, so that these operations are concurrent. */
  #link(): void {
    const nodes: { readonly at: number; readonly node: Node }[] = [];
    this.#ops.forEach((o, op) => {
      const call: Node = { op, isCall: true, match: undefined, previous: undefined, next: undefined };
      nodes.push({ at: o.call, node: call });
      if (!returned(o)) return;
      if (o.return < o.call) throw new Error(`operation ${op} returned at ${o.return}, before its call at ${o.call}`);
      call.match = { op, isCall: false, match: undefined, previous: undefined, next: undefined };
      nodes.push({ at: o.return, node: call.match });
    });
    nodes.sort((a, b) => a.at - b.at || Number(b.node.isCall) - Number(a.node.isCall) || a.node.op - b.node.op);
    let last = this.#head;
    for (const { node } of nodes) {
      last.next = node;
      node.previous = last;
      last = node;
    }
  }

  run(): CheckResult<S, I, O> {
    let state = this.#model.init;
    let node = this.#look(state);
    while (this.#missing > 0) {
      if (this.#spent()) return this.#result('unknown');
      if (node?.isCall === true) {
        this.#visits++;
        const next = this.#tryNext(node, state);
        if (next === undefined) node = node.next;
        else {
          this.#take(node, state, next.state, false);
          state = next.state;
          node = this.#look(state);
        }
        continue;
      }
      // Something returned that is not linearized: the last choice was wrong.
      const taken = this.#lastChoice();
      if (taken === undefined) return this.#result('illegal');
      state = taken.state;
      node = taken.node.next;
    }
    return this.#result('ok');
  }

  /**
   * Takes what may come next, changes nothing and answers as it was told: in any order that holds it can be moved here.
   * Where the other choices begin.
   */
  #look(state: S): Node | undefined {
    for (let node = this.#head.next; node?.isCall === true; node = node.next) {
      const { input, output } = this.#op(node.op);
      if (node.match === undefined || this.#model.changesNothing?.(input, output) !== true) continue;
      this.#visits++;
      if (this.#model.step(state, input, output) === undefined) continue;
      this.#take(node, state, state, true);
      // Its return may have been the first.
      node = this.#head;
    }
    return this.#head.next;
  }

  /** The last one that was one; undefined when there is none. */
  #lastChoice(): Taken<S> | undefined {
    for (;;) {
      const taken = this.#stack.pop();
      if (taken === undefined) return undefined;
      this.#giveBack(taken.node);
      if (!taken.forced) return taken;
    }
  }

  #spent(): boolean {
    if (this.#visits >= this.#visitsMax || this.#seenWords > rememberedWordsMax) return true;
    return this.#visits % visitsPerLook === 0 && this.#expired();
  }

  #tryNext(node: Node, state: S): { readonly state: S } | undefined {
    const o = this.#op(node.op);
    const after = this.#model.step(state, o.input, o.output);
    if (after === undefined) return undefined;
    // Without a return and without effect: nothing would be different afterwards.
    if (!returned(o) && this.#model.equal(state, after)) return undefined;
    this.#flip(node.op);
    const fresh = this.#remember(after);
    this.#flip(node.op);
    return fresh ? { state: after } : undefined;
  }

  #op(i: number): Operation<I, O> {
    return this.#ops[i] as Operation<I, O>;
  }

  #flip(op: number): void {
    this.#bits[op >>> 5] = (this.#bits[op >>> 5] as number) ^ (1 << (op & 31));
    this.#bitsHash ^= mix(op + 1);
  }

  /** False when the search was here before: the same operations done, the same state. */
  #remember(state: S): boolean {
    const hash = (this.#bitsHash ^ mix(this.#model.hash(state))) | 0;
    const bits = this.#bits;
    let from = 0;
    while (from < bits.length && bits[from] === 0xffffffff) from++;
    let to = bits.length;
    while (to > from && bits[to - 1] === 0) to--;
    const bucket = this.#seen.get(hash) ?? [];
    for (const s of bucket) {
      if (s.from === from && s.bits.length === to - from && this.#model.equal(s.state, state) && sameBits(s.bits, bits, from)) return false;
    }
    if (bucket.length === 0) this.#seen.set(hash, bucket);
    bucket.push({ from, bits: bits.slice(from, to), state });
    this.#seenWords += to - from;
    return true;
  }

  #take(node: Node, before: S, after: S, forced: boolean): void {
    this.#stack.push({ node, state: before, forced });
    this.#flip(node.op);
    unlink(node);
    if (node.match === undefined) return;
    unlink(node.match);
    this.#missing--;
    if (this.#missing >= this.#bestMissing) return;
    this.#bestMissing = this.#missing;
    this.#best = this.#stack.map((t) => t.node.op);
    this.#bestState = after;
  }

  #giveBack(node: Node): void {
    this.#flip(node.op);
    if (node.match !== undefined) {
      relink(node.match);
      this.#missing++;
    }
    relink(node);
  }

  #result(verdict: Verdict): CheckResult<S, I, O> {
    return { verdict, visits: this.#visits, longest: verdict === 'ok' ? undefined : this.#longestOrder(), part: '' };
  }

  #longestOrder(): LongestOrder<S, I, O> {
    const done = new Set(this.#best);
    const open = this.#ops.filter((_, i) => !done.has(i));
    const firstReturn = open.reduce((min, o) => Math.min(min, returned(o) ? o.return : Number.POSITIVE_INFINITY), Number.POSITIVE_INFINITY);
    const state = this.#bestState;
    const candidates = open
      .filter((o) => o.call <= firstReturn)
      .sort((a, b) => a.call - b.call)
      .map((operation) => ({ operation, refused: this.#model.step(state, operation.input, operation.output) === undefined }));
    return { linearized: this.#best.map((i) => this.#op(i)), state, candidates, returned: this.#returned };
  }
}

function returned<I, O>(o: Operation<I, O>): boolean {
  return o.return !== Number.POSITIVE_INFINITY;
}

function unlink(node: Node): void {
  if (node.previous !== undefined) node.previous.next = node.next;
  if (node.next !== undefined) node.next.previous = node.previous;
}

/** Undoes {@link unlink}, the last one first. */
function relink(node: Node): void {
  if (node.previous !== undefined) node.previous.next = node;
  if (node.next !== undefined) node.next.previous = node;
}

function sameBits(kept: Uint32Array, bits: Uint32Array, from: number): boolean {
  for (let i = 0; i < kept.length; i++) if (kept[i] !== bits[from + i]) return false;
  return true;
}

function mix(x: number): number {
  let h = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

// The simulated world's heart: one heap of events ordered by (time, sequence). Everything that
// happens to any node (a timer, a chunk of bytes, a finished sync, an injected fault) is one event,
// so one seed decides everything. Used by the sim-*.ts files beside it, by scenarios and by tests.
//
// Invariants: `now` never goes back; an event of a dead scope never runs; an event of a paused scope
// runs after the scope was resumed, in the order it would have had; `hash` is a function of seed and program.
//
// Promises: `run*` is for callback-only code and never lets a microtask run between two events.
// Code that uses promises needs `usesPromises: true` and the `run*Async` methods, which let all
// microtasks (and nothing else) run after each event; without the flag they yield only now and then.
import { assert } from '#base/assert.js';
import { Prng } from '#base/prng.js';
import { EventHeap } from './event-heap.js';

/** A process that never stops putting things off would hang a real node too. */
const turnRoundsMax = 100_000;

/** Kinds of events, as they enter the trace hash. */
export const eventKinds = { world: 0, timer: 1, turn: 2, data: 3, connect: 4, close: 5, disk: 6, tables: 7 } as const;
export type EventKind = (typeof eventKinds)[keyof typeof eventKinds];

/** The life of one process: what was scheduled in it dies with it. */
export class Scope {
  readonly node: number;
  dead = false;
  paused = false;
  readonly held: Event[] = [];
  /** What the process asked to be done at the end of its turn. */
  turnTasks: (() => void)[] = [];

  constructor(node: number) {
    this.node = node;
  }
}

/** A scheduled event that can be called off. */
export interface Scheduled {
  cancel(): void;
}

/** Its own handle: there are millions, one object each. */
class Event implements Scheduled {
  time: number;
  seq: number;
  readonly kind: EventKind;
  readonly scope: Scope | undefined;
  fn: (() => void) | undefined;

  constructor(time: number, seq: number, kind: EventKind, scope: Scope | undefined, fn: () => void) {
    this.time = time;
    this.seq = seq;
    this.kind = kind;
    this.scope = scope;
    this.fn = fn;
  }

  cancel(): void {
    this.fn = undefined;
  }
}

export interface WorldOptions {
  readonly seed: number;
  /** The code under test uses promises: run it with the `run*Async` methods. */
  readonly usesPromises?: boolean;
  /** The async runs yield to the platform every so many events when promises are not used. */
  readonly yieldEvery?: number;
  /** Events at most, against programs that never end. */
  readonly eventsMax?: number;
}

export class World {
  readonly seed: number;
  readonly prng: Prng;
  readonly usesPromises: boolean;
  now = 0;
  /** Events that ran. */
  events = 0;
  /** The scope whose event runs now. */
  current: Scope | undefined;
  /** What a failure report adds after the error: set by whoever knows the nodes. */
  readonly reporters: (() => string)[] = [];
  readonly #heap: EventHeap<Event> = new EventHeap<Event>();
  readonly #yieldEvery: number;
  readonly #eventsMax: number;
  #seq = 0;
  #hashA = 0x811c9dc5;
  #hashB = 0x1b873593;
  #nodes = 0;
  #running = false;

  constructor(options: WorldOptions) {
    this.seed = options.seed;
    this.prng = new Prng(options.seed);
    this.usesPromises = options.usesPromises ?? false;
    this.#yieldEvery = options.yieldEvery ?? 1_024;
    this.#eventsMax = options.eventsMax ?? 200_000_000;
  }

  /** A number for a new node, as it appears in the trace. */
  nextNode(): number {
    return ++this.#nodes;
  }

  /** Runs `fn` at the absolute time `time` (not before now). Without a scope it is the world's own: it always runs. */
  at(time: number, fn: () => void, scope?: Scope, kind: EventKind = eventKinds.world): Scheduled {
    assert(!Number.isNaN(time), 'an event needs a time');
    const event = new Event(Math.max(time, this.now), this.#seq++, kind, scope, fn);
    this.#heap.push(event);
    return event;
  }

  /** Runs `fn` in `delay` ms. */
  after(delay: number, fn: () => void, scope?: Scope, kind: EventKind = eventKinds.world): Scheduled {
    return this.at(this.now + delay, fn, scope, kind);
  }

  /**
   * From an event of the world: runs `fn` in the process `scope` now. Where that cannot be (the process
   * stands still, or an event of a process calls) it becomes an event of its own at this time.
   */
  enter(scope: Scope, fn: () => void, kind: EventKind): void {
    if (scope.dead) return;
    if (scope.paused || this.current !== undefined || !this.#running || this.usesPromises) {
      this.after(0, fn, scope, kind);
      return;
    }
    this.#count(kind, scope);
    this.#inScope(scope, fn);
  }

  /** Runs `fn` after the process's event that runs now; called from outside of one, in an event of its own. */
  endOfTurn(scope: Scope, fn: () => void): void {
    scope.turnTasks.push(fn);
    if (this.current === scope && !this.usesPromises) return;
    if (scope.turnTasks.length === 1) this.after(0, () => this.#turnTasks(scope), scope, eventKinds.turn);
  }

  /** SIGSTOP: the scope's events are kept until `resume`. */
  pause(scope: Scope): void {
    scope.paused = true;
  }

  resume(scope: Scope): void {
    if (!scope.paused) return;
    scope.paused = false;
    for (const event of scope.held.splice(0)) {
      event.time = this.now;
      event.seq = this.#seq++;
      this.#heap.push(event);
    }
  }

  /** Numbers of the run so far folded into 16 hexadecimal digits: equal seeds must give equal hashes. */
  get hash(): string {
    return (this.#hashA >>> 0).toString(16).padStart(8, '0') + (this.#hashB >>> 0).toString(16).padStart(8, '0');
  }

  /** Adds a number to the trace hash: sizes, terms, anything two equal runs must agree on. */
  trace(value: number): void {
    this.#hashA = Math.imul(this.#hashA ^ (value | 0), 0x01000193);
    this.#hashB = (Math.imul(this.#hashB ^ (value | 0), 0x85ebca6b) + 0x6b) | 0;
    this.#hashB ^= this.#hashB >>> 13;
  }

  /** Runs events up to and including `time`; then it is `time`. */
  runTo(time: number): void {
    this.#guard(() => {
      while (this.#nextTime() <= time) this.#step();
    });
    if (time > this.now) this.now = time;
  }

  runFor(ms: number): void {
    this.runTo(this.now + ms);
  }

  /**
   * Runs until `done()` holds, for `limitMs` at most. False when it never did. It is looked at after each
   * event, or, with `everyMs`, once in so much simulated time: then a condition may cost something.
   */
  runUntil(done: () => boolean, limitMs: number, everyMs: number = 0): boolean {
    const end = this.now + limitMs;
    let holds = done();
    let next = this.now + everyMs;
    this.#guard(() => {
      while (!holds && this.#nextTime() <= end) {
        if (!this.#step() || this.now < next) continue;
        next = this.now + everyMs;
        holds = done();
      }
    });
    if (!holds && everyMs > 0) holds = done();
    if (!holds && end > this.now) this.now = end;
    return holds;
  }

  /** Runs until nothing is scheduled, for `limitMs` at most. False when something still is. */
  runToIdle(limitMs: number): boolean {
    const end = this.now + limitMs;
    this.#guard(() => {
      while (this.#nextTime() <= end) this.#step();
    });
    return this.#nextTime() === Number.POSITIVE_INFINITY;
  }

  /** Like `runFor`, letting promises continue. */
  async runForAsync(ms: number): Promise<void> {
    await this.runUntilAsync(() => false, ms);
  }

  /** Like `runUntil`, letting promises continue. */
  async runUntilAsync(done: () => boolean, limitMs: number): Promise<boolean> {
    assert(!this.#running, 'the world runs already');
    this.#running = true;
    const end = this.now + limitMs;
    const every = this.usesPromises ? 1 : this.#yieldEvery;
    let sinceYield = 0;
    try {
      await drainMicrotasks();
      while (!done()) {
        if (this.#nextTime() > end) {
          if (end > this.now) this.now = end;
          return false;
        }
        if (this.#step() && ++sinceYield >= every) {
          sinceYield = 0;
          await drainMicrotasks();
        }
      }
      return true;
    } catch (error) {
      throw this.#explain(error);
    } finally {
      this.#running = false;
      this.current = undefined;
    }
  }

  #nextTime(): number {
    for (;;) {
      const event = this.#heap.peek();
      if (event === undefined) return Number.POSITIVE_INFINITY;
      if (event.fn !== undefined && event.scope?.dead !== true) return event.time;
      this.#heap.pop();
    }
  }

  /** Takes the next event; false when it was only put aside. */
  #step(): boolean {
    const event = this.#heap.pop();
    assert(event !== undefined, 'there is an event to run');
    const { scope, fn } = event;
    if (event.time > this.now) this.now = event.time;
    if (fn === undefined || scope?.dead === true) return false;
    if (scope?.paused === true) {
      scope.held.push(event);
      return false;
    }
    event.fn = undefined;
    this.#count(event.kind, scope);
    if (scope === undefined) fn();
    else this.#inScope(scope, fn);
    return true;
  }

  #count(kind: EventKind, scope: Scope | undefined): void {
    assert(++this.events <= this.#eventsMax, 'the run has more events than it may');
    const micros = this.now * 1_000;
    this.trace(micros % 0x100000000);
    this.trace((kind << 16) | (scope?.node ?? 0));
  }

  /** One turn of a process: what it was woken for, and what it put off to the end of its turn. */
  #inScope(scope: Scope, fn: () => void): void {
    this.current = scope;
    fn();
    // Tasks may ask for another end of turn. (With promises, the continuations come first: see endOfTurn.)
    for (let round = 0; scope.turnTasks.length > 0 && !this.usesPromises; round++) {
      assert(round < turnRoundsMax, 'a turn ends');
      this.#turnTasks(scope);
    }
    this.current = undefined;
  }

  #turnTasks(scope: Scope): void {
    const due = scope.turnTasks;
    scope.turnTasks = [];
    for (const task of due) {
      if (scope.dead) return;
      task();
    }
  }

  #guard(body: () => void): void {
    assert(!this.#running, 'the world runs already');
    assert(!this.usesPromises, 'this world uses promises: run it with the async methods');
    this.#running = true;
    try {
      body();
    } catch (error) {
      throw this.#explain(error);
    } finally {
      this.#running = false;
      this.current = undefined;
    }
  }

  #explain(error: unknown): unknown {
    if (!(error instanceof Error)) return error;
    const who = this.current === undefined ? 'the world' : `node ${this.current.node}`;
    error.message += `\n  in an event of ${who}, seed ${this.seed}, at ${this.now.toFixed(3)} ms, event ${this.events}\n${this.report()}`;
    return error;
  }

  /** What the reporters have to say: the tails of the nodes' logs. */
  report(): string {
    return this.reporters.map((r) => r()).join('\n');
  }
}

/** Resolves once all microtasks have run: a macrotask comes after them. */
function drainMicrotasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

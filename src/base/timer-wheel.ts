// One timer for very many owners: a hierarchical wheel of intrusive lists. Owners extend WheelTimer,
// so that arming a timer allocates nothing and an unarmed one costs four fields. Whoever owns the
// wheel calls `advance(now)` every `tickMs`. Timers fire late by less than a tick, in the order in
// which they fall due; within a tick in the order they were armed.
import { assert } from './assert.js';

const innerBits = 8;
const innerSlots = 1 << innerBits;
const outerBits = 6;
const outerSlots = 1 << outerBits;
const outerLevels = 3;
const slotCount = innerSlots + outerLevels * outerSlots;
/** Ticks that fit under the outermost level. */
const spanTicks = 2 ** (innerBits + outerLevels * outerBits);

/** Longest delay the wheel keeps exactly; a later due time fires after this long, and its owner arms it again. */
export const wheelDelayTicksMax: number = 2 ** 29;

export abstract class WheelTimer {
  wheelNext: WheelTimer | undefined = undefined;
  wheelPrev: WheelTimer | undefined = undefined;
  /** Tick at which it fires. Meaningful while armed. */
  wheelDue = 0;
  /** -1 while not armed. */
  wheelSlot = -1;

  /** Runs at or after the due time (before it only beyond {@link wheelDelayTicksMax}). May arm itself or others, or cancel. */
  abstract onTimer(now: number): void;
}

export class TimerWheel {
  readonly tickMs: number;
  tick = 0;
  count = 0;
  /** Of those, timers on the innermost level: while there are none, time leaps. */
  #near = 0;
  readonly #start: number;
  readonly #heads: (WheelTimer | undefined)[] = new Array(slotCount).fill(undefined);

  constructor(tickMs: number, now: number) {
    assert(tickMs > 0, 'timer wheel: a tick takes time');
    this.tickMs = tickMs;
    this.#start = now;
  }

  /** Arms the timer, or moves it when it is armed. `due` is on the clock of `advance`. */
  schedule(timer: WheelTimer, due: number): void {
    if (timer.wheelSlot !== -1) this.#unlink(timer);
    const ticks = Math.ceil((due - this.#start) / this.tickMs) - this.tick;
    timer.wheelDue = this.tick + Math.max(1, Math.min(ticks, wheelDelayTicksMax));
    this.#link(timer);
  }

  cancel(timer: WheelTimer): void {
    if (timer.wheelSlot !== -1) this.#unlink(timer);
  }

  /** Fires everything that is due at `now`. */
  advance(now: number): void {
    const target = Math.floor((now - this.#start) / this.tickMs);
    while (this.tick < target) {
      if (this.count === 0) {
        this.tick = target;
        return;
      }
      if (this.#near === 0) this.tick = Math.min(target - 1, this.tick | (innerSlots - 1));
      this.tick++;
      this.#cascade();
      const slot = this.tick & (innerSlots - 1);
      for (let timer = this.#heads[slot]; timer !== undefined; timer = this.#heads[slot]) {
        this.#unlink(timer);
        timer.onTimer(now);
      }
    }
  }

  /** Moves the lists of the outer levels inwards when their turn has come. */
  #cascade(): void {
    let shift = innerBits;
    for (let level = 0; level < outerLevels; level++) {
      if ((this.tick & (2 ** shift - 1)) !== 0) return;
      const slot = innerSlots + level * outerSlots + ((this.tick >>> shift) & (outerSlots - 1));
      const head = this.#heads[slot];
      this.#heads[slot] = undefined;
      for (let timer = head; timer !== undefined; ) {
        const next: WheelTimer | undefined = timer.wheelNext === head ? undefined : timer.wheelNext;
        this.count--; // never from the innermost level
        this.#link(timer);
        timer = next;
      }
      shift += outerBits;
    }
  }

  #link(timer: WheelTimer): void {
    const delta = timer.wheelDue - this.tick;
    let slot: number;
    if (delta < innerSlots) slot = timer.wheelDue & (innerSlots - 1);
    else if (delta < innerSlots << outerBits) slot = innerSlots + ((timer.wheelDue >>> innerBits) & (outerSlots - 1));
    else if (delta < innerSlots << (2 * outerBits))
      slot = innerSlots + outerSlots + ((timer.wheelDue >>> (innerBits + outerBits)) & (outerSlots - 1));
    else {
      // Beyond the wheel: parked in the outermost slot that comes last, and looked at again then.
      const due = delta < spanTicks ? timer.wheelDue : this.tick + spanTicks - 1;
      slot = innerSlots + 2 * outerSlots + ((due >>> (innerBits + 2 * outerBits)) & (outerSlots - 1));
    }
    timer.wheelSlot = slot;
    const head = this.#heads[slot];
    if (head === undefined) {
      timer.wheelNext = timer;
      timer.wheelPrev = timer;
      this.#heads[slot] = timer;
    } else {
      const tail = head.wheelPrev as WheelTimer;
      timer.wheelNext = head;
      timer.wheelPrev = tail;
      tail.wheelNext = timer;
      head.wheelPrev = timer;
    }
    this.count++;
    if (slot < innerSlots) this.#near++;
  }

  #unlink(timer: WheelTimer): void {
    const next = timer.wheelNext as WheelTimer;
    const prev = timer.wheelPrev as WheelTimer;
    if (timer.wheelSlot < innerSlots) this.#near--;
    if (next === timer) this.#heads[timer.wheelSlot] = undefined;
    else {
      prev.wheelNext = next;
      next.wheelPrev = prev;
      if (this.#heads[timer.wheelSlot] === timer) this.#heads[timer.wheelSlot] = next;
    }
    timer.wheelNext = undefined;
    timer.wheelPrev = undefined;
    timer.wheelSlot = -1;
    this.count--;
  }
}

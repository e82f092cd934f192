// The node's one timer wheel and the coarse timer that drives it, only while something is armed.
import type { WheelTimer } from '#base/timer-wheel.js';
import { TimerWheel } from '#base/timer-wheel.js';
import type { Clock } from '#env/clock.js';

export class Timers {
  readonly #clock: Clock;
  readonly #wheel: TimerWheel;
  #running = false;
  readonly #onTick: () => void;

  constructor(clock: Clock, tickMs: number) {
    this.#clock = clock;
    this.#wheel = new TimerWheel(tickMs, clock.now());
    this.#onTick = () => this.#tick();
  }

  /** Armed timers. */
  get count(): number {
    return this.#wheel.count;
  }

  /** Arms or moves the timer: `due` on the monotonic clock. */
  schedule(timer: WheelTimer, due: number): void {
    if (!this.#running) {
      this.#running = true;
      // Nothing is armed, so that this only moves the wheel's own time.
      this.#wheel.advance(this.#clock.now());
      this.#clock.setTimer(this.#wheel.tickMs, this.#onTick);
    }
    this.#wheel.schedule(timer, due);
  }

  cancel(timer: WheelTimer): void {
    this.#wheel.cancel(timer);
  }

  #tick(): void {
    this.#wheel.advance(this.#clock.now());
    if (this.#wheel.count === 0) this.#running = false;
    else this.#clock.setTimer(this.#wheel.tickMs, this.#onTick);
  }
}

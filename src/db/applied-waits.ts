// Who waits until one copy of a shard has applied an index. Every wait has a deadline and is answered
// once: when the index is reached, at the deadline, or when the copy is closed.
interface Wait {
  readonly index: number;
  readonly deadlineAt: number;
  readonly then: (reached: boolean) => void;
}

export class AppliedWaits {
  #waits: Wait[] = [];

  get any(): boolean {
    return this.#waits.length > 0;
  }

  add(index: number, deadlineAt: number, then: (reached: boolean) => void): void {
    this.#waits.push({ index, deadlineAt, then });
  }

  reached(index: number): void {
    this.#answer(true, (w) => w.index <= index);
  }

  expire(now: number): void {
    this.#answer(false, (w) => w.deadlineAt <= now);
  }

  close(): void {
    this.#answer(false, () => true);
  }

  #answer(reached: boolean, due: (w: Wait) => boolean): void {
    if (this.#waits.length === 0) return;
    const ready = this.#waits.filter(due);
    if (ready.length === 0) return;
    this.#waits = this.#waits.filter((w) => !due(w));
    for (const w of ready) w.then(reached);
  }
}

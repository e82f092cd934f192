// Part of `publish.ts` and `acceptance.ts`: what a publisher's acknowledgement waits for. `done` runs once.

/** Waits for everybody who has to accept a message. */
export class Gather {
  #open = 1;
  #matched = false;
  #kept = true;
  readonly #done: (matched: boolean, kept: boolean) => void;

  /** `kept`: those who must keep it on a disk have. */
  constructor(done: (matched: boolean, kept: boolean) => void) {
    this.#done = done;
  }

  wait(): void {
    this.#open++;
  }

  one(matched: boolean): void {
    if (matched) this.#matched = true;
    if (--this.#open === 0) this.#done(this.#matched, this.#kept);
  }

  kept(ok: boolean): void {
    if (!ok) this.#kept = false;
    this.one(false);
  }
}

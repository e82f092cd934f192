// Memory for the output of a turn, cut from slabs that serve turn after turn. Memory that is not used again costs
// more than its making: V8 counts what array buffers take, and under load ran its whole collector for it, two or
// three times a second.

/** Memory is taken in pieces of this size, and cut up. */
export const slabBytes: number = 64 * 1024;
/** So many full slabs, at most, are kept for later turns: 1 MiB. */
export const slabsKept = 16;

export class Slabs {
  /** Where the last {@link reserve} is. */
  bytes: Uint8Array = new Uint8Array(slabBytes);
  #at = 0;
  /** Somebody reads `bytes` for longer than the turn. */
  #held = false;
  /** Full since the last `again`, and held by nobody. */
  readonly #full: Uint8Array[] = [];
  readonly #free: Uint8Array[] = [];

  /** Room for `length` bytes in {@link bytes}: where. It is the caller's until {@link again}. */
  reserve(length: number): number {
    if (this.#at + length > this.bytes.length) this.#next(length);
    const at = this.#at;
    this.#at = at + length;
    return at;
  }

  #next(length: number): void {
    const last = this.bytes;
    if (!this.#held && last.length === slabBytes && this.#full.length < slabsKept) this.#full.push(last);
    this.#held = false;
    this.#at = 0;
    this.bytes = length > slabBytes ? new Uint8Array(length) : (this.#free.pop() ?? new Uint8Array(slabBytes));
  }

  /** What was cut from `bytes` may be read at any later time: it is left to the collector. */
  hold(bytes: Uint8Array): void {
    if (bytes === this.bytes) {
      this.#held = true;
      return;
    }
    const i = this.#full.indexOf(bytes);
    if (i === -1) return;
    const last = this.#full.pop() as Uint8Array;
    if (i < this.#full.length) this.#full[i] = last;
  }

  /** Nobody needs what was reserved so far, but who holds it. */
  again(): void {
    if (!this.#held && this.bytes.length === slabBytes) this.#at = 0;
    // New ones are made only when none is free: there are never more than `slabsKept` and the one that is being cut.
    while (this.#full.length > 0) this.#free.push(this.#full.pop() as Uint8Array);
  }
}

// Short byte strings of many owners, in slots of one size that lie in a few large arrays: an array of its own for each
// would be three objects to look at instead of one place. Invariant: a slot belongs to one owner until it is given back.

const slotsPerArray = 512;

/** Bytes of an owner begin at `at` of `bytes`. */
export interface ByteSlot {
  readonly bytes: Uint8Array;
  readonly at: number;
}

export class ByteSlots {
  readonly slotBytes: number;
  readonly #free: ByteSlot[] = [];
  #array: Uint8Array = new Uint8Array(0);
  #next = 0;
  #used = 0;

  constructor(slotBytes: number) {
    this.slotBytes = slotBytes;
  }

  /** Slots that have an owner. */
  get used(): number {
    return this.#used;
  }

  /** As many slots as there are owners at the same time: who takes them is bounded, so they are. */
  take(): ByteSlot {
    this.#used++;
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#next === this.#array.length) {
      this.#array = new Uint8Array(slotsPerArray * this.slotBytes);
      this.#next = 0;
    }
    const at = this.#next;
    this.#next += this.slotBytes;
    return { bytes: this.#array, at };
  }

  give(slot: ByteSlot): void {
    this.#used--;
    this.#free.push(slot);
  }
}

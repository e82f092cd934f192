// A bounded map that forgets what was not asked for: two generations of half the bound each. For what
// is remembered per publisher (shared-picker.ts, and the broker's shared-members.ts).

export class RecentMap<V> {
  readonly #generationMax: number;
  #young: Map<string, V> = new Map();
  #old: Map<string, V> = new Map();

  constructor(entriesMax: number) {
    this.#generationMax = Math.max(1, entriesMax >> 1);
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: string): V | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: string, value: V): void {
    if (this.#young.size >= this.#generationMax && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}

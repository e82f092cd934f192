// The terms of a log's entries: one item per run of entries with the same term.

export class TermRuns {
  #first: number[] = [];
  #term: number[] = [];

  /** Term of the newest run; 0 when there is none. */
  last(): number {
    return this.#term.at(-1) ?? 0;
  }

  /** Term of the run that holds `index`; undefined before the first. */
  at(index: number): number | undefined {
    // Nearly every question is about the newest run.
    let i = this.#first.length - 1;
    if (i >= 0 && (this.#first[i] as number) <= index) return this.#term[i];
    let low = 0;
    while (low < i) {
      const middle = (low + i) >>> 1;
      if ((this.#first[middle] as number) <= index) low = middle + 1;
      else i = middle;
    }
    return low === 0 ? undefined : this.#term[low - 1];
  }

  push(index: number, term: number): void {
    if (this.#term.length > 0 && this.last() === term) return;
    this.#first.push(index);
    this.#term.push(term);
  }

  truncate(index: number): void {
    while (this.#first.length > 0 && (this.#first.at(-1) as number) >= index) {
      this.#first.pop();
      this.#term.pop();
    }
  }

  dropBelow(index: number): void {
    let n = 0;
    while (n + 1 < this.#first.length && (this.#first[n + 1] as number) <= index) n++;
    if (n === 0) return;
    this.#first.splice(0, n);
    this.#term.splice(0, n);
  }

  clear(): void {
    this.#first = [];
    this.#term = [];
  }
}

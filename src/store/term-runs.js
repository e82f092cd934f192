// The terms of a log's entries: one item per run of entries with the same term.
export class TermRuns {
  #first = [];
  #term = [];
  /** Term of the newest run; 0 when there is none. */
  last() {
    return this.#term.at(-1) ?? 0;
  }
  /** Term of the run that holds `index`; undefined before the first. */
  at(index) {
    // Nearly every question is about the newest run.
    let i = this.#first.length - 1;
    if (i >= 0 && this.#first[i] <= index) return this.#term[i];
    let low = 0;
    while (low < i) {
      const middle = (low + i) >>> 1;
      if (this.#first[middle] <= index) low = middle + 1;
      else i = middle;
    }
    return low === 0 ? undefined : this.#term[low - 1];
  }
  push(index, term) {
    if (this.#term.length > 0 && this.last() === term) return;
    this.#first.push(index);
    this.#term.push(term);
  }
  truncate(index) {
    while (this.#first.length > 0 && this.#first.at(-1) >= index) {
      this.#first.pop();
      this.#term.pop();
    }
  }
  dropBelow(index) {
    let n = 0;
    while (n + 1 < this.#first.length && this.#first[n + 1] <= index) n++;
    if (n === 0) return;
    this.#first.splice(0, n);
    this.#term.splice(0, n);
  }
  clear() {
    this.#first = [];
    this.#term = [];
  }
}
//# sourceMappingURL=term-runs.js.map

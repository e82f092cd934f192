// The scheduler's queue: a binary min-heap of events by (time, sequence). Its own rather than base's,
// because the comparison is most of what a heap does and is written out here.

interface Timed {
  readonly time: number;
  readonly seq: number;
}

export class EventHeap<E extends Timed> {
  readonly #items: E[] = [];

  peek(): E | undefined {
    return this.#items[0];
  }

  push(item: E): void {
    const items = this.#items;
    const { time, seq } = item;
    let i = items.length;
    items.push(item);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = items[parent] as E;
      if (above.time < time || (above.time === time && above.seq < seq)) break;
      items[i] = above;
      i = parent;
    }
    items[i] = item;
  }

  pop(): E | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    const size = items.length;
    if (size === 0 || last === undefined) return top;
    const { time, seq } = last;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      let least = items[child] as E;
      if (child + 1 < size) {
        const right = items[child + 1] as E;
        if (right.time < least.time || (right.time === least.time && right.seq < least.seq)) {
          child++;
          least = right;
        }
      }
      if (time < least.time || (time === least.time && seq < least.seq)) break;
      items[i] = least;
      i = child;
    }
    items[i] = last;
    return top;
  }
}

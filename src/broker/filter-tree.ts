// Wildcard filters as a tree of levels: the fallback of `local-subscribers.ts` for shapes beyond its
// bound. Matching visits at most the nodes that exist along the topic name's levels.

interface Node<T> {
  readonly children: Map<string, Node<T>>;
  value: T | undefined;
}

function node<T>(): Node<T> {
  return { children: new Map(), value: undefined };
}

export class FilterTree<T> {
  #root: Node<T> = node();
  #count = 0;

  get empty(): boolean {
    return this.#count === 0;
  }

  set(topicFilter: string, value: T): void {
    let at = this.#root;
    for (const level of topicFilter.split('/')) {
      let next = at.children.get(level);
      if (next === undefined) {
        next = node();
        at.children.set(level, next);
      }
      at = next;
    }
    if (at.value === undefined) this.#count++;
    at.value = value;
  }

  /** False when it was not there. */
  delete(topicFilter: string): boolean {
    const levels = topicFilter.split('/');
    const path: Node<T>[] = [this.#root];
    for (const level of levels) {
      const next = path[path.length - 1]?.children.get(level);
      if (next === undefined) return false;
      path.push(next);
    }
    const end = path[path.length - 1] as Node<T>;
    if (end.value === undefined) return false;
    end.value = undefined;
    this.#count--;
    for (let i = path.length - 1; i > 0; i--) {
      const at = path[i] as Node<T>;
      if (at.value !== undefined || at.children.size > 0) break;
      (path[i - 1] as Node<T>).children.delete(levels[i - 1] as string);
    }
    return true;
  }

  /** `system`: the topic name begins with `$`, which wildcards at the first level do not match. */
  match(levels: readonly string[], system: boolean, visit: (value: T) => void): void {
    // A list of nodes instead of recursion: topic names are as deep as clients make them.
    let current: Node<T>[] = [this.#root];
    for (let i = 0; i <= levels.length && current.length > 0; i++) {
      const next: Node<T>[] = [];
      for (const at of current) {
        const wild = i > 0 || !system;
        const hash = wild ? at.children.get('#') : undefined;
        if (hash?.value !== undefined) visit(hash.value);
        if (i === levels.length) {
          if (at.value !== undefined) visit(at.value);
          continue;
        }
        const literal = at.children.get(levels[i] as string);
        if (literal !== undefined) next.push(literal);
        const plus = wild ? at.children.get('+') : undefined;
        if (plus !== undefined) next.push(plus);
      }
      current = next;
    }
  }
}

// Regular expressions over what strangers send (client ids, user names), in time linear in the text:
// the pattern's positions are followed side by side, nothing is tried twice. Known: literals, `.`,
// `[a-z]`, `[^…]`, `\d \w \s` and their opposites, `( )`, `(?: )`, `|`, `*`, `+`, `?`, `{m,n}`, `^`, `$`.
// Like EMQX's, a pattern may match anywhere in the text unless it is anchored.

type Test = (code: number) => boolean;

/** One position of the pattern's automaton. */
type Node =
  | { readonly kind: 'char'; readonly test: Test; next: number }
  | { readonly kind: 'split'; next: number; other: number }
  | { readonly kind: 'start' | 'end'; next: number }
  | { readonly kind: 'match' };

/** `{m,n}` multiplies: the automaton of a pattern may have this many positions, and this many repetitions. */
const nodesMax = 500;
const repetitionsMax = 2_000;
/** Of a longer text the beginning is looked at. */
const textLengthMax = 1_024;
const patternLengthMax = 512;
const nestingMax = 32;

export class PatternError extends Error {
  override readonly name = 'PatternError';
}

/** Makes the nodes of a piece that ends in `next` and gives its first node. A piece can be made more than once. */
type Piece = (next: number) => number;

export class Pattern {
  readonly source: string;
  readonly #nodes: Node[] = [];
  readonly #first: number;
  #at = 0;
  #depth = 0;
  #repetitions = 0;

  /** Throws {@link PatternError}. */
  constructor(source: string) {
    this.source = source;
    if (source.length > patternLengthMax) throw new PatternError(`a pattern has at most ${patternLengthMax} characters`);
    const piece = this.#alternatives();
    if (this.#at < source.length) throw new PatternError('a ) without its (');
    this.#first = piece(this.#add({ kind: 'match' }));
  }

  /** Whether the pattern matches somewhere in the text. */
  test(whole: string): boolean {
    const text = whole.length > textLengthMax ? whole.slice(0, textLengthMax) : whole;
    let current = new Set<number>();
    for (let i = 0; i <= text.length; i++) {
      this.#follow(this.#first, i, text.length, current);
      const next = new Set<number>();
      const code = text.charCodeAt(i);
      for (const at of current) {
        const node = this.#nodes[at];
        if (node?.kind === 'match') return true;
        if (node?.kind === 'char' && i < text.length && node.test(code)) this.#follow(node.next, i + 1, text.length, next);
      }
      current = next;
    }
    return false;
  }

  /** Adds the node and all that can be reached from it without a character. */
  #follow(first: number, position: number, length: number, into: Set<number>): void {
    const open = [first];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      const node = this.#nodes[at];
      if (node === undefined || into.has(at)) continue;
      into.add(at);
      if (node.kind === 'split') open.push(node.other, node.next);
      else if ((node.kind === 'start' && position === 0) || (node.kind === 'end' && position === length)) open.push(node.next);
    }
  }

  #add(node: Node): number {
    if (this.#nodes.length >= nodesMax) throw new PatternError('the pattern is too large');
    return this.#nodes.push(node) - 1;
  }

  // ---- the parser ----

  #peek(): string | undefined {
    return this.source[this.#at];
  }

  #alternatives(): Piece {
    if (++this.#depth > nestingMax) throw new PatternError('too many ( in each other');
    const pieces = [this.#sequence()];
    while (this.#peek() === '|') {
      this.#at++;
      pieces.push(this.#sequence());
    }
    this.#depth--;
    return (next) => pieces.map((p) => p(next)).reduceRight((other, one) => this.#add({ kind: 'split', next: one, other }));
  }

  #sequence(): Piece {
    const pieces: Piece[] = [];
    for (let c = this.#peek(); c !== undefined && c !== '|' && c !== ')'; c = this.#peek()) pieces.push(this.#repeated());
    return (next) => pieces.reduceRight((following, piece) => piece(following), next);
  }

  #repeated(): Piece {
    let piece = this.#atom();
    for (;;) {
      const count = this.#quantifier();
      if (count === undefined) return piece;
      piece = this.#times(piece, count[0], count[1]);
      if (this.#peek() === '?') this.#at++; // lazy or greedy: whether it matches is the same
    }
  }

  #quantifier(): readonly [number, number] | undefined {
    const c = this.#peek();
    const simple =
      c === '*'
        ? ([0, Number.POSITIVE_INFINITY] as const)
        : c === '+'
          ? ([1, Number.POSITIVE_INFINITY] as const)
          : c === '?'
            ? ([0, 1] as const)
            : undefined;
    if (simple !== undefined) {
      this.#at++;
      return simple;
    }
    const parts = c === '{' ? /^\{([0-9]{1,4})(,?)([0-9]{0,4})\}/.exec(this.source.slice(this.#at)) : null;
    if (parts === null) return undefined;
    this.#at += parts[0].length;
    const least = Number(parts[1]);
    const most = parts[2] === '' ? least : parts[3] === '' ? Number.POSITIVE_INFINITY : Number(parts[3]);
    if (most < least) throw new PatternError(`${parts[0]} is upside down`);
    return [least, most];
  }

  #times(piece: Piece, least: number, most: number): Piece {
    return (next) => {
      let first = next;
      if (most === Number.POSITIVE_INFINITY) {
        const loop: Extract<Node, { kind: 'split' }> = { kind: 'split', next, other: next };
        first = this.#add(loop);
        loop.next = piece(first);
      } else for (let i = least; i < most; i++) first = this.#add({ kind: 'split', next: this.#again(piece, first), other: next });
      for (let i = 0; i < least; i++) first = this.#again(piece, first);
      return first;
    };
  }

  #again(piece: Piece, next: number): number {
    if (++this.#repetitions > repetitionsMax) throw new PatternError('the pattern is too large');
    return piece(next);
  }

  #atom(): Piece {
    const c = this.source[this.#at++] ?? '';
    switch (c) {
      case '(':
        return this.#group();
      case '[':
        return this.#char(this.#set());
      case '.':
        return this.#char((code) => code !== 0x0a);
      case '^':
        return (next) => this.#add({ kind: 'start', next });
      case '$':
        return (next) => this.#add({ kind: 'end', next });
      case '\\':
        return this.#char(this.#escape());
      case '*':
      case '+':
      case '?':
        throw new PatternError(`nothing before ${c}`);
      default:
        return this.#char(is(c));
    }
  }

  #char(test: Test): Piece {
    return (next) => this.#add({ kind: 'char', test, next });
  }

  #group(): Piece {
    if (this.#peek() === '?') {
      if (!this.source.startsWith('?:', this.#at)) throw new PatternError('(? is only known as (?:');
      this.#at += 2;
    }
    const piece = this.#alternatives();
    if (this.source[this.#at++] !== ')') throw new PatternError('a ( without its )');
    return piece;
  }

  #escape(): Test {
    const c = this.source[this.#at++];
    if (c === undefined) throw new PatternError('nothing behind \\');
    const known = classes.get(c);
    if (known !== undefined) return known;
    if (/[A-Za-z0-9]/.test(c)) throw new PatternError(`\\${c} is not known`);
    return is(c);
  }

  #set(): Test {
    const negated = this.#peek() === '^';
    if (negated) this.#at++;
    const tests: Test[] = [];
    for (let first = true; ; first = false) {
      const c = this.source[this.#at++];
      if (c === undefined) throw new PatternError('a [ without its ]');
      if (c === ']' && !first) break;
      if (c === '\\') {
        tests.push(this.#escape());
        continue;
      }
      const to = this.source[this.#at + 1];
      if (this.#peek() === '-' && to !== undefined && to !== ']') {
        this.#at += 2;
        const last = to === '\\' ? (this.source[this.#at++] ?? '') : to;
        if (last < c) throw new PatternError(`${c}-${last} is upside down`);
        tests.push((code) => code >= c.charCodeAt(0) && code <= last.charCodeAt(0));
      } else tests.push(is(c));
    }
    return (code) => tests.some((t) => t(code)) !== negated;
  }
}

function is(c: string): Test {
  const wanted = c.charCodeAt(0);
  return (code) => code === wanted;
}

const digit: Test = (c) => c >= 0x30 && c <= 0x39;
const word: Test = (c) => digit(c) || (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a) || c === 0x5f;
const space: Test = (c) => c === 0x20 || (c >= 0x09 && c <= 0x0d) || c === 0xa0;
const not =
  (test: Test): Test =>
  (c) =>
    !test(c);
const classes: ReadonlyMap<string, Test> = new Map([
  ['d', digit],
  ['D', not(digit)],
  ['w', word],
  ['W', not(word)],
  ['s', space],
  ['S', not(space)],
]);

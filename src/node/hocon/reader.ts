// A cursor over one text: positions, white space, comments, quoted and triple-quoted strings.
// `parse.ts` asks it for pieces; it knows nothing of keys and values.
import { textLengthMax } from './bounds.js';
import { HoconError, type Position } from './errors.js';

const escapes: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

export class Reader {
  readonly file: string;
  readonly text: string;
  at = 0;
  #line = 1;
  #lineStart = 0;
  #counted = 0;

  constructor(file: string, text: string) {
    this.file = file;
    this.text = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
    if (text.length > textLengthMax) throw new HoconError(this.position(), `longer than ${textLengthMax} characters`);
  }

  /** Where the cursor stands, or `at` (not before a position asked for earlier by much: lines are counted once). */
  position(at: number = this.at): Position {
    if (at < this.#lineStart) {
      this.#line = 1;
      this.#lineStart = 0;
      this.#counted = 0;
    }
    for (let i = this.#counted; i < at; i++) {
      if (this.text.charCodeAt(i) !== 10) continue;
      this.#line++;
      this.#lineStart = i + 1;
    }
    this.#counted = Math.max(this.#counted, at);
    return { file: this.file, line: this.#line, column: at - this.#lineStart + 1 };
  }

  fail(reason: string, at: number = this.at): never {
    throw new HoconError(this.position(at), reason);
  }

  get done(): boolean {
    return this.at >= this.text.length;
  }

  /** The character at the cursor, '' at the end. */
  peek(ahead = 0): string {
    return this.text.charAt(this.at + ahead);
  }

  startsWith(piece: string): boolean {
    return this.text.startsWith(piece, this.at);
  }

  /** White space within a line; gives what was skipped. */
  blanks(): string {
    const from = this.at;
    while (!this.done && isBlank(this.peek())) this.at++;
    return this.text.slice(from, this.at);
  }

  /** White space, line ends and comments; true when a line ended. */
  space(): boolean {
    let ended = false;
    while (!this.done) {
      const c = this.peek();
      if (c === '\n') ended = true;
      if (c === '\n' || isBlank(c)) this.at++;
      else if (this.atComment()) this.#comment();
      else break;
    }
    return ended;
  }

  atComment(): boolean {
    return this.peek() === '#' || this.startsWith('//');
  }

  #comment(): void {
    const end = this.text.indexOf('\n', this.at);
    this.at = end < 0 ? this.text.length : end;
  }

  /** A string in quotes, single or triple; the cursor stands on the first quote. */
  quoted(): string {
    return this.startsWith('"""') ? this.#tripleQuoted() : this.#singleQuoted();
  }

  // Raw text; quotes beyond the closing three belong to the string.
  #tripleQuoted(): string {
    const from = this.at;
    const end = this.text.indexOf('"""', from + 3);
    if (end < 0) this.fail('this """ is never closed', from);
    let stop = end;
    while (this.text.charAt(stop + 3) === '"') stop++;
    this.at = stop + 3;
    return this.text.slice(from + 3, stop);
  }

  #singleQuoted(): string {
    const from = this.at++;
    let value = '';
    let copied = this.at;
    for (;;) {
      const c = this.peek();
      if (c === '' || c === '\n') this.fail('this " is not closed on its line', from);
      if (c === '"') break;
      if (c === '\\') {
        value += this.text.slice(copied, this.at) + this.#escape();
        copied = this.at;
      } else this.at++;
    }
    value += this.text.slice(copied, this.at);
    this.at++;
    return value;
  }

  #escape(): string {
    const c = this.peek(1);
    if (c === 'u') {
      const digits = this.text.slice(this.at + 2, this.at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail('\\u needs four hexadecimal digits');
      this.at += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const plain = escapes.get(c);
    if (plain === undefined) this.fail(`\\${c} is no escape of HOCON; for a backslash write \\\\, or use """raw text"""`);
    this.at += 2;
    return plain;
  }
}

/** White space of HOCON that does not end the line. */
export function isBlank(c: string): boolean {
  return c === ' ' || c === '\t' || c === '\r' || c === '\f' || c === '\v' || c === '\u00a0' || c === '\ufeff' || c === '\u2028' || c === '\u2029';
}

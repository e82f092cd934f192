// Text to tree. One instance parses one file; `include` is answered by the caller, who reads files.
// Stricter than HOCON where leniency hides mistakes (no white space inside unquoted keys), more
// lenient where it cannot (`core1@10.0.0.5:4370` needs no quotes as a value).
import { depthMax, pathPartsMax } from './bounds.js';
import { HoconError, type Position } from './errors.js';
import { type ConcatNode, merge, mergeObjects, type Node, type ObjectNode, type ScalarNode } from './nodes.js';
import { isBlank, Reader } from './reader.js';

/** Gives the tree of an included file; undefined when it is absent and not `required`. */
export type Include = (name: string, required: boolean, at: Position) => ObjectNode | undefined;

const numberText = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const keyEnds = new Set(['$', '"', '{', '}', '[', ']', ':', '=', ',', '+', '#', '`', '^', '?', '!', '*', '&', '\\', '.', '\n', '']);
const valueEnds = new Set(['$', '"', '{', '}', '[', ']', '=', ',', '#', '`', '\\', '\n', '']);

/** Parses a whole file: an object with or without its braces. Throws {@link HoconError}. */
export function parseObject(file: string, text: string, include: Include): ObjectNode {
  return new Parser(new Reader(file, text), include).file();
}

/**
 * Parses a value from the environment. What begins like HOCON (`{`, `[`, `"`) or refers to something
 * (`${`) is HOCON; anything else is one plain value to its last character, because passwords contain
 * `#` and `,`. Throws {@link HoconError}.
 */
export function parseValue(source: string, text: string): Node {
  if (/^\s*[{["]/.test(text) || text.includes('${')) return new Parser(new Reader(source, text), noInclude).lone();
  const trimmed = text.trim();
  return { kind: 'scalar', value: typed(trimmed), text: trimmed, quoted: trimmed === '', at: { file: source, line: 1, column: 1 } };
}

function noInclude(_name: string, _required: boolean, at: Position): never {
  throw new HoconError(at, 'include works in files only');
}

class Parser {
  readonly #in: Reader;
  readonly #include: Include;
  #depth = 0;

  constructor(reader: Reader, include: Include) {
    this.#in = reader;
    this.#include = include;
  }

  file(): ObjectNode {
    const input = this.#in;
    input.space();
    const braced = input.peek() === '{';
    const root = braced ? this.#object() : this.#fields('', input.position());
    input.space();
    if (!input.done) input.fail(`unexpected ${show(input.peek())}${braced ? ' after the closing brace' : ': no brace is open here'}`);
    return root;
  }

  lone(): Node {
    const input = this.#in;
    input.space();
    const value = this.#value();
    input.space();
    if (!input.done) input.fail(`unexpected ${show(input.peek())}; put the whole value in quotes`);
    return value;
  }

  #object(): ObjectNode {
    const input = this.#in;
    const at = input.position();
    const from = input.at++;
    this.#descend(at);
    const object = this.#fields('}', at);
    if (input.peek() !== '}') input.fail('this { is never closed', from);
    input.at++;
    this.#depth--;
    return object;
  }

  #fields(end: '' | '}', at: Position): ObjectNode {
    const input = this.#in;
    const object: ObjectNode = { kind: 'object', fields: new Map(), at };
    input.space();
    while (!input.done && input.peek() !== '}') {
      this.#field(object);
      const lineEnded = input.space();
      if (input.peek() === ',') {
        input.at++;
        input.space();
      } else if (!lineEnded && !input.done && input.peek() !== '}') {
        input.fail(`unexpected ${show(input.peek())}; one setting a line, or a comma between two`);
      }
    }
    if (end === '' && !input.done) input.fail('this } closes nothing');
    return object;
  }

  #field(object: ObjectNode): void {
    const input = this.#in;
    const at = input.position();
    if (this.#atInclude()) {
      this.#includeInto(object);
      return;
    }
    const path = this.#path();
    input.blanks();
    let append = false;
    if (input.startsWith('+=')) {
      append = true;
      input.at += 2;
    } else if (input.peek() === '=' || input.peek() === ':') input.at++;
    else if (input.peek() !== '{') input.fail(`expected = or { after the key ${path.join('.')}, found ${show(input.peek())}`);
    input.space();
    if (input.done || input.peek() === '}' || input.peek() === ',') input.fail(`the key ${path.join('.')} has no value; for an empty one write ""`);
    const value = this.#value();
    put(object, path, append ? { kind: 'append', items: [value], at } : value, at);
  }

  #path(close = ''): string[] {
    const input = this.#in;
    const path: string[] = [];
    for (;;) {
      let part = '';
      let quoted = false;
      while (input.peek() === '"' || !(keyEnds.has(input.peek()) || isBlank(input.peek()))) {
        if (input.peek() === '"') {
          part += input.quoted();
          quoted = true;
        } else part += input.text.charAt(input.at++);
      }
      if (part === '' && !quoted) input.fail(`expected a key, found ${show(input.peek())}`);
      path.push(part);
      if (path.length > pathPartsMax) input.fail(`a key of more than ${pathPartsMax} parts`);
      if (close !== '') input.blanks();
      if (input.peek() !== '.') return path;
      input.at++;
    }
  }

  #value(): Node {
    const input = this.#in;
    const at = input.position();
    const parts: Node[] = [];
    const gaps: string[] = [];
    let gap = '';
    for (;;) {
      const part = this.#part();
      if (part === undefined) break;
      parts.push(part);
      gaps.push(gap);
      gap = input.blanks();
      if (input.atComment()) break;
    }
    const only = parts[0] ?? input.fail(`expected a value, found ${show(input.peek())}`);
    return parts.length === 1 ? only : join({ kind: 'concat', parts, gaps, at });
  }

  #part(): Node | undefined {
    const input = this.#in;
    const c = input.peek();
    const at = input.position();
    if (c === '{') return this.#object();
    if (c === '[') return this.#list();
    if (c === '"') {
      const text = input.quoted();
      return { kind: 'scalar', value: text, text, quoted: true, at };
    }
    if (c === '$') return this.#substitution(at);
    return this.#unquoted(at);
  }

  #unquoted(at: Position): ScalarNode | undefined {
    const input = this.#in;
    const from = input.at;
    for (; ; input.at++) {
      const c = input.peek();
      if (valueEnds.has(c) || isBlank(c)) break;
      if (!input.startsWith('//')) continue;
      if (input.at > from && input.text.charAt(input.at - 1) === ':') input.fail('// begins a comment; put the address in quotes', from);
      break;
    }
    if (input.at === from) return undefined;
    const text = input.text.slice(from, input.at);
    return { kind: 'scalar', value: typed(text), text, quoted: false, at };
  }

  #substitution(at: Position): Node {
    const input = this.#in;
    const from = input.at;
    if (!input.startsWith('${')) input.fail('a $ in a value stands in quotes, or begins ${…}');
    input.at += 2;
    const optional = input.peek() === '?';
    if (optional) input.at++;
    input.blanks();
    const path = this.#path('}');
    if (input.peek() !== '}') input.fail('this ${ is not closed', from);
    input.at++;
    return { kind: 'substitution', path, optional, at };
  }

  #list(): Node {
    const input = this.#in;
    const at = input.position();
    const from = input.at++;
    this.#descend(at);
    const items: Node[] = [];
    input.space();
    while (!input.done && input.peek() !== ']') {
      items.push(this.#value());
      const lineEnded = input.space();
      if (input.peek() === ',') {
        input.at++;
        input.space();
      } else if (!lineEnded && !input.done && input.peek() !== ']') input.fail(`expected , or ] in this list, found ${show(input.peek())}`);
    }
    if (input.done) input.fail('this [ is never closed', from);
    input.at++;
    this.#depth--;
    return { kind: 'list', items, at };
  }

  #atInclude(): boolean {
    return /^include[ \t]+(?:"|file\(|required\(|url\(|classpath\()/.test(this.#in.text.slice(this.#in.at, this.#in.at + 64));
  }

  // include "a" · include file("a") · include required("a") · include required(file("a"))
  #includeInto(object: ObjectNode): void {
    const input = this.#in;
    const at = input.position();
    input.at += 'include'.length;
    input.blanks();
    let closing = 0;
    let required = false;
    for (const word of ['required(', 'file(']) {
      if (!input.startsWith(word)) continue;
      if (word === 'required(') required = true;
      input.at += word.length;
      input.blanks();
      closing++;
    }
    if (input.peek() !== '"') input.fail('include takes a file name in quotes');
    const name = input.quoted();
    for (; closing > 0; closing--) {
      input.blanks();
      if (input.peek() !== ')') input.fail(`expected ), found ${show(input.peek())}`);
      input.at++;
    }
    const included = this.#include(name, required, at);
    if (included !== undefined) mergeObjects(object, included);
  }

  #descend(at: Position): void {
    if (++this.#depth > depthMax) throw new HoconError(at, `more than ${depthMax} objects and lists inside each other`);
  }
}

// `a.b.c = 1` is `a { b { c = 1 } }`.
function put(object: ObjectNode, path: readonly string[], value: Node, at: Position): void {
  let node = value;
  for (let i = path.length - 1; i > 0; i--) node = { kind: 'object', fields: new Map([[path[i] ?? '', node]]), at };
  const key = path[0] ?? '';
  object.fields.set(key, merge(object.fields.get(key), node));
}

// Text side by side needs no substitution to be known: `15 s` is the text "15 s".
function join(node: ConcatNode): Node {
  let text = '';
  for (const [i, part] of node.parts.entries()) {
    if (part.kind !== 'scalar') return node;
    text += (node.gaps[i] ?? '') + part.text;
  }
  return { kind: 'scalar', value: text, text, quoted: false, at: node.at };
}

function typed(text: string): ScalarNode['value'] {
  if (text === 'true') return true;
  if (text === 'false') return false;
  if (text === 'null') return null;
  return numberText.test(text) ? Number(text) : text;
}

function show(c: string): string {
  if (c === '') return 'the end of the text';
  return c === '\n' ? 'the end of the line' : c;
}

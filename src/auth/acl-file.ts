// Reads `acl.conf` as EMQX writes it, a list of Erlang terms such as
// `{deny, all, subscribe, ["$SYS/#", {eq, "#"}]}.`, into rules as plain data (`rule.ts` reads those).
import type { Plain, PlainObject } from './plain.js';

export class AclFileError extends Error {
  override readonly name = 'AclFileError';
}

type Term =
  | { readonly kind: 'atom' | 'text'; readonly text: string }
  | { readonly kind: 'number'; readonly number: number }
  | { readonly kind: 'tuple' | 'list'; readonly items: readonly Term[] };

interface Token {
  readonly text: string;
  readonly kind: 'atom' | 'text' | 'number' | 'mark';
  readonly line: number;
}

const depthMax = 16;
const alternativesMax = 100;

/** Whether a text looks like one. */
export function isAclFile(text: string): boolean {
  return /^(?:\s|%[^\n]*(?:\n|$))*(?:$|\{\s*(?:allow|deny)\b)/.test(text);
}

/** Throws {@link AclFileError} with the line. */
export function parseAclFile(text: string): readonly Plain[] {
  const reader = new TermReader(tokenize(text));
  const rules: Plain[] = [];
  while (!reader.atEnd) {
    const line = reader.line;
    const term = reader.term(0);
    reader.mark('.');
    rules.push(...rulesOf(term, line));
  }
  return rules;
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  const pattern =
    /(\s+|%[^\n]*)|<<\s*"((?:[^"\\]|\\.)*)"\s*(?:\/utf8\s*)?>>|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([a-z][\w@]*)|([0-9]+)|([{}[\],.])/y;
  let line = 1;
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex;
    const m = pattern.exec(text);
    if (m === null) throw new AclFileError(`line ${line}: unexpected ${JSON.stringify(text.slice(at, at + 1))}`);
    const string = m[2] ?? m[3];
    if (string !== undefined) tokens.push({ kind: 'text', text: string.replaceAll(/\\(.)/g, '$1'), line });
    else if (m[4] !== undefined) tokens.push({ kind: 'atom', text: m[4], line });
    else if (m[5] !== undefined) tokens.push({ kind: 'atom', text: m[5], line });
    else if (m[6] !== undefined) tokens.push({ kind: 'number', text: m[6], line });
    else if (m[7] !== undefined) tokens.push({ kind: 'mark', text: m[7], line });
    line += m[0].split('\n').length - 1;
  }
  return tokens;
}

class TermReader {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get atEnd(): boolean {
    return this.#at >= this.#tokens.length;
  }

  get line(): number {
    return (this.#tokens[this.#at] ?? this.#tokens.at(-1))?.line ?? 1;
  }

  #fail(message: string): never {
    throw new AclFileError(`line ${this.line}: ${message}`);
  }

  #is(mark: string): boolean {
    const token = this.#tokens[this.#at];
    return token?.kind === 'mark' && token.text === mark;
  }

  mark(mark: string): void {
    if (!this.#is(mark)) this.#fail(`${mark} is missing`);
    this.#at++;
  }

  term(depth: number): Term {
    if (depth > depthMax) this.#fail('nested too deeply');
    const token = this.#tokens[this.#at];
    if (token === undefined) return this.#fail('the file ends within a rule');
    this.#at++;
    if (token.kind === 'number') return { kind: 'number', number: Number(token.text) };
    if (token.kind !== 'mark') return { kind: token.kind, text: token.text };
    if (token.text === '{') return { kind: 'tuple', items: this.#items('}', depth) };
    if (token.text === '[') return { kind: 'list', items: this.#items(']', depth) };
    return this.#fail(`unexpected ${token.text}`);
  }

  #items(end: string, depth: number): Term[] {
    const items: Term[] = [];
    while (!this.#is(end)) {
      if (items.length > 0) this.mark(',');
      items.push(this.term(depth + 1));
    }
    this.mark(end);
    return items;
  }
}

function rulesOf(term: Term, line: number): PlainObject[] {
  const fail = (message: string): never => {
    throw new AclFileError(`line ${line}: ${message}`);
  };
  if (term.kind !== 'tuple') return fail('a rule is a tuple such as {allow, all}.');
  const [permission, who, action, topics] = term.items;
  const word = permission?.kind === 'atom' ? permission.text : '';
  if (word !== 'allow' && word !== 'deny') return fail('a rule begins with allow or deny');
  if (who === undefined || term.items.length > 4) return fail('a rule says who, and may say the action and topics');
  const rest = {
    permission: word,
    ...(action === undefined ? {} : actionOf(action, fail)),
    ...(topics === undefined ? {} : { topics: topicsOf(topics, fail) }),
  };
  return whoOf(who, fail, 0).map((one) => ({ ...one, ...rest }));
}

type Fail = (message: string) => never;

function actionOf(term: Term, fail: Fail): PlainObject {
  if (term.kind === 'atom') return { action: term.text };
  const [name, options] = term.kind === 'tuple' ? term.items : [];
  if (name?.kind !== 'atom') return fail('the action is publish, subscribe or all');
  const action: Record<string, Plain> = { action: name.text };
  for (const option of options?.kind === 'list' ? options.items : options === undefined ? [] : [options]) {
    const [key, value] = option.kind === 'tuple' ? option.items : [];
    if (key?.kind !== 'atom' || value === undefined) return fail('an option of the action is a pair such as {qos, 1}');
    if (value.kind === 'number') action[key.text] = value.number;
    else if (value.kind === 'list') action[key.text] = value.items.map((i) => (i.kind === 'number' ? i.number : -1));
    else if (value.kind === 'atom') action[key.text] = value.text;
  }
  return action;
}

function topicsOf(term: Term, fail: Fail): readonly string[] {
  if (term.kind !== 'list') return fail('topics are a list');
  return term.items.map((item) => {
    if (item.kind === 'text') return item.text;
    const [name, topic] = item.kind === 'tuple' ? item.items : [];
    if (name?.kind === 'atom' && name.text === 'eq' && topic?.kind === 'text') return `eq ${topic.text}`;
    return fail('a topic is a text or {eq, "text"}');
  });
}

const fields: ReadonlyMap<string, string> = new Map([
  ['username', 'username'],
  ['user', 'username'],
  ['clientid', 'clientid'],
  ['client', 'clientid'],
]);

/** The ways in which the condition can hold; each is the fields of one rule. */
function whoOf(term: Term, fail: Fail, depth: number): PlainObject[] {
  if (term.kind === 'atom' && term.text === 'all') return [{}];
  const [name, value] = term.kind === 'tuple' ? term.items : [];
  if (name?.kind !== 'atom' || value === undefined || depth > depthMax)
    return fail('who is all, {username, "…"}, {clientid, "…"}, {ipaddr, "…"} or a combination');
  if (name.text === 'and' || name.text === 'or') {
    const parts = (value.kind === 'list' ? value.items : []).map((one) => whoOf(one, fail, depth + 1));
    const all = name.text === 'or' ? parts.flat() : parts.reduce<PlainObject[]>((done, part) => cross(done, part, fail), [{}]);
    return all.length === 0 || all.length > alternativesMax ? fail(`${name.text} combines too little or too much`) : all;
  }
  if (name.text === 'ipaddr' && value.kind === 'text') return [{ ipaddr: value.text }];
  if (name.text === 'ipaddrs' && value.kind === 'list') return [{ ipaddr: value.items.map((i) => (i.kind === 'text' ? i.text : '')) }];
  const field = fields.get(name.text);
  if (field === undefined) return fail(`${name.text} is not known`);
  if (value.kind === 'text') return [{ [field]: value.text }];
  if (value.kind === 'atom' && value.text === 'all') return [{}];
  const [re, pattern] = value.kind === 'tuple' ? value.items : [];
  if (re?.kind === 'atom' && re.text === 're' && pattern?.kind === 'text') return [{ [`${field}_re`]: pattern.text }];
  return fail(`${name.text} is a text or {re, "pattern"}`);
}

function cross(left: readonly PlainObject[], right: readonly PlainObject[], fail: Fail): PlainObject[] {
  if (left.length * right.length > alternativesMax) return fail('and combines too much');
  return left.flatMap((a) =>
    right.map((b) => {
      for (const key of Object.keys(b)) if (Object.hasOwn(a, key)) return fail(`and names ${key} twice`);
      return { ...a, ...b };
    }),
  );
}

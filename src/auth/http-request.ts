// A request to an HTTP service, from its settings (method, url, headers, body with placeholders) and
// one client's values. Values are percent-encoded in the URL and in forms, JSON strings in JSON; they
// never reach scheme, host, port or headers, and make no step (`..`) of the path.
import { isPlainObject, type Plain, type PlainReader } from './plain.js';
import { encodeUrlPart, fillTemplate, parseTemplate, type Template, type Values, wellFormed } from './template.js';

export interface HttpCall {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

/** undefined: these values make no request that means what the settings say. */
export type MakeCall = (values: Values) => HttpCall | undefined;

type BodyPart = Template | number | boolean | null | readonly BodyPart[] | { readonly fields: readonly (readonly [Template, BodyPart])[] };

interface Settings {
  readonly method: 'get' | 'post';
  readonly origin: string;
  readonly path: Template;
  readonly query: Template | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: readonly (readonly [Template, BodyPart])[];
}

const depthMax = 8;

/** Reads `method`, `url`, `headers`, `body`; undefined when something is wrong. */
export function readHttpRequest(r: PlainReader, known: readonly string[]): MakeCall | undefined {
  const before = r.problems.length;
  const method = r.choice('method', ['get', 'post'], 'post');
  const url = readUrl(r, known);
  const headers = readHeaders(r);
  const body = isPlainObject(r.raw('body')) || r.has('body') ? readBody(r, known) : [];
  if (url === undefined || r.problems.length > before) return undefined;
  const settings: Settings = { method, ...url, headers, body };
  return (values) => makeCall(settings, values);
}

function readUrl(r: PlainReader, known: readonly string[]): Pick<Settings, 'origin' | 'path' | 'query'> | undefined {
  const text = r.requiredText('url');
  if (text === '') return undefined;
  const parts = /^(https?:\/\/[^/?#]+)([^?#]*)(?:\?([^#]*))?$/i.exec(text);
  const origin = parts?.[1] ?? '';
  if (parts === null || origin.includes('$') || origin.includes('@') || !URL.canParse(origin)) {
    r.problem('url', 'must be a URL such as http://127.0.0.1:8080/auth, without placeholders or a user in scheme, host and port');
    return undefined;
  }
  const path = parseTemplate(parts[2] === '' ? '/' : (parts[2] ?? '/'), known);
  const query = parts[3] === undefined ? undefined : parseTemplate(parts[3], known);
  for (const t of [path, query]) if (typeof t === 'string') r.problem('url', t);
  return typeof path === 'string' || typeof query === 'string' ? undefined : { origin, path, query };
}

function readHeaders(r: PlainReader): Record<string, string> {
  const headers: Record<string, string> = { accept: 'application/json' };
  for (const [name, value] of Object.entries(r.object('headers'))) {
    const text = String(value);
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || !/^[\t\x20-\x7e]*$/.test(text)) r.problem(`headers.${name}`, 'is no HTTP header');
    else if (text.includes('${')) r.problem(`headers.${name}`, 'has a placeholder; placeholders are for url and body');
    else headers[name.toLowerCase()] = text;
  }
  return headers;
}

function readBody(r: PlainReader, known: readonly string[]): (readonly [Template, BodyPart])[] {
  return entriesOf(r.object('body'), known, (message) => r.problem('body', message), 0);
}

function entriesOf(
  from: Readonly<Record<string, Plain>>,
  known: readonly string[],
  problem: (text: string) => void,
  depth: number,
): (readonly [Template, BodyPart])[] {
  const entries: (readonly [Template, BodyPart])[] = [];
  for (const [key, value] of Object.entries(from)) {
    const name = parseTemplate(key, known);
    if (typeof name === 'string') problem(`has a wrong key: ${name}`);
    else entries.push([name, bodyPart(value, known, problem, depth + 1)]);
  }
  return entries;
}

function bodyPart(value: Plain, known: readonly string[], problem: (text: string) => void, depth: number): BodyPart {
  if (typeof value === 'string') {
    const template = parseTemplate(value, known);
    if (typeof template !== 'string') return template;
    problem(`has a wrong value: ${template}`);
    return null;
  }
  if (typeof value !== 'object' || value === null) return value;
  if (depth > depthMax) {
    problem('is nested too deeply');
    return null;
  }
  if (isPlainObject(value)) return { fields: entriesOf(value, known, problem, depth) };
  return (value as readonly Plain[]).map((one) => bodyPart(one, known, problem, depth + 1));
}

function makeCall(s: Settings, values: Values): HttpCall | undefined {
  const path = fillTemplate(s.path, values, encodeUrlPart);
  if (stepsOf(path) !== stepsOf(fillTemplate(s.path, () => 'x'))) return undefined;
  const pairs = s.query === undefined ? [] : [fillTemplate(s.query, values, encodeUrlPart)];
  if (s.method === 'get') {
    if (s.body.length > 0) pairs.push(form(s.body, values));
    return { method: 'GET', url: urlOf(s.origin, path, pairs), headers: s.headers, body: undefined };
  }
  const contentType = s.headers['content-type'] ?? 'application/json';
  const asForm = contentType.startsWith('application/x-www-form-urlencoded');
  const body = asForm ? form(s.body, values) : JSON.stringify(render({ fields: s.body }, values));
  return { method: 'POST', url: urlOf(s.origin, path, pairs), headers: { ...s.headers, 'content-type': contentType }, body };
}

function urlOf(origin: string, path: string, pairs: readonly string[]): string {
  const query = pairs.filter((p) => p !== '').join('&');
  return query === '' ? origin + path : `${origin}${path}?${query}`;
}

/** Segments that a URL parser would take as steps. */
function stepsOf(path: string): number {
  return path.split('/').filter((s) => /^(?:\.|%2e){1,2}$/i.test(s)).length;
}

function form(entries: Settings['body'], values: Values): string {
  const parts = entries.map(([key, value]) => {
    const rendered = render(value, values);
    const text = typeof rendered === 'string' ? rendered : JSON.stringify(rendered);
    return `${encodeUrlPart(fillTemplate(key, values))}=${encodeUrlPart(text)}`;
  });
  return parts.join('&');
}

function render(part: BodyPart, values: Values): unknown {
  if (typeof part !== 'object' || part === null) return part;
  if ('texts' in part) return wellFormed(fillTemplate(part, values));
  if ('fields' in part) {
    const made: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const [key, value] of part.fields) made[fillTemplate(key, values)] = render(value, values);
    return made;
  }
  return (part as readonly BodyPart[]).map((one) => render(one, values));
}

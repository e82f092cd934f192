// Reads settings that came as plain data (configuration, HTTP API, table rows) and collects what is
// wrong with them as sentences, so that one run names every mistake.

export type Plain = string | number | boolean | null | readonly Plain[] | PlainObject;
export interface PlainObject {
  readonly [key: string]: Plain;
}

export function isPlainObject(value: Plain | undefined): value is PlainObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export class PlainReader {
  readonly path: string;
  readonly problems: string[];
  readonly #from: PlainObject;
  readonly #asked = new Set<string>();

  constructor(from: PlainObject, path: string, problems: string[]) {
    this.#from = from;
    this.path = path;
    this.problems = problems;
  }

  problem(key: string, message: string): void {
    this.problems.push(`${this.path}${key === '' ? '' : `.${key}`} ${message}`);
  }

  raw(key: string): Plain | undefined {
    this.#asked.add(key);
    const value = Object.hasOwn(this.#from, key) ? this.#from[key] : undefined;
    return value === null ? undefined : value;
  }

  has(key: string): boolean {
    return this.raw(key) !== undefined;
  }

  text(key: string, absent: string): string {
    return this.optionalText(key) ?? absent;
  }

  optionalText(key: string): string | undefined {
    const value = this.raw(key);
    if (value === undefined || typeof value === 'string') return value;
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    this.problem(key, 'must be a text');
    return undefined;
  }

  requiredText(key: string): string {
    const value = this.optionalText(key);
    if (value === undefined || value === '') this.problem(key, 'is missing');
    return value ?? '';
  }

  choice<T extends string>(key: string, words: readonly T[], absent: NoInfer<T>): T {
    const value = this.optionalText(key);
    const found = words.find((w) => w === value);
    if (found !== undefined) return found;
    if (value !== undefined) this.problem(key, `must be one of ${words.join(', ')}, not ${value.slice(0, 40)}`);
    return absent;
  }

  flag(key: string, absent: boolean): boolean {
    const value = this.raw(key);
    if (value === undefined) return absent;
    if (value === true || value === 'true' || value === 'on' || value === 'yes') return true;
    if (value === false || value === 'false' || value === 'off' || value === 'no') return false;
    this.problem(key, 'must be true or false');
    return absent;
  }

  integer(key: string, min: number, max: number, absent: number): number {
    const value = this.raw(key);
    if (value === undefined) return absent;
    const n = typeof value === 'string' && /^[0-9]+$/.test(value) ? Number(value) : value;
    if (typeof n === 'number' && Number.isInteger(n) && n >= min && n <= max) return n;
    this.problem(key, `must be a whole number from ${min} to ${max}`);
    return absent;
  }

  /** Milliseconds; a bare number is in `bareUnitMs`, if that is given. */
  duration(key: string, minMs: number, absentMs: number, bareUnitMs?: number): number {
    const value = this.raw(key);
    if (value === undefined) return absentMs;
    const ms =
      typeof value === 'number' && bareUnitMs !== undefined ? value * bareUnitMs : typeof value === 'string' ? parseDuration(value) : undefined;
    if (ms !== undefined && ms >= minMs) return ms;
    this.problem(key, `must be a duration such as 15s${minMs > 0 ? `, at least ${minMs}ms` : ''}`);
    return absentMs;
  }

  /** A text alone is a list of one. */
  texts(key: string): readonly string[] {
    const value = this.raw(key);
    if (value === undefined) return [];
    const items = Array.isArray(value) ? (value as readonly Plain[]) : [value as Plain];
    const read = items.filter((i): i is string => typeof i === 'string');
    if (read.length < items.length) this.problem(key, 'must be a text or a list of texts');
    return read;
  }

  object(key: string): PlainObject {
    const value = this.raw(key);
    if (value === undefined) return {};
    if (isPlainObject(value)) return value;
    this.problem(key, 'must be settings in braces');
    return {};
  }

  objects(key: string): readonly PlainObject[] {
    const value = this.raw(key);
    if (value === undefined) return [];
    const items = Array.isArray(value) ? (value as readonly Plain[]) : isPlainObject(value) ? numbered(value) : [];
    const read = items.filter(isPlainObject);
    if (read.length < items.length || items.length === 0) {
      if (!Array.isArray(value) || items.length > 0) this.problem(key, 'must be a list of settings in braces');
    }
    return read;
  }

  /** Settings that nobody asked for are misspelt. Call it last. */
  done(alsoKnown: readonly string[] = []): void {
    for (const key of Object.keys(this.#from)) {
      if (!this.#asked.has(key) && !alsoKnown.includes(key)) this.problem(key, 'is not known');
    }
  }
}

/** A list written as `{1 = …, 2 = …}`, as variables of the environment do. */
function numbered(value: PlainObject): readonly Plain[] {
  const items: Plain[] = [];
  for (let i = 1; Object.hasOwn(value, String(i)); i++) items.push(value[String(i)] ?? null);
  return items;
}

const units: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['w', 604_800_000],
]);

/** Milliseconds of `1h30m`; undefined for what is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhdw]))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, amount, unit] of text.matchAll(/([0-9.]+)(ms|[smhdw])/g)) ms += Number(amount) * (units.get(unit ?? '') ?? 0);
  return Number.isSafeInteger(Math.round(ms)) ? Math.round(ms) : undefined;
}

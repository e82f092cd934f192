// What a schema is made of: shapes that read a value of the file and say what is wrong with it.
// A shape never throws: problems are collected with their positions, so that one run names them all.
import type { Position } from '../hocon/errors.js';
import type { ObjectValue, Value } from '../hocon/nodes.js';
import { nearest } from './nearest.js';

export interface Finding {
  readonly at: Position;
  readonly message: string;
}

/** Collects what is wrong (the node does not start) and what is only worth saying. */
export class Report {
  readonly problems: Finding[] = [];
  readonly warnings: Finding[] = [];
  readonly #foreign: (path: readonly string[]) => boolean;

  /** @param foreign whether a path is a setting that EMQX has and Starmesh does not */
  constructor(foreign: (path: readonly string[]) => boolean) {
    this.#foreign = foreign;
  }

  problem(at: Position, message: string): undefined {
    this.problems.push({ at, message });
    return undefined;
  }

  warn(at: Position, message: string): void {
    this.warnings.push({ at, message });
  }

  /** A key that the schema does not have. From the environment it is only a warning: others set variables too. */
  unknownKey(path: readonly string[], at: Position, known: Iterable<string>): void {
    const name = path.at(-1) ?? '';
    if (this.#foreign(path)) {
      this.warn(at, `${path.join('.')} is a setting of EMQX that has no effect in Starmesh`);
      return;
    }
    const guess = nearest(name, known);
    const message = `unknown key ${path.join('.')}${guess === undefined ? '' : `; did you mean ${[...path.slice(0, -1), guess].join('.')}?`}`;
    if (fromEnvironment(at)) this.warn(at, message);
    else this.problem(at, message);
  }
}

/** Reads one kind of value. undefined: it was wrong, and the report says why. */
export interface Shape<T> {
  /** For messages: "a duration such as 15s". */
  readonly expects: string;
  read(value: Value, path: readonly string[], report: Report): T | undefined;
}

/** Marks positions of the environment overlay; `environment.ts` writes it. */
export const environmentMark: string = 'environment ';

export function fromEnvironment(at: Position): boolean {
  return at.file.startsWith(environmentMark);
}

/** A shape for one scalar: `parse` gets the text as written and gives undefined for what is not one. */
export function scalar<T>(expects: string, parse: (text: string) => T | undefined): Shape<T> {
  return {
    expects,
    read(value, path, report): T | undefined {
      const parsed = value.kind === 'scalar' && value.value !== null ? parse(value.text) : undefined;
      if (parsed !== undefined) return parsed;
      return report.problem(value.at, `${path.join('.')} must be ${expects}, not ${show(value)}`);
    },
  };
}

/** `[a, b]`, an object with keys 1, 2, …, or for lists of scalars a text with commas. */
export function list<T>(item: Shape<T>): Shape<readonly T[]> {
  return {
    expects: `a list, each ${item.expects}`,
    read(value, path, report): readonly T[] | undefined {
      const items = itemsOf(value);
      if (items === undefined) return report.problem(value.at, `${path.join('.')} must be a list, not ${show(value)}`);
      const read: T[] = [];
      for (const [i, one] of items.entries()) {
        const parsed = item.read(one, [...path, String(i + 1)], report);
        if (parsed !== undefined) read.push(parsed);
      }
      return read;
    },
  };
}

function itemsOf(value: Value): readonly Value[] | undefined {
  if (value.kind === 'list') return value.items;
  if (value.kind === 'object') {
    const items: Value[] = [];
    for (let i = 1; i <= value.fields.size; i++) {
      const item = value.fields.get(String(i));
      if (item === undefined) return undefined;
      items.push(item);
    }
    return items.length > 0 ? items : undefined;
  }
  const parts = value.text.split(',').map((part) => part.trim());
  return parts.filter((part) => part !== '').map((text) => ({ kind: 'scalar', value: text, text, quoted: true, at: value.at }));
}

/** An object whose keys are names chosen by the user; the value of each is read by `item`. */
export function named<T>(item: (name: string) => Shape<T>): Shape<readonly T[]> {
  return {
    expects: 'named settings in braces',
    read(value, path, report): readonly T[] | undefined {
      if (value.kind !== 'object') return report.problem(value.at, `${path.join('.')} must be ${this.expects}, not ${show(value)}`);
      const read: T[] = [];
      for (const [name, one] of value.fields) {
        const parsed = item(name).read(one, [...path, name], report);
        if (parsed !== undefined) read.push(parsed);
      }
      return read;
    },
  };
}

/** Where a value stood, for shapes that check more than one setting together. */
export interface Where {
  readonly at: Position;
  readonly path: readonly string[];
  readonly report: Report;
}

/** A shape whose result is made into something else. */
export function mapped<T, U>(inner: Shape<T>, make: (read: T, where: Where) => U): Shape<U> {
  return {
    expects: inner.expects,
    read(value, path, report): U | undefined {
      const read = inner.read(value, path, report);
      return read === undefined ? undefined : make(read, { at: value.at, path, report });
    },
  };
}

export interface Field<T> {
  /** As in the file. */
  readonly key: string;
  readonly aliases: readonly string[];
  readonly shape: Shape<T>;
  readonly absent: () => T;
}

export function field<T>(key: string, shape: Shape<T>, absent: NoInfer<T>, aliases: readonly string[] = []): Field<T> {
  return { key, aliases, shape, absent: () => absent };
}

/** A field that is an object: when it is absent its own fields are. */
export function section<T>(key: string, shape: ObjectShape<T>): Field<T> {
  return { key, aliases: [], shape, absent: () => shape.defaults() };
}

export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> };

export interface ObjectShape<T> extends Shape<T> {
  defaults(): T;
}

/** An object with known keys; the names of `fields` are those of the result. */
export function object<T extends object>(fields: Fields<T>): ObjectShape<T> {
  const entries = Object.entries(fields) as [keyof T, Field<T[keyof T]>][];
  const keys = entries.flatMap(([, f]) => [f.key, ...f.aliases]);
  return {
    expects: 'settings in braces',
    read(value, path, report): T | undefined {
      if (value.kind !== 'object') return report.problem(value.at, `${path.join('.')} must be ${this.expects}, not ${show(value)}`);
      for (const [key, child] of value.fields) if (!keys.includes(key)) report.unknownKey([...path, key], child.at, keys);
      const result = entries.map(([name, f]) => [name, readField(f, value, path, report)]);
      return Object.fromEntries(result) as T;
    },
    defaults: () => Object.fromEntries(entries.map(([name, f]) => [name, f.absent()])) as T,
  };
}

function readField<T>(f: Field<T>, from: ObjectValue, path: readonly string[], report: Report): T {
  const spellings = [f.key, ...f.aliases].flatMap((key) => {
    const value = from.fields.get(key);
    return value === undefined ? [] : [{ key, value }];
  });
  // The environment lies above the file, whichever of the names it uses.
  const top = spellings.some((s) => fromEnvironment(s.value.at)) ? spellings.filter((s) => fromEnvironment(s.value.at)) : spellings;
  const [first, second] = top;
  if (first === undefined) return f.absent();
  if (second !== undefined && !sameScalar(first.value, second.value)) {
    report.problem(
      second.value.at,
      `${[...path, first.key].join('.')} and ${[...path, second.key].join('.')} mean the same and have different values; keep one`,
    );
    return f.absent();
  }
  return f.shape.read(first.value, [...path, first.key], report) ?? f.absent();
}

function sameScalar(a: Value, b: Value): boolean {
  return a.kind === 'scalar' && b.kind === 'scalar' && a.text === b.text;
}

const shownLengthMax = 40;

/** A value in a message; never more than a line. Secrets are refused by shape, not shown: see `secret`. */
function show(value: Value): string {
  if (value.kind !== 'scalar') return value.kind === 'list' ? 'a list' : 'settings in braces';
  const text = value.text.length > shownLengthMax ? `${value.text.slice(0, shownLengthMax)}…` : value.text;
  return text === '' ? 'empty' : text;
}

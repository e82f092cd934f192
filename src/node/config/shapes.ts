// The shapes of single settings: numbers, durations, sizes, addresses, choices.
import type { Value } from '../hocon/nodes.js';
import { parseBytes, parseDurationMs, parseRatePerSecond } from '../hocon/units.js';
import type { HostPort, NodeAddress, Plain, PlainObject } from './config.js';
import { type Shape, scalar } from './shape.js';

/** Port of the cluster links where an address names none. */
export const clusterPort = 4370;

/** `infinity` where a bound may be absent. */
const infinities: ReadonlySet<string> = new Set(['infinity', 'unlimited', 'never']);

export const text: Shape<string> = scalar('a text', (t) => t);
export const nonEmpty: Shape<string> = scalar('a text that is not empty', (t) => (t === '' ? undefined : t));

export const flag: Shape<boolean> = scalar('true or false', (t) => {
  if (t === 'true' || t === 'on' || t === 'yes') return true;
  return t === 'false' || t === 'off' || t === 'no' ? false : undefined;
});

export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Shape<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`;
  return scalar(range, (t) => {
    const n = /^-?[0-9]+$/.test(t) ? Number(t) : Number.NaN;
    return n >= min && n <= max ? n : undefined;
  });
}

/** A count that may be `infinity`. */
export function limit(min: number): Shape<number> {
  return orInfinity(integer(min));
}

export function decimal(min: number, max: number): Shape<number> {
  return scalar(`a number from ${min} to ${max}`, (t) => {
    const n = /^-?[0-9]+(?:\.[0-9]+)?$/.test(t) ? Number(t) : Number.NaN;
    return n >= min && n <= max ? n : undefined;
  });
}

export function choice<T extends string>(...words: readonly T[]): Shape<T> {
  return scalar(words.length === 2 ? words.join(' or ') : `one of ${words.join(', ')}`, (t) => words.find((w) => w === t));
}

export function duration(minMs: number = 0): Shape<number> {
  const least = minMs > 0 ? ` of at least ${minMs}ms` : '';
  return scalar(`a duration${least} such as 15s`, (t) => {
    const ms = t === '0' ? 0 : parseDurationMs(t);
    return ms !== undefined && ms >= minMs ? ms : undefined;
  });
}

export const durationOrInfinity: Shape<number> = orInfinity(duration());

export function size(minBytes: number = 0): Shape<number> {
  return scalar(`a size${minBytes > 0 ? ` of at least ${minBytes} bytes` : ''} such as 1MB`, (t) => {
    const bytes = parseBytes(t);
    return bytes !== undefined && bytes >= minBytes ? bytes : undefined;
  });
}

export const sizeOrInfinity: Shape<number> = orInfinity(size());

/** An amount per second, `infinity` by default. */
export const rate: Shape<number> = orInfinity(
  scalar('a rate above 0 such as 1000/s', (t) => {
    const perSecond = parseRatePerSecond(t);
    return perSecond === undefined || perSecond <= 0 ? undefined : perSecond;
  }),
);

function orInfinity(inner: Shape<number>): Shape<number> {
  const expects = `${inner.expects}, or infinity`;
  return {
    expects,
    read(value, path, report): number | undefined {
      if (value.kind === 'scalar' && infinities.has(value.text)) return Number.POSITIVE_INFINITY;
      return inner.read(value, path, report);
    },
  };
}

/** `disabled` (or whatever `word` is) for undefined. */
export function orWord<T>(word: string, inner: Shape<T>): Shape<T | undefined> {
  return {
    expects: `${inner.expects}, or ${word}`,
    read(value, path, report): T | undefined {
      return value.kind === 'scalar' && value.text === word ? undefined : inner.read(value, path, report);
    },
  };
}

/** Where to listen: `1883`, `127.0.0.1:1883`, `[::1]:1883`, `:1883`. */
export function bind(anyHost: string): Shape<HostPort> {
  return scalar('an address such as 127.0.0.1:1883 or a port', (t) => {
    if (/^:?[0-9]+$/.test(t)) return hostPort(anyHost, t.replace(':', ''));
    const parts = /^(.+):([0-9]+)$/.exec(t);
    return parts === null ? undefined : hostPort(parts[1] ?? '', parts[2] ?? '');
  });
}

function hostPort(host: string, portText: string): HostPort | undefined {
  const bare = /^\[(.+)\]$/.exec(host)?.[1] ?? host;
  const port = Number(portText);
  if (!/^[\w.:%-]+$/.test(bare) || (bare.includes(':') && bare === host) || port > 65_535) return undefined;
  return { host: bare, port };
}

/** `NAME@HOST`; what the rest of the system calls a node. */
export const nodeName: Shape<string> = scalar('a node name such as core1@10.0.0.5', (t) => (/^[\w-]{1,64}@[\w.:-]{1,253}$/.test(t) ? t : undefined));

/** `core1@10.0.0.5`, `core1@10.0.0.5:4370`, `core1@[::1]:4370`. */
export const nodeAddress: Shape<NodeAddress> = scalar('a node such as core1@10.0.0.5 or core1@10.0.0.5:4370', (t) => {
  const parts = /^([\w-]{1,64})@(\[[^\]]+\]|[^:@]+)(?::([0-9]+))?$/.exec(t);
  if (parts === null) return undefined;
  const address = hostPort(parts[2] ?? '', parts[3] ?? String(clusterPort));
  return address === undefined || address.port === 0 ? undefined : { name: `${parts[1]}@${address.host}`, ...address };
});

/** Settings that another room reads: as plain data. */
export const plainObject: Shape<PlainObject> = {
  expects: 'settings in braces',
  read(value, path, report): PlainObject | undefined {
    if (value.kind !== 'object') return report.problem(value.at, `${path.join('.')} must be settings in braces`);
    return plain(value) as PlainObject;
  },
};

function plain(value: Value): Plain {
  if (value.kind === 'scalar') return value.value;
  if (value.kind === 'list') return value.items.map(plain);
  const result: Record<string, Plain> = Object.create(null) as Record<string, Plain>;
  for (const [key, child] of value.fields) result[key] = plain(child);
  return result;
}

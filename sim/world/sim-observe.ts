// What a simulated process tells: a ring of its last log lines, for failure reports, and a plain
// registry of metrics, for checks. Made by sim-env.ts.
import { assert } from '#base/assert.js';
import type { LogFields, Logger } from '#env/logger.js';
import type { Counter, Gauge, Histogram, Labels, Metrics } from '#env/metrics.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LogLine {
  readonly at: number;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields | undefined;
}

/** The last lines that a node logged, over all its lives. */
export class LogRing {
  readonly #lines: LogLine[] = [];
  readonly #max: number;
  readonly #now: () => number;
  /** Called with each line, e.g. to print while hunting a bug. */
  onLine: ((line: LogLine) => void) | undefined;

  constructor(now: () => number, max: number = 400) {
    this.#now = now;
    this.#max = max;
  }

  logger(): Logger {
    const at =
      (level: LogLevel) =>
      (message: string, fields?: LogFields): void =>
        this.#add({ at: this.#now(), level, message, fields });
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  }

  #add(line: LogLine): void {
    if (this.#lines.length >= 2 * this.#max) this.#lines.splice(0, this.#max);
    this.#lines.push(line);
    this.onLine?.(line);
  }

  lines(): readonly LogLine[] {
    return this.#lines.slice(-this.#max);
  }

  has(message: string): boolean {
    return this.#lines.some((l) => l.message.includes(message));
  }

  /** The last `count` lines as text. */
  tail(count: number): string {
    return this.#lines.slice(-count).map(lineText).join('\n');
  }
}

export function lineText(line: LogLine): string {
  const fields = line.fields === undefined ? '' : ` ${JSON.stringify(line.fields)}`;
  return `${line.at.toFixed(3).padStart(12)} ${line.level} ${line.message}${fields}`;
}

class SimHistogram implements Histogram {
  count = 0;
  sum = 0;
  max = 0;

  observe(value: number): void {
    this.count++;
    this.sum += value;
    if (value > this.max) this.max = value;
  }
}

export class SimMetrics implements Metrics {
  readonly #numbers = new Map<string, Counter & Gauge>();
  readonly #reads = new Map<string, () => number | undefined>();
  readonly #histograms = new Map<string, SimHistogram>();

  counter(name: string, _help: string, labels: Labels = {}): Counter {
    return this.#number(key(name, labels));
  }

  gauge(name: string, _help: string, labels: Labels = {}): Gauge {
    return this.#number(key(name, labels));
  }

  gaugeFn(name: string, _help: string, labels: Labels, read: () => number | undefined): void {
    this.#reads.set(key(name, labels), read);
  }

  histogram(name: string, _help: string, buckets: readonly number[], labels: Labels = {}): Histogram {
    assert(
      buckets.every((b, i) => i === 0 || b > (buckets[i - 1] as number)),
      'buckets ascend',
    );
    const k = key(name, labels);
    const known = this.#histograms.get(k);
    if (known !== undefined) return known;
    const made = new SimHistogram();
    this.#histograms.set(k, made);
    return made;
  }

  /** The value of one sample; without labels, the sum over all that carry the name. */
  value(name: string, labels?: Labels): number {
    if (labels !== undefined) {
      const k = key(name, labels);
      return this.#numbers.get(k)?.value ?? this.#reads.get(k)?.() ?? this.#histograms.get(k)?.count ?? 0;
    }
    let sum = 0;
    for (const [k, n] of this.#numbers) if (k.startsWith(`${name}{`)) sum += n.value;
    for (const [k, read] of this.#reads) if (k.startsWith(`${name}{`)) sum += read() ?? 0;
    for (const [k, h] of this.#histograms) if (k.startsWith(`${name}{`)) sum += h.count;
    return sum;
  }

  #number(k: string): Counter & Gauge {
    const known = this.#numbers.get(k);
    if (known !== undefined) return known;
    const made = { value: 0 };
    this.#numbers.set(k, made);
    return made;
  }
}

function key(name: string, labels: Labels): string {
  let k = `${name}{`;
  for (const label of sortedNames(labels)) k += `${label}=${labels[label]},`;
  return `${k}}`;
}

/** Most come in order, and there are one or two: sorting them anew costs more than looking. */
function sortedNames(labels: Labels): readonly string[] {
  const names = Object.keys(labels);
  if (names.length === 2) return (names[0] as string) < (names[1] as string) ? names : [names[1] as string, names[0] as string];
  for (let i = 1; i < names.length; i++) if ((names[i - 1] as string) > (names[i] as string)) return names.sort();
  return names;
}

// env's metrics: a registry of plain objects. Hot paths hold the objects; `admin` calls `collect`
// when the Prometheus page is asked for.
import { assert } from '#base/assert.js';
import type { HistogramSample, MetricFamily, Sample } from '#env/metric-family.js';
import type { Counter, Gauge, Histogram, Labels, Metrics } from '#env/metrics.js';

type Kind = MetricFamily['type'];

class OsHistogram implements Histogram {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  count = 0;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const bounds = this.bounds;
    let i = 0;
    while (i < bounds.length && value > (bounds[i] as number)) i++;
    this.counts[i] = (this.counts[i] as number) + 1;
    this.count++;
    this.sum += value;
  }

  sample(labels: Labels): HistogramSample {
    let total = 0;
    const buckets = this.bounds.map((le, i) => {
      total += this.counts[i] as number;
      return { le, count: total };
    });
    return { labels, buckets, count: this.count, sum: this.sum };
  }
}

interface Entry {
  readonly labels: Labels;
  readonly value: { value: number } | OsHistogram | (() => number | undefined);
}

interface Family {
  readonly kind: Kind;
  readonly name: string;
  readonly help: string;
  /** By the labels' text. */
  readonly entries: Map<string, Entry>;
}

const noLabels: Labels = {};

export class OsMetrics implements Metrics {
  readonly #families = new Map<string, Family>();

  counter(name: string, help: string, labels: Labels = noLabels): Counter {
    return this.#entry('counter', name, help, labels, () => ({ value: 0 })) as Counter;
  }

  gauge(name: string, help: string, labels: Labels = noLabels): Gauge {
    return this.#entry('gauge', name, help, labels, () => ({ value: 0 })) as Gauge;
  }

  gaugeFn(name: string, help: string, labels: Labels, read: () => number | undefined): void {
    // A later owner of the same gauge replaces the earlier one (something was restarted).
    this.#family('gauge', name, help).entries.set(labelsText(labels), { labels, value: read });
  }

  histogram(name: string, help: string, buckets: readonly number[], labels: Labels = noLabels): Histogram {
    return this.#entry('histogram', name, help, labels, () => new OsHistogram(buckets)) as Histogram;
  }

  /** Every family with its samples, in the order of registration. */
  collect(): MetricFamily[] {
    const out: MetricFamily[] = [];
    for (const { kind, name, help, entries } of this.#families.values()) {
      if (kind === 'histogram') {
        const samples: HistogramSample[] = [];
        for (const e of entries.values()) if (e.value instanceof OsHistogram) samples.push(e.value.sample(e.labels));
        out.push({ type: kind, name, help, samples });
        continue;
      }
      const samples: Sample[] = [];
      for (const { labels, value } of entries.values()) {
        if (value instanceof OsHistogram) continue;
        const number = typeof value === 'function' ? value() : value.value;
        if (number !== undefined) samples.push({ labels, value: number });
      }
      out.push({ type: kind, name, help, samples });
    }
    return out;
  }

  #family(kind: Kind, name: string, help: string): Family {
    let family = this.#families.get(name);
    if (family === undefined) {
      assert(/^[a-z_][a-z0-9_]*$/.test(name), `metrics: bad name ${name}`);
      family = { kind, name, help, entries: new Map() };
      this.#families.set(name, family);
    }
    assert(family.kind === kind, `metrics: ${name} is a ${family.kind}, not a ${kind}`);
    return family;
  }

  #entry(kind: Kind, name: string, help: string, labels: Labels, make: () => { value: number } | OsHistogram): unknown {
    const { entries } = this.#family(kind, name, help);
    const key = labelsText(labels);
    const found = entries.get(key);
    if (found !== undefined && typeof found.value !== 'function') return found.value;
    const value = make();
    entries.set(key, { labels, value });
    return value;
  }
}

function labelsText(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

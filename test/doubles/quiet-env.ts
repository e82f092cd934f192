// Metrics that can be read by name, and a log that says nothing.
import type { Logger } from '#env/logger.js';
import type { Counter, Gauge, Histogram, Labels, Metrics } from '#env/metrics.js';

export class ReadableMetrics implements Metrics {
  readonly #all: Map<string, { value: number }> = new Map();

  counter(name: string, _help: string, labels: Labels = {}): Counter {
    return this.#metric(name, labels);
  }

  gauge(name: string, _help: string, labels: Labels = {}): Gauge {
    return this.#metric(name, labels);
  }

  gaugeFn(): void {}

  histogram(): Histogram {
    return { observe: () => {} };
  }

  read(name: string, labels: Labels = {}): number {
    return this.#metric(name, labels).value;
  }

  /** All that are not 0, by name and labels. */
  all(): Record<string, number> {
    return Object.fromEntries([...this.#all].filter(([, { value }]) => value !== 0).map(([key, { value }]) => [key, value]));
  }

  #metric(name: string, labels: Labels): { value: number } {
    const key = name + JSON.stringify(labels);
    let metric = this.#all.get(key);
    if (metric === undefined) {
      metric = { value: 0 };
      this.#all.set(key, metric);
    }
    return metric;
  }
}

export const quietLog: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

// Metrics as plain objects that hot paths may touch: no lookup by name or label at run time.
// `admin` walks the registry when the Prometheus page is asked for.

export type Labels = Readonly<Record<string, string>>;

export interface Counter {
  /** Hot paths write `counter.value += n`. Only grows. */
  value: number;
}

export interface Gauge {
  value: number;
}

export interface Histogram {
  observe(value: number): void;
}

export interface Metrics {
  /** The same name and labels give the same object. `name` as it appears on the page. */
  counter(name: string, help: string, labels?: Labels): Counter;
  gauge(name: string, help: string, labels?: Labels): Gauge;
  /** A gauge whose value is asked for when the page is made; undefined leaves the sample out. */
  gaugeFn(name: string, help: string, labels: Labels, read: () => number | undefined): void;
  /** `buckets`: upper bounds, ascending. */
  histogram(name: string, help: string, buckets: readonly number[], labels?: Labels): Histogram;
}

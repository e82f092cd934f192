// The metrics of every node on one page (`?mode=all_nodes_unaggregated`, or added up over the nodes with
// `?mode=all_nodes_aggregated`): each node sends its families as JSON when it is asked; samples without
// a `node` label get one here.

import type { HistogramSample, MetricFamily, Sample } from '#env/metric-family.js';
import type { Labels } from '#env/metrics.js';
import type { AdminNode } from './admin-node.js';
import { shardFamilies } from './shard-metrics.js';

/** Everything of this node's page. */
export function nodeFamilies(node: AdminNode): MetricFamily[] {
  return [...shardFamilies(node), ...node.collect()];
}

export function encodeFamilies(families: readonly MetricFamily[]): string {
  return JSON.stringify(families);
}

/** What another node sent; undefined when it cannot be read. Numbers that JSON does not know are left out. */
export function decodeFamilies(text: string): MetricFamily[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return Array.isArray(value) && value.every(isFamily) ? value : undefined;
}

function isFamily(value: unknown): value is MetricFamily {
  if (!isObject(value) || typeof value.name !== 'string' || typeof value.help !== 'string' || !Array.isArray(value.samples)) return false;
  if (!/^[a-z_][a-z0-9_]*$/.test(value.name)) return false;
  const { type, samples } = value;
  if (type !== 'counter' && type !== 'gauge' && type !== 'histogram') return false;
  return samples.every((s) => isObject(s) && isLabels(s.labels) && (type === 'histogram' ? isHistogram(s) : numberOrNull(s.value)));
}

function isHistogram(s: Readonly<Record<string, unknown>>): boolean {
  const { buckets, count, sum } = s;
  return (
    Array.isArray(buckets) &&
    buckets.every((b) => isObject(b) && numberOrNull(b.le) && numberOrNull(b.count)) &&
    numberOrNull(count) &&
    numberOrNull(sum)
  );
}

function isLabels(value: unknown): value is Labels {
  return isObject(value) && Object.entries(value).every(([k, v]) => /^[a-z_][a-z0-9_]*$/.test(k) && typeof v === 'string');
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function numberOrNull(value: unknown): boolean {
  return typeof value === 'number' || value === null;
}

/** The families with `node` in every sample. */
export function labelled(node: string, families: readonly MetricFamily[]): MetricFamily[] {
  return families.map((f) =>
    f.type === 'histogram'
      ? { ...f, samples: f.samples.map((s) => ({ ...s, labels: { ...s.labels, node } })) }
      : { ...f, samples: f.samples.filter((s) => s.value !== null).map((s) => ({ ...s, labels: { ...s.labels, node } })) },
  );
}

/** One family per name over all nodes: samples that differ only in their node are added up. */
export function summed(all: Iterable<MetricFamily>): MetricFamily[] {
  const families = new Map<string, { readonly first: MetricFamily; readonly samples: Map<string, Sample | HistogramSample> }>();
  for (const family of all) {
    let sum = families.get(family.name);
    if (sum === undefined) {
      sum = { first: family, samples: new Map() };
      families.set(family.name, sum);
    }
    // Two versions of a program may disagree about a name: what cannot be added is left out.
    if (sum.first.type !== family.type) continue;
    for (const sample of family.samples) {
      const { node: _node, ...labels } = sample.labels;
      const key = JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
      const old = sum.samples.get(key);
      sum.samples.set(key, old === undefined ? { ...sample, labels } : added(old, sample));
    }
  }
  return [...families.values()].map(({ first, samples }) => ({ ...first, samples: [...samples.values()] }) as MetricFamily);
}

function added(a: Sample | HistogramSample, b: Sample | HistogramSample): Sample | HistogramSample {
  if ('value' in a && 'value' in b) return { ...a, value: a.value + b.value };
  if (!('buckets' in a && 'buckets' in b)) return a;
  const counts = new Map(b.buckets.map((bucket) => [bucket.le, bucket.count]));
  const buckets = a.buckets.map(({ le, count }) => ({ le, count: count + (counts.get(le) ?? 0) }));
  return { ...a, buckets, count: a.count + b.count, sum: a.sum + b.sum };
}

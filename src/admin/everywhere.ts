// The metrics of every node on one page (`?mode=all_nodes_unaggregated`): each node sends its
// families as JSON when it is asked; samples without a `node` label get one here.
import type { Labels } from '#env/metrics.js';
import type { AdminNode } from './admin-node.js';
import type { MetricFamily } from './metric-family.js';
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

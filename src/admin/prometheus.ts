// The Prometheus text exposition format, version 0.0.4.

import type { MetricFamily } from '#env/metric-family.js';
import type { Labels } from '#env/metrics.js';

export const prometheusContentType: string = 'text/plain; version=0.0.4; charset=utf-8';

/** One page. A family that is given twice is written once, with the samples of both; families without samples are left out. */
export function prometheusText(families: Iterable<MetricFamily>): string {
  const parts = new Map<string, string[]>();
  for (const family of families) {
    if (family.samples.length === 0) continue;
    let lines = parts.get(family.name);
    if (lines === undefined) {
      lines = [`# HELP ${family.name} ${escapeHelp(family.help)}`, `# TYPE ${family.name} ${family.type}`];
      parts.set(family.name, lines);
    }
    writeSamples(family, lines);
  }
  let text = '';
  for (const lines of parts.values()) text += `${lines.join('\n')}\n`;
  return text;
}

function writeSamples(family: MetricFamily, lines: string[]): void {
  const { name } = family;
  if (family.type !== 'histogram') {
    for (const s of family.samples) lines.push(`${name}${labelsText(s.labels)} ${numberText(s.value)}`);
    return;
  }
  for (const s of family.samples) {
    for (const b of s.buckets) lines.push(`${name}_bucket${labelsText({ ...s.labels, le: numberText(b.le) })} ${numberText(b.count)}`);
    lines.push(`${name}_bucket${labelsText({ ...s.labels, le: '+Inf' })} ${numberText(s.count)}`);
    lines.push(`${name}_sum${labelsText(s.labels)} ${numberText(s.sum)}`);
    lines.push(`${name}_count${labelsText(s.labels)} ${numberText(s.count)}`);
  }
}

function labelsText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** Backslash, double quote and line feed; other bytes stand for themselves. */
function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
}

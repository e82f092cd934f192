// From the names of the Prometheus page to those under `$SYS/brokers/NODE`: `emqx_messages_qos0_received`
// is `metrics/messages/qos0/received`, `emqx_connections_count` is `stats/connections/count`. As in EMQX the
// points of its names are levels there; names whose parts hold an underscore are listed.
import type { MetricFamily } from '#env/metric-family.js';

const prefix = 'emqx_';

/** Parts of EMQX's names that hold an underscore. */
const whole: readonly string[] = [
  'no_subscribers',
  'await_pubrel_timeout',
  'no_local',
  'queue_full',
  'too_large',
  'qos0_msg',
  'auth_error',
  'live_connections',
  'auth_anonymous',
];

/** `stats/…` or `metrics/…` of a family; undefined for those that EMQX does not have there. */
export function sysName(family: Pick<MetricFamily, 'name' | 'type'>): string | undefined {
  if (!family.name.startsWith(prefix) || family.type === 'histogram') return undefined;
  let name = family.name.slice(prefix.length);
  for (const part of whole)
    name = name.replace(new RegExp(`(^|_)${part}(_|$)`), (_, a: string, b: string) => `${a}${part.replaceAll('_', '\0')}${b}`);
  const levels = name.replaceAll('_', '/').replaceAll('\0', '_');
  return `${family.type === 'gauge' ? 'stats' : 'metrics'}/${levels}`;
}

/** Those without labels, which are the node's own. */
export function metricTopics(families: readonly MetricFamily[]): [string, number][] {
  const out: [string, number][] = [];
  for (const family of families) {
    const name = sysName(family);
    if (name === undefined || family.type === 'histogram') continue;
    for (const { labels, value } of family.samples) {
      if (Object.keys(labels).length === 0 && Number.isFinite(value)) out.push([name, Math.floor(value)]);
    }
  }
  return out;
}

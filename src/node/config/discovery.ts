// Settings of discovery: `cluster.discovery_strategy`, `cluster.dns`, `cluster.k8s`. Names and defaults are EMQX's.
import type { Position } from '../hocon/errors.js';
import type { DiscoveryConfig, DiscoveryStrategy, DnsConfig, K8sConfig } from './config.js';
import { field, list, mapped, type ObjectShape, object, type Report, type Shape } from './shape.js';
import { choice, nonEmpty } from './shapes.js';

// Known words that are refused with a reason instead of "must be one of".
export const strategy: Shape<DiscoveryStrategy> = mapped(choice('manual', 'static', 'singleton', 'dns', 'k8s', 'etcd', 'mcast'), (word, where) => {
  if (word !== 'etcd' && word !== 'mcast') return word;
  where.report.problem(where.at, `${where.path.join('.')} = ${word} is not available; list the cores in cluster.static.seeds, or use dns or k8s`);
  return 'static';
});

export const dns: ObjectShape<DnsConfig> = object<DnsConfig>({
  name: field('name', nonEmpty, 'localhost'),
  recordType: field('record_type', choice('a', 'aaaa', 'srv'), 'a'),
  servers: field('servers', list(nonEmpty), []),
});

const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount';

export const k8s: ObjectShape<K8sConfig> = object<K8sConfig>({
  apiserver: field('apiserver', nonEmpty, 'https://kubernetes.default.svc:443'),
  serviceName: field('service_name', nonEmpty, 'emqx'),
  addressType: field('address_type', choice('ip', 'dns', 'hostname'), 'ip'),
  suffix: field('suffix', nonEmpty, 'pod.local'),
  namespace: field('namespace', nonEmpty, 'default'),
  tokenfile: field('tokenfile', nonEmpty, `${serviceAccount}/token`),
  cacertfile: field('cacertfile', nonEmpty, `${serviceAccount}/ca.crt`),
});

interface Written {
  readonly strategy: DiscoveryStrategy;
  readonly dns: DnsConfig;
  readonly k8s: K8sConfig;
  readonly coreCount: number | undefined;
}

/** `looks`: a core that is configured with no other's name. */
export function completeDiscovery(
  { strategy: word, dns, k8s, coreCount }: Written,
  looks: boolean,
  at: Position,
  report: Report,
): DiscoveryConfig | undefined {
  const asks = word === 'dns' || word === 'k8s';
  if (asks && looks && coreCount === undefined) {
    report.problem(
      at,
      `cluster.discovery_strategy = ${word} needs cluster.core_count, the number of cores that form the cluster when it begins: without it two halves could become two clusters`,
    );
  }
  if (!asks && coreCount !== undefined)
    report.problem(at, `cluster.core_count is for discovery by dns or k8s; with ${word} the cores are those that are listed`);
  if (word === 'k8s' && !k8s.apiserver.startsWith('https://'))
    report.problem(at, 'cluster.k8s.apiserver must begin with https://: the token goes there');
  if (word === 'dns') return { kind: 'dns', ...dns };
  return word === 'k8s' ? { kind: 'k8s', ...k8s } : undefined;
}

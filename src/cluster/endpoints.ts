// What the Kubernetes API says of a service, read into addresses. Pure; takes text from outside: it never
// throws and keeps within bounds. Used by discovery.ts.
import type { FoundHost } from '#env/lookups.js';

export interface K8sSettings {
  /** `https://kubernetes.default.svc:443`. */
  readonly apiserver: string;
  readonly serviceName: string;
  readonly namespace: string;
  /** ip: of the pods · dns: `10-0-0-5.NAMESPACE.SUFFIX` · hostname: `HOSTNAME.SERVICE.NAMESPACE.SUFFIX`. */
  readonly addressType: 'ip' | 'dns' | 'hostname';
  readonly suffix: string;
  readonly tokenfile: string;
  readonly cacertfile: string;
}

export function endpointsUrl(s: K8sSettings): string {
  const base = s.apiserver.endsWith('/') ? s.apiserver.slice(0, -1) : s.apiserver;
  return `${base}/api/v1/namespaces/${encodeURIComponent(s.namespace)}/endpoints/${encodeURIComponent(s.serviceName)}`;
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * The addresses of all pods of the service, those that are not ready included: a core is not ready before
 * the cluster has formed. A sentence where the text is nothing of that.
 */
export function readEndpoints(text: string, s: K8sSettings): readonly FoundHost[] | string {
  let root: Json;
  try {
    root = JSON.parse(text) as Json;
  } catch {
    return 'the Kubernetes API does not answer in JSON';
  }
  const subsets = member(root, 'subsets');
  if (subsets === undefined || subsets === null)
    return member(root, 'kind') === 'Endpoints' ? [] : 'the Kubernetes API does not answer with endpoints';
  if (!isList(subsets)) return 'the Kubernetes API does not answer with endpoints';
  const hosts = new Map<string, FoundHost>();
  for (const subset of subsets) {
    for (const kind of ['addresses', 'notReadyAddresses']) {
      const list = member(subset, kind);
      if (!isList(list)) continue;
      for (const one of list) {
        const host = hostOf(one, s);
        if (host !== undefined) hosts.set(host, { host, port: undefined });
      }
    }
  }
  return [...hosts.values()];
}

function hostOf(address: Json, s: K8sSettings): string | undefined {
  const ip = member(address, 'ip');
  const hostname = member(address, 'hostname');
  switch (s.addressType) {
    case 'ip':
      return typeof ip === 'string' ? ip : undefined;
    case 'dns':
      return typeof ip === 'string' ? `${ip.replaceAll(/[.:]/g, '-')}.${s.namespace}.${s.suffix}` : undefined;
    case 'hostname':
      return typeof hostname === 'string' ? `${hostname}.${s.serviceName}.${s.namespace}.${s.suffix}` : undefined;
  }
}

function member(of: Json, key: string): Json | undefined {
  if (of === null || typeof of !== 'object' || isList(of)) return undefined;
  return Object.hasOwn(of, key) ? of[key] : undefined;
}

function isList(of: Json | undefined): of is readonly Json[] {
  return Array.isArray(of);
}

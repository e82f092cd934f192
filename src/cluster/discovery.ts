// Where other nodes may be, asked of DNS or of Kubernetes again and again. What comes out is a set of
// addresses to dial, nothing more: who answers there, and whether it is one of ours, is the links' and
// formation's business. Owned by cluster.ts.
// Invariants: one question at a time; an answer that fails changes nothing, an empty one neither while
// others are known (a resolver that has just lost its data must not cut a cluster apart).
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { FoundHost, Lookups, RecordType } from '#env/lookups.js';
import type { NetAddress } from '#env/net.js';
import { endpointsUrl, type K8sSettings, readEndpoints } from './endpoints.js';

export interface DnsSettings {
  readonly name: string;
  readonly recordType: RecordType;
  readonly servers: readonly string[];
}

export type DiscoverySource = ({ readonly kind: 'dns' } & DnsSettings) | ({ readonly kind: 'k8s' } & K8sSettings);

export interface DiscoveryOptions {
  readonly lookups: Lookups;
  readonly source: DiscoverySource;
  /** The cluster port of nodes for which the answer names none. */
  readonly port: number;
  readonly intervalMs: number;
}

const lookupMs = 5_000;
/** Endpoints of a thousand pods take about 300 KB. */
const answerBytesMax = 4 * 1024 * 1024;
/** More are not dialled. */
export const addressesMax = 1_000;

/** Sorted, each once, within bounds. */
export function addressesOf(hosts: readonly FoundHost[], port: number): NetAddress[] {
  const found = new Map<string, NetAddress>();
  for (const h of hosts) {
    const at = { host: h.host.endsWith('.') ? h.host.slice(0, -1) : h.host, port: h.port ?? port };
    if (at.host !== '' && at.port > 0 && at.port < 65_536) found.set(addressName(at), at);
  }
  return [...found]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, at]) => at)
    .slice(0, addressesMax);
}

/** How an address is called as a target, until it is known who answers there. */
export function addressName({ host, port }: NetAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

export class Discovery {
  readonly #env: Env;
  readonly #o: DiscoveryOptions;
  readonly #onChange: () => void;
  #timer: Timer | undefined;
  #addresses: readonly NetAddress[] = [];
  #asked = false;
  #complaint = '';
  #stopped = false;

  constructor(env: Env, options: DiscoveryOptions, onChange: () => void) {
    this.#env = env;
    this.#o = options;
    this.#onChange = onChange;
  }

  /** As last answered. */
  get addresses(): readonly NetAddress[] {
    return this.#addresses;
  }

  /** An answer has come: what is not in `addresses` is not there. */
  get answered(): boolean {
    return this.#asked;
  }

  /** Why there is no answer; '' when the last question had one. */
  get complaint(): string {
    return this.#complaint;
  }

  start(): void {
    if (this.#stopped) return;
    this.#ask((error, hosts) => {
      if (this.#stopped) return;
      this.#take(error, hosts);
      const { intervalMs } = this.#o;
      // Not all nodes in the same moment.
      this.#timer = this.#env.clock.setTimer(intervalMs * (0.75 + this.#env.random.next() / 2), () => this.start());
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #ask(done: (error: string | undefined, hosts: readonly FoundHost[]) => void): void {
    const { lookups, source } = this.#o;
    if (source.kind === 'dns') return lookups.dns({ ...source, timeoutMs: lookupMs }, done);
    const { tokenfile, cacertfile } = source;
    lookups.https({ url: endpointsUrl(source), tokenfile, cacertfile, timeoutMs: lookupMs, bytesMax: answerBytesMax }, (error, body) => {
      if (error !== undefined) return done(error, []);
      const read = readEndpoints(body, source);
      if (typeof read === 'string') done(read, []);
      else done(undefined, read);
    });
  }

  #take(error: string | undefined, hosts: readonly FoundHost[]): void {
    const { log } = this.#env;
    if (error !== undefined) {
      if (error !== this.#complaint) log.warn('discovery has no answer; asking again', { why: error });
      this.#complaint = error;
      return;
    }
    this.#complaint = '';
    const first = !this.#asked;
    this.#asked = true;
    const found = addressesOf(hosts, this.#o.port);
    const names = found.map(addressName).join(', ');
    if (found.length === 0 && this.#addresses.length > 0) {
      log.warn('discovery finds nobody any more; the nodes known so far are kept', {});
      return;
    }
    if (!first && names === this.#addresses.map(addressName).join(', ')) return;
    log.info('discovery', { found: found.length, addresses: names.slice(0, 500) });
    this.#addresses = found;
    this.#onChange();
  }
}

// What discovery finds, as targets of the links, and what is known of who is there. Owned by cluster.ts.
import type { Env } from '#env/env.js';
import type { NetAddress } from '#env/net.js';
import type { Links, PeerTarget } from '#link/api.js';
import { addressName, Discovery, type DiscoveryOptions } from './discovery.js';

export class Finder {
  readonly #links: Links;
  readonly #own: string;
  readonly #discovery: Discovery;

  /** `own`: where others dial this node. */
  constructor(env: Env, links: Links, options: DiscoveryOptions, own: NetAddress, onChange: () => void) {
    this.#links = links;
    this.#own = addressName(own);
    this.#discovery = new Discovery(env, options, onChange);
  }

  start(): void {
    this.#discovery.start();
  }

  stop(): void {
    this.#discovery.stop();
  }

  /** Addresses beside `known` ones. Of two nodes that find each other the smaller address dials first, so that they do not meet half way. */
  targets(known: Iterable<PeerTarget>): PeerTarget[] {
    const addresses = new Set<string>([this.#own]);
    for (const t of known) addresses.add(addressName(t));
    const found: PeerTarget[] = [];
    for (const at of this.#discovery.addresses) {
      const name = addressName(at);
      if (!addresses.has(name)) found.push({ name, role: 'core', ...at, ...(this.#own < name ? { dial: true } : {}) });
    }
    return found;
  }

  /** Addresses of which it is not known who is there, or why nothing at all is known. */
  unknown(): string[] {
    if (!this.#discovery.answered) return [`somebody, perhaps (${this.#discovery.complaint || 'it has not answered yet'})`];
    const { self } = this.#links;
    const there = new Set<string>([this.#own]);
    for (const p of this.#links.peers()) there.add(addressName(p));
    return this.#discovery.addresses.map(addressName).filter((name) => {
      const nodeId = this.#links.answeredAt(name);
      return !there.has(name) && nodeId !== self.nodeId && (nodeId === undefined || this.#links.peer(nodeId) === undefined);
    });
  }
}

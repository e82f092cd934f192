// Which nodes this one is to be linked with, and where they are: configured ones, those that discovery finds,
// the members, and what others tell. A node that may be unknown to those that it needs dials everybody
// itself, and asks each node that it is linked with for the cores that that one knows: a core that was away
// may be led by one that came later, of which it has never heard, and which does not know its address; and of a
// replicant that was away all cores may be new, of which another replicant can tell it.
// Owned by cluster.ts.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Env } from '#env/env.js';
import type { Links, PeerTarget } from '#link/api.js';
import type { DiscoveryOptions } from './discovery.js';
import { Finder } from './finder.js';
import type { Member } from './schema.js';

/** Asks a node: which cores do you know, and where are they? */
const coresMethod = 'cluster.cores';
const askDeadlineMs = 1_000;
/** At once. */
const replicantsAskedMax = 8;
/** Told in one answer. */
const coresToldMax = 64;
/** Kept of what was told. */
const toldMax = 256;
/** A node that has not joined for so long is a stranger: who should dial it may not know where it is. */
const strangerMs = 1_000;
/** As long without a leader, or without any core, and a node that has joined is one, and asks whether it was taken out. */
const lostMs = 5_000;

export interface WhereaboutsOptions {
  readonly env: Env;
  readonly links: Links;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly cores: readonly PeerTarget[];
  readonly discovery?: DiscoveryOptions | undefined;
}

/** What the node is at the moment. forming: it belongs to no cluster, and asks nobody. */
export type Standing = 'forming' | 'joining' | 'lost' | 'joined';

export class Whereabouts {
  readonly #o: WhereaboutsOptions;
  readonly #members: () => Iterable<Member>;
  /** Nodes to begin with: configured, and named by an operator. */
  readonly #seeds: Map<string, PeerTarget> = new Map();
  readonly #finder: Finder | undefined;
  /** By linked nodes, of nodes that are not known otherwise. */
  readonly #told: Map<string, PeerTarget> = new Map();
  #unjoinedSince = 0;
  #stranger = false;
  #askAt = 0;
  #askFrom = 0;
  #suspectAt = 0;

  constructor(options: WhereaboutsOptions, members: () => Iterable<Member>) {
    this.#o = options;
    this.#members = members;
    const { env, links, discovery, host, port } = options;
    if (discovery !== undefined) this.#finder = new Finder(env, links, discovery, { host, port }, () => this.set());
    for (const c of options.cores) if (c.name !== options.name) this.#seeds.set(c.name, c);
    links.handle(coresMethod, (_from, _body, reply) => reply(undefined, this.#known()));
  }

  start(): void {
    this.#unjoinedSince = this.#o.env.clock.now();
    this.set();
    this.#finder?.start();
  }

  stop(): void {
    this.#finder?.stop();
  }

  /** Addresses of which it is not known who is there. */
  unknown(): string[] {
    return this.#finder?.unknown() ?? [];
  }

  add(target: PeerTarget): void {
    this.#seeds.set(target.name, target);
    this.set();
  }

  /** Whoever is up, and the cores in any case: a majority of them must find each other again after any outage. */
  set(): void {
    const { links, name } = this.#o;
    const targets = new Map(this.#seeds);
    for (const m of this.#members()) if (m.up || m.role === 'core') targets.set(m.name, { name: m.name, role: m.role, host: m.host, port: m.port });
    if (!this.#stranger) this.#forget();
    for (const t of this.#told.values()) if (!targets.has(t.name)) targets.set(t.name, t);
    targets.delete(name);
    const all = [...targets.values(), ...(this.#finder?.targets(targets.values()) ?? [])];
    links.setTargets(this.#stranger ? all.map((t) => ({ ...t, dial: true })) : all);
  }

  /** Regularly. `suspect`: the node may have been taken out while it was away. */
  step(standing: Standing, suspect: () => void): void {
    const now = this.#o.env.clock.now();
    const joined = standing === 'joined' || standing === 'lost';
    if (standing === 'joined') this.#unjoinedSince = now;
    const stranger = now - this.#unjoinedSince > (joined ? lostMs : strangerMs);
    if (stranger && joined && now >= this.#suspectAt) {
      this.#suspectAt = now + lostMs;
      suspect();
    }
    if (stranger !== this.#stranger) {
      this.#stranger = stranger;
      this.set();
    }
    if (!stranger || standing === 'forming' || now < this.#askAt) return;
    this.#askAt = now + strangerMs;
    this.#ask();
  }

  // ---- what others know ----

  #ask(): void {
    const { links } = this.#o;
    const peers = links.peers();
    // Replicants too: all cores that this node knew may have been replaced. There may be thousands: others the next time.
    const replicants = peers.filter((p) => p.role !== 'core');
    const from = replicants.length <= replicantsAskedMax ? 0 : this.#askFrom % replicants.length;
    this.#askFrom = from + replicantsAskedMax;
    for (const p of [...peers.filter((one) => one.role === 'core'), ...replicants.slice(from, this.#askFrom)])
      links.call(p.nodeId, coresMethod, new Uint8Array(0), askDeadlineMs, (failure, body) => {
        if (failure === undefined && this.#stranger) this.#learn(readCores(body));
      });
  }

  #learn(cores: readonly PeerTarget[]): void {
    let changed = false;
    for (const c of cores) {
      const known = this.#told.get(c.name);
      if (known?.host === c.host && known.port === c.port) continue;
      if (known === undefined && this.#told.size >= toldMax) break;
      this.#told.set(c.name, c);
      changed = true;
    }
    if (changed) this.set();
  }

  /** It is no stranger any more, and knows for itself: a link that is up stays as long as it is. */
  #forget(): void {
    if (this.#told.size === 0) return;
    const linked = new Set(this.#o.links.peers().map((p) => p.name));
    for (const name of this.#told.keys()) if (!linked.has(name)) this.#told.delete(name);
  }

  /** Those that are linked first: that is where they are. */
  #known(): Uint8Array {
    const cores = new Map<string, PeerTarget>();
    for (const t of [...this.#o.links.peers(), ...this.#members()])
      if (t.role === 'core' && !cores.has(t.name) && cores.size < coresToldMax)
        cores.set(t.name, { name: t.name, role: 'core', host: t.host, port: t.port });
    return encodeCores([...cores.values()]);
  }
}

export function encodeCores(cores: readonly PeerTarget[]): Uint8Array {
  const w = new ByteWriter(256);
  w.varint(cores.length);
  for (const c of cores) {
    w.string(c.name);
    w.string(c.host);
    w.varint(c.port);
  }
  return w.finish();
}

/** Those that can be dialled; none when it is not ours to read. */
export function readCores(body: Uint8Array): readonly PeerTarget[] {
  try {
    const r = new ByteReader(body);
    const all: PeerTarget[] = Array.from({ length: r.count() }, () => ({ name: r.string(), role: 'core', host: r.string(), port: r.varint() }));
    return all.filter((t) => t.name !== '' && t.host !== '' && t.port > 0 && t.port < 65_536);
  } catch (error) {
    if (error instanceof MalformedError) return [];
    throw error;
  }
}

// Nodes that only have links, for the tests of `src/link` in the simulated world: each records what
// it hears. Used by link*.test.ts.
import assert from 'node:assert/strict';
import type { Lane, Links, PeerHello, PeerTarget } from '#link/api.js';
import { createLinks } from '#link/links.js';
import type { LinkLimits } from '#link/options.js';
import { World, type WorldOptions } from './scheduler.js';
import { createSimNode, type SimNode } from './sim-env.js';
import { SimNet } from './sim-net.js';

export interface LinkNodeOptions {
  readonly cookie?: string;
  readonly clusterId?: string;
  readonly role?: 'core' | 'replicant';
  readonly nodeId?: string;
  readonly limits?: Partial<LinkLimits>;
  /** The test sets the handlers of frames itself. */
  readonly ownHandlers?: boolean;
}

export const clusterPort = 4370;

/** A node with links. `events` holds up, down, dead, drain and change as short words. */
export class LinkNode {
  readonly sim: SimNode;
  readonly nodeId: string;
  readonly name: string;
  readonly options: LinkNodeOptions;
  links: Links;
  readonly events: string[] = [];
  readonly frames: { readonly from: string; readonly lane: Lane; readonly text: string }[] = [];
  targets: readonly PeerTarget[] = [];

  constructor(sim: SimNode, options: LinkNodeOptions) {
    this.sim = sim;
    this.name = sim.name;
    this.options = options;
    this.nodeId = options.nodeId ?? Buffer.from(sim.name.padEnd(16, '.').slice(0, 16)).toString('hex');
    this.links = this.#start();
  }

  get target(): PeerTarget {
    return { name: this.name, role: this.options.role ?? 'core', host: this.sim.host, port: clusterPort };
  }

  setTargets(nodes: readonly LinkNode[]): void {
    this.targets = nodes.map((n) => n.target);
    this.links.setTargets(this.targets);
  }

  restart(): void {
    this.sim.restart();
    this.links = this.#start();
    this.links.setTargets(this.targets);
  }

  isUp(other: LinkNode): boolean {
    return this.links.peer(other.nodeId) !== undefined;
  }

  count(event: string): number {
    return this.events.filter((e) => e === event).length;
  }

  /** Texts of the frames that came on a lane. */
  heard(lane: Lane): string[] {
    return this.frames.filter((f) => f.lane === lane).map((f) => f.text);
  }

  #start(): Links {
    const { cookie, clusterId, role, limits } = this.options;
    const self: PeerHello = {
      nodeId: this.nodeId,
      name: this.name,
      role: role ?? 'core',
      clusterId: clusterId ?? '',
      incarnation: this.sim.lives,
      host: this.sim.host,
      port: clusterPort,
      info: new Uint8Array(0),
    };
    const listen = { host: '0.0.0.0', port: clusterPort };
    const links = createLinks(this.sim.env, { self, cookie: cookie ?? 'secret', listen, ...(limits === undefined ? {} : { limits }) });
    const say = (what: string): void => void this.events.push(what);
    links.listen({
      onUp: (p) => say(`up ${short(p)}`),
      onDown: (p, reason) => say(`down ${short(p)} ${reason}`),
      onDead: (p) => say(`dead ${short(p)}`),
      onDrain: (p, lane) => say(`drain ${short(p)} ${lane}`),
      onChange: (p) => say(`change ${short(p)}`),
    });
    for (const lane of this.options.ownHandlers === true ? [] : (['raft', 'rlog', 'forward'] as const)) {
      links.onFrame(lane, (from, frame) => void this.frames.push({ from: short(from), lane, text: Buffer.from(frame.subarray(0, 40)).toString() }));
    }
    links.handle('echo', (_from, body, reply) => reply(undefined, body));
    links.handle('no', (_from, _body, reply) => reply('not today'));
    links.handle('never', () => {});
    return links;
  }
}

function short(peer: PeerHello): string {
  return peer.name.slice(0, peer.name.indexOf('@'));
}

export interface LinkWorld {
  readonly world: World;
  readonly net: SimNet;
  /** One node per option; names n1, n2, …. */
  readonly nodes: LinkNode[];
}

export function linkWorld(options: WorldOptions, each: readonly LinkNodeOptions[]): LinkWorld {
  const world = new World(options);
  const net = new SimNet(world);
  const nodes = each.map((o, i) => new LinkNode(createSimNode(world, net, `n${i + 1}@h${i + 1}`), o));
  return { world, net, nodes };
}

export function text(s: string): Uint8Array {
  return new Uint8Array(Buffer.from(s));
}

/** Two nodes that want to be linked. */
export function pair(seed: number, first: LinkNodeOptions = {}, second: LinkNodeOptions = {}): LinkWorld & { a: LinkNode; b: LinkNode } {
  const made = linkWorld({ seed }, [first, second]);
  const [a, b] = made.nodes as [LinkNode, LinkNode];
  a.setTargets([a, b]);
  b.setTargets([a, b]);
  return { ...made, a, b };
}

/** Two nodes whose link is up. */
export function linked(seed: number, first: LinkNodeOptions = {}, second: LinkNodeOptions = {}): LinkWorld & { a: LinkNode; b: LinkNode } {
  const made = pair(seed, first, second);
  assert.ok(made.world.runUntil(() => made.a.isUp(made.b) && made.b.isUp(made.a), 1_000));
  return made;
}

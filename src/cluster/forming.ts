// Drives the formation of the cluster on a core: looks at what the linked cores say of themselves, lets
// formation.ts or gathering.ts decide, keeps durably what was decided, and then says it. Owned by cluster.ts.
import { toHex } from '#base/bytes.js';
import type { Env } from '#env/env.js';
import type { Links, PeerHello } from '#link/api.js';
import { type CorePeer, decideFormation, decodeFormation, encodeFormation, type Formed } from './formation.js';
import { decideByCount, type Gatherer, type GatheringStep, gatheringOf } from './gathering.js';

/** As in ClusterOptions. */
export interface FormingOptions {
  readonly env: Env;
  readonly links: Links;
  readonly nodeId: string;
  readonly name: string;
  readonly coreCount?: number | undefined;
  readonly bound?: readonly string[] | undefined;
  readonly saveBound?: (bound: readonly string[], done: (error: Error | undefined) => void) => void;
  readonly saveFormed: (formed: Formed, done: (error: Error | undefined) => void) => void;
  readonly onFatal: (error: Error) => void;
}

export interface FormingOwner {
  /** What it waits for. */
  readonly waits: (why: string) => void;
  /** Addresses of which it is not known who is there. */
  readonly unknown: () => readonly string[];
  readonly stopped: () => boolean;
  /** Kept: the cluster is formed, or found. */
  readonly formed: (formed: Formed) => void;
}

export class Forming {
  readonly #o: FormingOptions;
  readonly #owner: FormingOwner;
  readonly #names: readonly string[];
  #bound: readonly string[] | undefined;
  #keeping = false;
  #said = '';

  /** `names`: of the configured cores, sorted. */
  constructor(options: FormingOptions, names: readonly string[], owner: FormingOwner) {
    this.#o = options;
    this.#owner = owner;
    this.#names = names;
    this.#bound = options.bound;
  }

  step(): void {
    if (this.#keeping) return;
    const { links, name, nodeId, env } = this.#o;
    const peers = links
      .peers()
      .filter((p: PeerHello) => p.role === 'core')
      .map((p) => ({ name: p.name, nodeId: p.nodeId, info: decodeFormation(p.info), joined: p.incarnation > 0 }));
    const gatherer = this.#gatherer();
    const step = gatherer === undefined ? decideFormation({ name, nodeId, cores: this.#names }, peers) : this.#gather(gatherer, peers);
    switch (step.type) {
      case 'wait':
        return this.#owner.waits(step.why);
      case 'bind':
        return this.#bind(step.to);
      case 'mint':
        return this.#keep({ clusterId: toHex(env.random.bytes(16)), voters: step.voters, names: step.names });
      case 'adopt':
        return this.#keep(step.formed);
    }
  }

  /** Of a core that knows how many cores there shall be, not which. */
  #gatherer(): Gatherer | undefined {
    const { coreCount, name, nodeId } = this.#o;
    return coreCount === undefined || this.#names.length > 0 ? undefined : { name, nodeId, count: coreCount, bound: this.#bound };
  }

  #gather(self: Gatherer, peers: readonly CorePeer[]): GatheringStep {
    const empty = peers.filter((p) => p.info?.formed === undefined);
    const gathering = gatheringOf(self, empty);
    const said = `${gathering.bound} ${gathering.seen.join()}`;
    if (said !== this.#said) this.#o.links.updateSelf({ info: encodeFormation({ cores: [], formed: undefined, gathering }) });
    this.#said = said;
    return decideByCount(self, peers, this.#owner.unknown());
  }

  #bind(to: readonly string[]): void {
    this.#keeping = true;
    this.#o.saveBound?.(to, (error) => {
      this.#keeping = false;
      if (this.#owner.stopped()) return;
      if (error !== undefined) return this.#o.onFatal(error);
      this.#bound = to;
      this.step();
    });
  }

  #keep(formed: Formed): void {
    this.#keeping = true;
    this.#o.saveFormed(formed, (error) => {
      this.#keeping = false;
      if (this.#owner.stopped()) return;
      if (error !== undefined) return this.#o.onFatal(error);
      this.#o.env.log.info('cluster formed', { clusterId: formed.clusterId, voters: formed.voters.length });
      this.#owner.formed(formed);
    });
  }
}

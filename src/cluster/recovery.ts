// A cluster whose majority was lost goes on with one survivor (`cluster recover --force`), in a history of
// its own. Here: how nodes of the old and of the new history are kept apart, and the first entry of the new
// one. Recoveries are counted; the higher count is the cluster's history, and a core that has data of a lower
// one never takes part again: it stops, and its data directory says so from then on.
// Owned by cluster.ts.
import type { NodeDatabase } from '#db/database.js';
import type { Env } from '#env/env.js';
import type { Links, PeerHello } from '#link/api.js';
import { decodeFormation, type Formed, type Recovery } from './formation.js';
import { encodeRecovered, memberShard } from './schema.js';

/** How the other's history stands to ours. rival: two survivors were recovered, each by itself. */
export type Standing = 'same' | 'older' | 'newer' | 'rival';

export function standing(ours: Recovery | undefined, theirs: Recovery | undefined): Standing {
  const [a, b] = [ours?.count ?? 0, theirs?.count ?? 0];
  if (a !== b) return a < b ? 'newer' : 'older';
  return (ours?.tag ?? '') === (theirs?.tag ?? '') ? 'same' : 'rival';
}

export interface HistoriesOptions {
  readonly env: Env;
  readonly links: Links;
  readonly database: NodeDatabase;
  readonly nodeId: string;
  readonly name: string;
  readonly saveFormed: (formed: Formed, done: (error: Error | undefined) => void) => void;
  /** Keeps durably that this core's data are of a history that is over. */
  readonly saveSuperseded: (done: (error: Error | undefined) => void) => void;
  /** The order to recover is carried out. */
  readonly saveRecovered: (done: (error: Error | undefined) => void) => void;
  readonly onFatal: (error: Error) => void;
}

const commandDeadlineMs = 10_000;

export class Histories {
  readonly #o: HistoriesOptions;
  readonly #formed: () => Formed | undefined;
  readonly #learn: (formed: Formed) => void;
  #superseded = false;

  /** `learn`: a replicant's cluster goes on in this history. */
  constructor(options: HistoriesOptions, formed: () => Formed | undefined, learn: (formed: Formed) => void) {
    this.#o = options;
    this.#formed = formed;
    this.#learn = learn;
  }

  /** A link came up, or the peer said something new; before anything else of it is heard. */
  meet(peer: PeerHello): void {
    const { database, links, env } = this.#o;
    const ours = this.#formed();
    const theirs = decodeFormation(peer.info)?.formed;
    if (ours === undefined || theirs === undefined || theirs.clusterId !== ours.clusterId || peer.role !== 'core') return;
    const { name } = peer;
    switch (standing(ours.recovery, theirs.recovery)) {
      case 'same':
        return;
      case 'newer':
        if (database.role === 'core') return this.#stop(name);
        return this.#follow({ ...ours, ...(theirs.recovery === undefined ? {} : { recovery: theirs.recovery }) });
      case 'older':
        env.log.warn('a core with data from before the recovery by force is kept out; empty its data directory, and it joins as a new one', { name });
        return links.drop(peer.nodeId, 'it has another history');
      case 'rival':
        env.log.error('two survivors were recovered by force, each by itself; keep one, and empty the data directories of the other', { name });
        return links.drop(peer.nodeId, 'it has another history');
    }
  }

  #follow(formed: Formed): void {
    const { env, links, saveFormed, onFatal } = this.#o;
    env.log.warn('the cluster was recovered by force; this node copies its tables anew', {});
    this.#learn(formed);
    saveFormed(formed, (error) => {
      if (error !== undefined) onFatal(error);
    });
    for (const p of links.peers()) this.meet(p);
  }

  #stop(by: string): void {
    if (this.#superseded) return;
    this.#superseded = true;
    const why = `the cluster was recovered by force without this core (${by} says so): its data are of a history that is over; empty its data directory, and it joins as a new core`;
    this.#o.saveSuperseded((error) => this.#o.onFatal(error ?? new Error(why)));
  }

  /** The first entry of the new history: nobody but this node is a core, and every node joins anew. Until it is there, again. */
  begin(recovery: Recovery, done: () => void): void {
    const { database, nodeId, name, env, onFatal, saveRecovered } = this.#o;
    const body = encodeRecovered({ nodeId, name }, recovery.tag);
    database.commandUnjoined(memberShard, 'recovered', body, commandDeadlineMs, (failure) => {
      if (failure?.kind === 'closed') return;
      if (failure !== undefined) return this.begin(recovery, done);
      env.log.warn('this core was recovered by force: it is the only voter of every shard', { history: recovery.count });
      saveRecovered((error) => {
        if (error === undefined) done();
        else onFatal(error);
      });
    });
  }
}

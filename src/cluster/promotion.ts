// A replicant becomes a core, on an operator's word or, with `core_auto_promote`, when fewer cores live than
// wanted. The node does it itself, as it runs: it keeps durably that it is a core now, begins the logs of a
// core (db/database.ts, becomeCore), and says so in the shard `cluster`; from then on the groups' leaders
// take it in as learner and, once it has caught up, as voter. Its clients stay. cluster.ts owns it.
import { emptyBytes } from '#base/bytes.js';
import type { NodeDatabase } from '#db/database.js';
import type { Logger } from '#env/logger.js';
import type { Links } from '#link/api.js';
import { decodeFormation, type Formed } from './formation.js';
import { encodeText, type Member, memberShard } from './schema.js';

const promoteMethod = 'cluster.promote';
const promoteDeadlineMs = 10_000;
const commandDeadlineMs = 5_000;

/** As in ClusterOptions. */
export interface PromotionOptions {
  readonly links: Links;
  readonly database: NodeDatabase;
  readonly log: Logger;
  readonly nodeId: string;
  readonly name: string;
  /** Keeps durably that this node is a core of the cluster formed so, and makes its database one. */
  readonly becomeCore: (formed: Formed, done: (error: Error | undefined) => void) => void;
  readonly onFatal: (error: Error) => void;
}

export interface PromotionOwner {
  readonly members: () => ReadonlyMap<string, Member>;
  readonly clusterId: () => string;
  readonly joined: () => boolean;
  /** This node is a core now. */
  readonly isCore: (formed: Formed) => void;
}

export class Promotion {
  readonly #o: PromotionOptions;
  readonly #owner: PromotionOwner;
  #becoming = false;
  #telling = false;
  /** The replicant that was asked last. */
  #asked = false;

  constructor(options: PromotionOptions, owner: PromotionOwner) {
    this.#o = options;
    this.#owner = owner;
    options.links.handle(promoteMethod, (_from, _body, reply) => this.#become((refused) => reply(refused, emptyBytes)));
  }

  /** Any node's: makes the replicant of this name a core; `done` with the reason when it refuses. */
  promote(name: string, done: (refused: string | undefined) => void): void {
    const { links } = this.#o;
    if (name === this.#o.name) return this.#become(done);
    const member = [...this.#owner.members().values()].find((m) => m.name === name);
    if (member === undefined) return done(`there is no node ${name} in the cluster`);
    if (member.role === 'core') return done(`${name} is a core already`);
    if (links.peer(member.nodeId) === undefined) return done(`${name} is not connected to this node`);
    links.call(member.nodeId, promoteMethod, emptyBytes, promoteDeadlineMs, (failure) => {
      if (failure === undefined) done(undefined);
      else done(failure.kind === 'refused' ? failure.message : `${name} did not answer in time`);
    });
  }

  /** The leader of shard `cluster`, regularly: one replicant at a time while fewer than `wanted` cores live. */
  watch(wanted: number): void {
    if (this.#asked) return;
    let cores = 0;
    let candidate: Member | undefined;
    for (const m of this.#owner.members().values()) {
      if (!m.up) continue;
      if (m.role === 'core') cores++;
      else if (this.#o.links.peer(m.nodeId) !== undefined && (candidate === undefined || m.name < candidate.name)) candidate = m;
    }
    if (cores >= wanted || candidate === undefined) return;
    const { name } = candidate;
    this.#o.log.warn('too few cores live: a replicant is to become one', { cores, wanted, node: name });
    this.#asked = true;
    this.promote(name, (refused) => {
      this.#asked = false;
      if (refused !== undefined) this.#o.log.warn('the replicant does not become a core', { node: name, why: refused });
    });
  }

  #become(done: (refused: string | undefined) => void): void {
    const { database, links, log } = this.#o;
    if (database.role === 'core') return done(undefined);
    if (this.#becoming) return done('it is becoming a core already');
    if (!this.#owner.joined()) return done('it has not joined the cluster');
    const late = database.shards.find((s) => database.holds(s) && !database.inSync(s));
    if (late !== undefined) return done(`its copy of shard ${late} is not in sync`);
    const formed = this.#formed(links);
    if (formed === undefined) return done('it is connected to no core that says how the cluster was formed');
    this.#becoming = true;
    this.#o.becomeCore(formed, (error) => {
      if (error !== undefined) return this.#o.onFatal(error);
      log.info('this replicant is a core now', {});
      this.#owner.isCore(formed);
      this.tell();
      done(undefined);
    });
  }

  #formed(links: Links): Formed | undefined {
    for (const p of links.peers()) {
      const formed = p.role === 'core' ? decodeFormation(p.info)?.formed : undefined;
      if (formed !== undefined && formed.clusterId === this.#owner.clusterId() && formed.voters.length > 0) return formed;
    }
    return undefined;
  }

  /** Regularly: until the members' table says what this node is. */
  tell(): void {
    const { database, nodeId } = this.#o;
    // Its own copy may not have its row yet. Saying it again changes nothing.
    if (this.#telling || database.role !== 'core' || !this.#owner.joined() || this.#owner.members().get(nodeId)?.role === 'core') return;
    this.#telling = true;
    database.command(memberShard, 'becomeCore', encodeText(nodeId), { deadlineMs: commandDeadlineMs }, () => {
      this.#telling = false;
    });
  }
}

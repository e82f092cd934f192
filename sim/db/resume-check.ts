// A replicant that kept its tables goes on from where it was, on any core whose log reaches back that far:
// it copies the tables only when it must. Judged at the moment when a core decides for a copy (it logs
// that), by what the replicant has and what the core's log holds, not by what they told each other.
// Used by watch.ts.
import type { ClusterWorld, RunningNode } from './cluster-world.js';

export const copyMessage = 'a node copies the tables';
export const beginMessage = 'copying the tables of another core';
export const continueMessage = 'a node goes on with its copy of the tables';

export class ResumeCheck {
  readonly #c: ClusterWorld;
  readonly #violation: (text: string) => void;
  /** Copies by their cause. */
  readonly causes: Map<string, number> = new Map();
  /** Per core and shard, the node id of the leader that offered its tables last. */
  readonly #offered: Map<string, string> = new Map();

  constructor(c: ClusterWorld, violation: (text: string) => void) {
    this.#c = c;
    this.#violation = violation;
  }

  /** A copy that was begun with another core, or before the link went down. */
  goesOn(): void {
    this.causes.set('goes on', (this.causes.get('goes on') ?? 0) + 1);
  }

  /** The core `to` takes what `from`, its leader, offers because its log does not reach back. */
  begins(to: string, shard: string, from: string): void {
    this.#offered.set(`${to} ${shard}`, from);
  }

  /** `core` begins to send its tables of the shard to the node `to`. */
  copies(core: RunningNode, shard: string, to: string, why: string): void {
    const n = this.#c.nodes.find((m) => m.name === to);
    if (n === undefined) return this.#violation(`${core.name} ${shard}: tables are copied to ${to}, which is nobody`);
    const cause = n.role === 'core' ? this.#coreMustCopy(core, n, shard) : this.#mustCopy(core, n, shard);
    this.causes.set(cause ?? 'needless', (this.causes.get(cause ?? 'needless') ?? 0) + 1);
    if (cause === undefined)
      this.#violation(`${to} ${shard} copies the tables of ${core.name} (${why}), whose log has what follows ${this.#state(n, shard)?.queuedIndex}`);
  }

  #state(n: RunningNode, shard: string): ReturnType<NonNullable<RunningNode['core']>['database']['shardState']> {
    return n.core?.database.shardState(shard);
  }

  /** Why the core cannot go on with the log that it has: its leader's begins behind it. */
  #coreMustCopy(leader: RunningNode, n: RunningNode, shard: string): string | undefined {
    const own = n.core?.database.coreShard(shard)?.raft;
    const source = leader.core?.database.coreShard(shard)?.source;
    if (own === undefined || source === undefined || n.core?.links.peer(leader.core?.nodeId ?? '') === undefined) return 'receiver gone';
    const has = this.#state(n, shard);
    if (has !== undefined && (has.damaged || has.anew)) return 'core: damaged tables';
    // Its leader's log does not reach back; that of another core, with which it goes on, may: also when that one leads by now.
    if (own.installing && leader.core?.database.coreShard(shard)?.raft.role !== 'leader') return 'core: leader gone';
    if (own.installing && this.#offered.get(`${n.name} ${shard}`) !== leader.core?.nodeId) return 'core: leader gone';
    if (own.lastIndex + 1 < source.firstIndex) return 'core: log compacted';
    if (own.recovering) return 'core: damaged log';
    if (own.termOf(source.firstIndex - 1) !== source.term(source.firstIndex - 1)) return 'core: other entries';
    return undefined;
  }

  /** Why the replicant cannot go on from what it has; undefined: it could. */
  #mustCopy(core: RunningNode, n: RunningNode, shard: string): string | undefined {
    const has = this.#state(n, shard);
    const database = core.core?.database;
    const source = (database?.coreShard(shard) ?? database?.replica(shard)?.relay)?.source;
    // The request is of a process that has ended or of a link that is down: nothing will come of the answer.
    if (source === undefined || has === undefined || n.core?.links.peer(core.core?.nodeId ?? '') === undefined) return 'receiver gone';
    if (n.core.database.replica(shard)?.upstream !== core.core?.nodeId) return 'receiver gone';
    if (has.damaged) return 'damaged tables';
    if (has.position.historyId === '') return 'nothing there yet';
    if (has.position.historyId !== source.historyId) return 'other history';
    if (has.queuedIndex + 1 < source.firstIndex) return 'log compacted';
    if (source.term(has.queuedIndex) !== has.queuedTerm) return 'other entries';
    return undefined;
  }
}

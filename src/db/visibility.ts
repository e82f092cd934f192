// How far a shard's changes have been seen: on this core and its replicants, and, while this core
// leads, everywhere. Followers report to the leader; the leader's answer to "effective" is the
// lowest of all reports.
import type { Links } from '#link/api.js';
import type { RaftConfig, RaftMachine } from '#raft/types.js';
import type { RaftTransport } from './raft-transport.js';
import type { ShardLeader } from './shard-leader.js';

export interface VisibilityOptions {
  readonly shard: string;
  readonly nodeId: string;
  readonly links: Links;
  readonly transport: RaftTransport;
  readonly raft: () => RaftMachine;
  readonly leader: () => ShardLeader | undefined;
  /** Applied here and seen by this core's feeds and its normal replicants. */
  readonly visibleHere: () => number;
}

export class Visibility {
  readonly #o: VisibilityOptions;
  /** Leader: what each connected core has reported. */
  readonly #reports: Map<string, number> = new Map();
  #reported = 0;
  #reportedTo = '';
  /**
   * Of the report that the leader has to answer before this core counts; 0: it counts. A core that starts,
   * new or not, counts once the leader has said so.
   */
  #entering = 1;
  #token = 1;
  /** Of the configuration that `#known` is made of. */
  #config: RaftConfig | undefined;
  #known: ReadonlySet<string> = new Set();

  constructor(options: VisibilityOptions) {
    this.#o = options;
  }

  /** Something was applied or seen here: tell the leader, or, leading, look what is effective now. */
  moved(): void {
    const raft = this.#o.raft();
    if (raft.role === 'leader') {
      this.#entering = 0;
      return this.#updateEffective();
    }
    const here = this.#o.visibleHere();
    const { leader } = raft;
    if (leader === '' || (here === this.#reported && leader === this.#reportedTo)) return;
    this.#reported = here;
    this.#reportedTo = leader;
    if (this.#entering === 0) this.#o.transport.sendVisible(leader, this.#o.shard, here);
    else this.#o.transport.sendBack(leader, this.#o.shard, here, this.#entering);
  }

  /**
   * This core copied tables, and nothing waited for it. What the leader declared effective meanwhile, and
   * until it hears of the return, may be missing here: the core serves only when the leader has answered,
   * which it does once nothing of that is missing any more.
   */
  enter(): void {
    this.#entering = ++this.#token;
    this.again();
  }

  /** Out of service again. */
  leave(): void {
    this.#entering = 0;
    this.moved();
  }

  get entering(): boolean {
    return this.#entering !== 0;
  }

  /** Reports once more: the last one or its answer may have been lost. */
  again(): void {
    this.#reportedTo = '';
    this.moved();
  }

  welcomed(from: string, token: number): void {
    if (token === this.#entering && from === this.#o.raft().leader) this.#entering = 0;
  }

  /** What this core has told the leader: replicants count as normal only once they are not behind it. */
  get reported(): number {
    return this.#o.raft().role === 'leader' ? (this.#o.leader()?.effectiveIndex ?? 0) : this.#reported;
  }

  /** A new leader does not know how far the others are: nothing is effective before each connected one has said so. */
  roleChanged(role: string): void {
    if (role === 'leader') {
      this.#reports.clear();
      for (const id of this.#members()) if (id !== this.#o.nodeId && this.#o.links.peer(id) !== undefined) this.#reports.set(id, 0);
    }
    this.#reportedTo = '';
    this.moved();
  }

  peerUp(nodeId: string): void {
    if (this.#o.raft().role === 'leader' && this.#members().has(nodeId)) this.#reports.set(nodeId, 0);
    this.#reportedTo = '';
    this.moved();
  }

  #members(): ReadonlySet<string> {
    const { config } = this.#o.raft();
    if (config !== this.#config) {
      this.#config = config;
      this.#known = new Set([...config.voters, ...config.learners]);
    }
    return this.#known;
  }

  report(from: string, index: number): void {
    if (this.#o.raft().role !== 'leader' || !this.#members().has(from)) return;
    this.#reports.set(from, index);
    this.#updateEffective();
  }

  /** As `report`; the answer says that nothing is or will be effective that the core has not seen. */
  backReport(from: string, index: number, token: number): void {
    const raft = this.#o.raft();
    if (raft.role !== 'leader' || !this.#members().has(from)) return;
    this.report(from, index);
    const leader = this.#o.leader();
    // Before this leader's term everything may have been effective. Who is not that far asks again.
    if (leader !== undefined && index >= Math.max(leader.effectiveIndex, raft.termStartIndex))
      this.#o.transport.sendWelcome(from, this.#o.shard, token);
  }

  #updateEffective(): void {
    const { links, nodeId } = this.#o;
    let index = this.#o.visibleHere();
    const members = this.#members();
    for (const [id, visible] of this.#reports) {
      if (links.peer(id) === undefined || !members.has(id)) this.#reports.delete(id);
      else if (visible < index) index = visible;
    }
    // One that does not even see a majority may be no leader any more: the others may have another.
    const { voters } = this.#o.raft().config;
    const inSight = voters.filter((id) => id === nodeId || links.peer(id) !== undefined).length;
    if (2 * inSight > voters.length) this.#o.leader()?.effective(index);
  }
}

// Takes the steps of core-set.ts for the shards that this node leads. Before each it makes sure that its
// copy of the set of cores is not behind, by a linearizable read of the members' shard, and decides anew.
// database.ts owns it; the cluster room asks it to look, regularly and whenever the set has changed.
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { RaftConfig } from '#raft/types.js';
import { type CoreSetStep, nextCoreSetStep, type WantedCore } from './core-set.js';
import type { CoreShard } from './core-shard.js';

/** Then another core may see more. */
const barriersInVainMax = 5;
const nobody: ReadonlySet<string> = new Set();

export interface CoreSetDriverOptions {
  readonly env: Env;
  readonly links: Links;
  readonly nodeId: string;
  readonly learnerLagMax: number;
  readonly silentMs: number;
  readonly barrierMs: number;
  readonly wanted: () => Iterable<WantedCore>;
  /** Whether a node is out of the groups of all shards but the members'. */
  readonly outElsewhere: (nodeId: string, done: (out: boolean) => void) => void;
  readonly memberShard: string;
  /** Waits until this node's copy of the members' shard has everything committed by now. */
  readonly barrier: (deadlineMs: number, done: (ok: boolean) => void) => void;
}

export class CoreSetDriver {
  readonly #o: CoreSetDriverOptions;
  /** Shards that wait for the barrier. */
  readonly #checking: Set<CoreShard> = new Set();
  /** Barriers in a row that failed. */
  readonly #inVain: Map<CoreShard, number> = new Map();
  /** The members' group when somebody looked last. */
  #members: RaftConfig | undefined = undefined;
  /** Per shard that this node leads: voters that are to go, and since when it knows. */
  readonly #going: Map<CoreShard, Map<string, number>> = new Map();

  constructor(options: CoreSetDriverOptions) {
    this.#o = options;
  }

  /** `members`: the members' group. Who belongs to it sees in the end what is wanted. */
  look(core: CoreShard, members: RaftConfig | undefined): void {
    // Who leads and has never come into the members' group, or is out of it, has nothing to do as far as it sees, ever.
    this.#members = members;
    if (this.#checking.has(core) || core.leader === undefined) return;
    const { nodeId } = this.#o;
    const sees = members === undefined || members.voters.includes(nodeId) || members.learners.includes(nodeId);
    if (this.#next(core) === undefined && sees) return;
    this.#checking.add(core);
    this.#check(core);
  }

  #check(core: CoreShard): void {
    this.#o.barrier(this.#o.barrierMs, (ok) => {
      this.#inVain.set(core, ok ? 0 : (this.#inVain.get(core) ?? 0) + 1);
      const step = this.#next(core);
      // Handing leadership on needs no knowledge, and is what is left when there is none to be had.
      if (step === undefined || !(ok || step.type === 'transfer')) this.#checking.delete(core);
      else this.#takeOrWait(core, step);
    });
  }

  /**
   * The members' shard is the last that a node is taken out of: as long as it leads another one it must see what is
   * wanted. What can be done meanwhile is done: who leads another shard may have to come into this one, as a
   * learner at least, to see it.
   */
  #takeOrWait(core: CoreShard, step: CoreSetStep, later: ReadonlySet<string> = nobody): void {
    if (core.shard !== this.#o.memberShard || step.type === 'transfer' || step.change.kind !== 'remove') {
      this.#checking.delete(core);
      return this.#take(core, step);
    }
    const { node } = step.change;
    this.#o.outElsewhere(node, (out) => {
      const put = out ? later : new Set([...later, node]);
      const still = this.#next(core, put);
      const same = still?.type === 'change' && still.change.kind === 'remove' && still.change.node === node;
      if (still !== undefined && !same) return this.#takeOrWait(core, still, put);
      this.#checking.delete(core);
      if (still !== undefined) this.#take(core, still);
    });
  }

  /** `later`: nodes that stay for now. */
  #next(core: CoreShard, later: ReadonlySet<string> = nobody): CoreSetStep | undefined {
    const { raft } = core;
    // A change before the leader's tables hold its term's start would be refused by the machine.
    if (core.leader === undefined) this.#going.delete(core);
    if (core.leader === undefined || raft.transferee !== '') return undefined;
    const { env, links, nodeId, silentMs, learnerLagMax } = this.#o;
    const wanted = [...this.#o.wanted()];
    const going = this.#noteGoing(core, wanted);
    const members = core.shard === this.#o.memberShard ? undefined : this.#members;
    return nextCoreSetStep(wanted, {
      self: nodeId,
      config: raft.config,
      followers: raft.followers(),
      lastIndex: raft.lastIndex,
      now: env.clock.now(),
      silentMs,
      learnerLagMax,
      blind: (this.#inVain.get(core) ?? 0) >= barriersInVainMax,
      askedAt: (id) => going.get(id) ?? env.clock.now(),
      later,
      member: (id) => members === undefined || members.voters.includes(id) || members.learners.includes(id),
      linked: (id) => links.peer(id) !== undefined,
    });
  }

  #noteGoing(core: CoreShard, wanted: readonly WantedCore[]): ReadonlyMap<string, number> {
    const known = this.#going.get(core);
    const going = new Map<string, number>();
    for (const w of wanted)
      if (w.wanted === 'removed' && core.raft.config.voters.includes(w.nodeId)) going.set(w.nodeId, known?.get(w.nodeId) ?? this.#o.env.clock.now());
    this.#going.set(core, going);
    return going;
  }

  #take(core: CoreShard, step: CoreSetStep): void {
    const { env, links } = this.#o;
    const name = (id: string): string => links.peer(id)?.name ?? id;
    if (step.type === 'transfer') {
      env.log.info('leadership is handed on: this core leaves', { shard: core.shard, to: name(step.to) });
      core.step({ type: 'transferLeader', to: step.to });
      return;
    }
    const { kind, node } = step.change;
    const result = core.changeConfig(step.change);
    // Refused: an earlier change is not committed yet, or leadership is lost. Somebody looks again.
    if (result.ok) env.log.info('the Raft group changes', { shard: core.shard, change: kind, node: name(node), index: result.index });
  }
}

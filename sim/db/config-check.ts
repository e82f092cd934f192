// The set of voters and learners is what the log says, on every core and at every place: what the machine goes
// by at the end of its tables and at the beginning of its log, and what the tables keep for a copy. An uncommitted
// change that was compacted, or stays after it was overwritten, shows here at the next restart at the latest.
// And the order in which a core goes: out of the members' group last, since who leads another group must see what
// is wanted.
// Looks only. Used by watch.ts.
import { memberShard } from '#cluster/schema.js';
import { decodeConfig } from '#raft/codec.js';
import type { RaftConfig, RaftMachine } from '#raft/types.js';
import type { ClusterWorld, RunningNode } from './cluster-world.js';
import { runShards } from './schema.js';

interface Known {
  readonly index: number;
  readonly text: string;
}

function textOf(config: RaftConfig): string {
  return `voters ${[...config.voters].sort().join()}, learners ${[...config.learners].sort().join()}`;
}

/** A leader has appended a change (core-set-driver.ts logs it). */
export const changeMessage = 'the Raft group changes';

export class ConfigCheck {
  readonly #c: ClusterWorld;
  readonly #violation: (text: string) => void;
  /** By shard: the changes in the order of the log; the first one is what the group began with. */
  readonly #known: Map<string, Known[]> = new Map();
  /** By core and shard: what was looked at last. */
  readonly #looked: Map<string, { readonly at: RaftConfig; readonly base: RaftConfig; readonly tables: Uint8Array }> = new Map();

  constructor(c: ClusterWorld, violation: (text: string) => void) {
    this.#c = c;
    this.#violation = violation;
  }

  /** A committed change. */
  entry(shard: string, index: number, data: Uint8Array): void {
    const known = this.#of(shard);
    if (index > (known.at(-1)?.index ?? -1)) known.push({ index, text: textOf(decodeConfig(data)) });
  }

  /** A leader of the members' shard takes a node out of that group: it is out of the others. */
  changes(leader: RunningNode, shard: string, index: number): void {
    const raft = leader.core?.database.coreShard(shard)?.raft;
    if (shard !== memberShard || raft === undefined) return;
    const before = raft.configAt(index - 1);
    const after = new Set([...raft.config.voters, ...raft.config.learners]);
    for (const id of [...before.voters, ...before.learners]) {
      if (after.has(id)) continue;
      for (const other of runShards)
        if (!this.#isOut(id, other)) this.#violation(`${leader.name} takes ${id} out of the members' group, and it is in that of ${other}`);
    }
  }

  /** Some member of the group has a configuration without the node. Where nobody else is left to look at, nothing is known. */
  #isOut(id: string, shard: string): boolean {
    const members = this.#c.nodes.flatMap((n) => {
      const raft = n.core?.nodeId === id ? undefined : n.core?.database.coreShard(shard)?.raft;
      return raft?.config.voters.includes(n.core?.nodeId ?? '') === true ? [raft] : [];
    });
    return members.length === 0 || members.some(({ config }) => !config.voters.includes(id) && !config.learners.includes(id));
  }

  #of(shard: string): Known[] {
    let known = this.#known.get(shard);
    if (known === undefined) {
      known = [];
      this.#known.set(shard, known);
    }
    return known;
  }

  /** A core has applied up to `applied`; `tables` is the configuration that its tables keep. */
  check(who: string, shard: string, raft: RaftMachine, applied: number, tables: Uint8Array): void {
    const name = `${who} ${shard}`;
    const { baseIndex } = raft;
    const [at, base] = [raft.configAt(applied), raft.configAt(baseIndex)];
    const looked = this.#looked.get(name);
    if (looked?.at === at && looked.base === base && looked.tables === tables) return;
    this.#looked.set(name, { at, base, tables });
    const known = this.#of(shard);
    if (baseIndex === 0 && known.length === 0) known.push({ index: 0, text: textOf(base) });
    if (applied >= baseIndex) this.#compare(`${name} goes by another group at ${applied}`, known, applied, at);
    this.#compare(`the log of ${name} begins with another group at ${baseIndex}`, known, baseIndex, base);
    if (applied >= baseIndex) this.#compare(`the tables of ${name} keep another group at ${applied}`, known, applied, decodeConfig(tables));
  }

  #compare(what: string, known: readonly Known[], index: number, config: RaftConfig): void {
    const right = known.findLast((k) => k.index <= index);
    const text = textOf(config);
    if (right !== undefined && right.text !== text) this.#violation(`${what} (${text}) than the log made at ${right.index} (${right.text})`);
  }
}

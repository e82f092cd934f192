// What must hold at every event of a Raft group, seen by somebody who sees all nodes at once.
// Checkers only look; a violation is thrown and ends the run. Called by node.ts and world.ts.
import type { Raft } from '#raft/raft.js';
import type { Entry, NodeId, RaftConfig, RaftMessage } from '#raft/types.js';
import type { RaftStorage } from './storage.js';

/** A promise of Raft was broken. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** What a checker may see of a node. */
export interface Watched {
  readonly id: NodeId;
  readonly raft: Raft;
  readonly storage: RaftStorage;
  readonly up: boolean;
}

interface Committed {
  readonly term: number;
  /** Term of the leader that committed it. */
  readonly byTerm: number;
}

export class Checkers {
  readonly #nodes: ReadonlyMap<NodeId, Watched>;
  /** Log matching: an index and a term name one entry, and with it all before. */
  readonly #entries: Map<number, { readonly hash: number; readonly prevTerm: number }> = new Map();
  readonly #leaders: Map<number, NodeId> = new Map();
  readonly #votes: Map<string, NodeId> = new Map();
  /** By index; 0 is not used. */
  readonly #committed: (Committed | undefined)[] = [undefined];
  readonly #stateHashes: (number | undefined)[] = [];
  readonly #seen: Map<NodeId, { term: number; commitIndex: number }> = new Map();
  /** After damage to a disk, what was durable may be gone: counting copies means nothing. */
  damaged = false;
  #newestTerm = 0;

  constructor(nodes: ReadonlyMap<NodeId, Watched>) {
    this.#nodes = nodes;
  }

  get committedIndex(): number {
    return this.#committed.length - 1;
  }

  get elections(): number {
    return this.#leaders.size;
  }

  started(n: Watched): void {
    this.#seen.set(n.id, { term: n.raft.term, commitIndex: n.raft.commitIndex });
  }

  /** Entries on their way to a node's disk. */
  persisting(n: Watched, entries: readonly Entry[]): void {
    for (const e of entries) {
      const key = e.index * 0x100000 + e.term;
      const prevTerm = n.raft.termOf(e.index - 1) ?? -1;
      const hash = hashEntry(e);
      const known = this.#entries.get(key);
      if (known === undefined) this.#entries.set(key, { hash, prevTerm });
      else if (known.hash !== hash || known.prevTerm !== prevTerm)
        fail('log matching', n, `entry ${e.index} of term ${e.term} differs from another node's, or follows another entry`);
    }
  }

  becameLeader(n: Watched): void {
    const { term } = n.raft;
    const other = this.#leaders.get(term);
    if (other !== undefined)
      fail('election safety', n, other === n.id ? `leads term ${term} for the second time` : `and ${other} both lead term ${term}`);
    this.#leaders.set(term, n.id);
    this.#newestTerm = Math.max(this.#newestTerm, term);
    if (!n.raft.config.voters.includes(n.id)) fail('election safety', n, 'leads and is no voter');
    if (n.raft.recovering || n.raft.installing) fail('election safety', n, 'leads with a log that is not whole');
    if (!n.raft.config.voters.includes(n.id)) fail('election safety', n, 'leads without being a voter');
    // Everything committed by leaders of earlier terms; log matching makes the last one speak for all.
    let i = this.committedIndex;
    while (i > 0 && (this.#committed[i]?.byTerm ?? 0) >= term) i--;
    if (i > n.raft.baseIndex && n.raft.termOf(i) !== this.#committed[i]?.term)
      fail('leader completeness', n, `leads term ${term} without the committed entry ${i}`);
  }

  /** A message leaves a node: what it vouches for must be on that node's disk. */
  sending(n: Watched, to: NodeId, m: RaftMessage): void {
    const { hardState } = n.storage.durable;
    if (m.type === 'voteResponse' && m.granted && !m.preVote) this.#voted(n, m.term, to);
    else if (m.type === 'requestVote' && !m.preVote) this.#voted(n, m.term, n.id);
    else if (m.type === 'appendResponse' && !m.rejected) {
      if (hardState.currentTerm < m.term)
        fail('durable before acknowledged', n, `acknowledges in term ${m.term}, on disk is ${hardState.currentTerm}`);
      const { durable } = n.storage;
      if (durable.last.index < m.index) fail('durable before acknowledged', n, `acknowledges ${m.index}, on disk is ${durable.last.index}`);
      const leader = this.#nodes.get(to);
      if (leader === undefined || !leader.up || leader.raft.role !== 'leader' || leader.raft.term !== m.term) return;
      const mine = durable.term(m.index);
      const theirs = leader.raft.termOf(m.index);
      if (mine !== undefined && theirs !== undefined && mine !== theirs)
        fail('log matching', n, `acknowledges ${m.index} of term ${mine}, the leader has term ${theirs}`);
    }
  }

  #voted(n: Watched, term: number, candidate: NodeId): void {
    const { hardState } = n.storage.durable;
    if (hardState.currentTerm < term || (hardState.currentTerm === term && hardState.votedFor !== candidate)) {
      fail(
        'durable before answered',
        n,
        `votes for ${candidate} in term ${term}, on disk is ${hardState.votedFor || 'nobody'} in ${hardState.currentTerm}`,
      );
    }
    const key = `${n.id}/${term}`;
    const earlier = this.#votes.get(key);
    if (earlier !== undefined && earlier !== candidate) fail('one vote per term', n, `votes for ${candidate} and ${earlier} in term ${term}`);
    this.#votes.set(key, candidate);
  }

  /** After every step. */
  stepped(n: Watched): void {
    const { raft } = n;
    const seen = this.#seen.get(n.id);
    if (seen === undefined) return;
    if (raft.term < seen.term) fail('monotone term', n, `${seen.term} to ${raft.term}`);
    if (raft.commitIndex < seen.commitIndex) fail('monotone commit', n, `${seen.commitIndex} to ${raft.commitIndex}`);
    seen.term = raft.term;
    // What the machine believes to be on its disk decides what it acknowledges, counts and applies.
    const { durable } = n.storage;
    const claimed = raft.durableIndex;
    if (!raft.installing && durable.base.index < claimed && durable.term(claimed) !== raft.termOf(claimed)) {
      fail('durable is durable', n, `believes that ${claimed} of term ${raft.termOf(claimed)} is on its disk`);
    }
    if (raft.commitIndex === seen.commitIndex) return;
    const from = seen.commitIndex + 1;
    seen.commitIndex = raft.commitIndex;
    for (let i = from; i <= raft.commitIndex; i++) this.#commits(n, i);
  }

  #commits(n: Watched, index: number): void {
    const term = n.raft.termOf(index);
    if (term === undefined) {
      if (index > n.raft.baseIndex) fail('commit', n, `commits ${index}, which it does not have`);
      return;
    }
    const known = this.#committed[index];
    if (known !== undefined) {
      if (known.term !== term) fail('committed entries never change', n, `commits ${index} of term ${term}, committed was term ${known.term}`);
      return;
    }
    if (index !== this.#committed.length) fail('commit', n, `commits ${index} before ${this.#committed.length} was`);
    this.#committed.push({ term, byTerm: n.raft.term });
    if (this.damaged) return;
    const { voters } = n.raft.config;
    let copies = 0;
    for (const id of voters) {
      const durable = this.#nodes.get(id)?.storage.durable;
      if (durable !== undefined && (durable.base.index >= index || durable.term(index) === term)) copies++;
    }
    if (copies * 2 <= voters.length)
      fail('durable on a majority', n, `commits ${index} of term ${term} with ${copies} durable copies of ${voters.length}`);
  }

  /** Entries were overwritten: the configuration in force is the last one in the log that remains. */
  overwrote(n: Watched, expected: RaftConfig): void {
    if (n.raft.config.voters.join() !== expected.voters.join() || n.raft.config.learners.join() !== expected.learners.join()) {
      fail('configuration of the log', n, `goes by voters ${n.raft.config.voters.join(' ')}, its log says ${expected.voters.join(' ')}`);
    }
  }

  /** What the newest leader believes its members to hold is on their disks. */
  progress(n: Watched): void {
    if (this.damaged || n.raft.term < this.#newestTerm) return;
    for (const f of n.raft.followers()) {
      const durable = this.#nodes.get(f.id)?.storage.durable;
      const term = n.raft.termOf(f.matchIndex);
      if (durable === undefined || term === undefined || durable.base.index >= f.matchIndex) continue;
      if (durable.term(f.matchIndex) !== term) fail('matches are real', n, `believes that ${f.id} holds ${f.matchIndex} of term ${term}`);
    }
  }

  /** A damaged node counts again: it must hold whatever was committed when it was started after the damage. */
  recovered(n: Watched, committedBefore: number): void {
    if (n.storage.durable.last.index < committedBefore)
      fail('repaired means whole', n, `has ${n.storage.durable.last.index}, committed before was ${committedBefore}`);
  }

  /** A leader put a change of members into its log; the one before was at `previous`. */
  changed(n: Watched, previous: number, before: readonly NodeId[], after: readonly NodeId[]): void {
    const moved = after.filter((id) => !before.includes(id)).length + before.filter((id) => !after.includes(id)).length;
    if (before.length > 0 && moved > 1) fail('one change at a time', n, `makes voters ${after.join(' ')} of ${before.join(' ')}`);
    if (previous > n.raft.commitIndex) fail('one change at a time', n, `changes the members again while entry ${previous} is not committed`);
    const committed = n.raft.termOf(n.raft.commitIndex);
    if (committed !== n.raft.term)
      fail('no change before the term is settled', n, `changes the members in term ${n.raft.term}, committed is term ${committed}`);
  }

  /** A node applied the entry; `hash` is its state afterwards. */
  applied(n: Watched, e: Entry, hash: number): void {
    if (e.index > n.raft.commitIndex) fail('apply', n, `applies ${e.index}, committed is ${n.raft.commitIndex}`);
    const { durable } = n.storage;
    if (durable.base.index < e.index && durable.term(e.index) !== e.term)
      fail('applied at most what is durable', n, `applies ${e.index} of term ${e.term}, which is not on its own disk`);
    const known = this.#stateHashes[e.index];
    if (known === undefined) this.#stateHashes[e.index] = hash;
    else if (known !== hash) fail('equal states', n, `another state after ${e.index}`);
  }

  /** A node is told to copy another's tables; `already`: it does so, and how that ends is not known yet. */
  copies(n: Watched, already: boolean): void {
    if (already) fail('one copy at a time', n, 'is told to copy tables while a copy is on its way');
    if (!n.raft.installing) fail('one copy at a time', n, 'is told to copy tables and does not wait for them');
  }

  /** A read begun when `committedBefore` was the highest committed index anywhere. */
  readable(n: Watched, index: number, committedBefore: number): void {
    if (index < committedBefore) fail('linearizable reads', n, `answers a read with ${index}, committed when it began was ${committedBefore}`);
  }
}

export function hashEntry(e: Entry): number {
  let h = e.kind.length ^ 0x811c9dc5;
  for (const b of e.data) h = Math.imul(h ^ b, 0x01000193);
  return h | 0;
}

function fail(rule: string, n: Watched, what: string): never {
  throw new Violation(`${rule}: ${n.id} ${what}`);
}

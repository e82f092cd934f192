// Test helper only: what a node in a script can do, and what can be said of it. Called by test-script.ts.

import type { Raft } from './raft.js';
import type { TestCluster, TestNode } from './test-cluster.js';
import type { Words } from './test-notation.js';
import type { ConfigChange, RaftEffect } from './types.js';

type Action = (n: TestNode, w: Words, c: TestCluster) => void;
type Fact = (raft: Raft, w: Words, n: TestNode) => readonly [expected: unknown, actual: unknown];

/** `-> reason`: it must be refused so; left out: it must be accepted. */
function outcome(w: Words, result: { readonly ok: true } | { readonly ok: false; readonly reason: string }): void {
  const expected = w.take('->') ? w.next() : 'ok';
  const actual = result.ok ? 'ok' : result.reason;
  if (expected !== actual) throw new Error(`the outcome is ${actual} and not ${expected}`);
}

function change(kind: ConfigChange['kind']): Action {
  return (n, w, c) => {
    const effects: RaftEffect[] = [];
    const result = n.raft.changeConfig({ kind, node: w.next() }, c.now, effects);
    n.perform(effects);
    outcome(w, result);
  };
}

/** The copy of the tables that the last offer asked for has arrived; `at 9/2`: a later one. */
function installs(n: TestNode, w: Words): void {
  const offers = n.seen.filter((e) => e.type === 'installSnapshot');
  const offer = offers[offers.length - 1];
  if (offer === undefined) throw new Error(`${n.id} was offered no copy`);
  const { index, term } = w.take('at') ? w.place() : offer;
  // The hard state keeps its place on the disk.
  n.sync();
  n.disk.base = { index, term };
  n.disk.log = [];
  n.disk.baseConfig = offer.config;
  n.step({ type: 'snapshotInstalled', index, term, config: offer.config });
}

export const actions: Readonly<Record<string, Action>> = {
  campaigns: (n) => n.step({ type: 'campaign' }),
  elected: (n, _w, c) => c.elect(n.id),
  ticks: (n) => n.step({ type: 'tick' }),
  proposes: (n, w) => outcome(w, n.propose(...w.until('->'))),
  reads: (n, w) => n.step({ type: 'readIndex', token: w.number() }),
  transfers: (n, w) => n.step({ type: 'transferLeader', to: w.next() }),
  adds: change('addLearner'),
  promotes: change('promote'),
  demotes: change('demote'),
  removes: change('remove'),
  /** Its disk finishes nothing by itself from now on. */
  holds: (n) => {
    n.autoSync = false;
  },
  /** All of its writes, or the first so many. */
  syncs: (n, w) => {
    if (!n.sync(w.left > 0 ? w.number() : Number.POSITIVE_INFINITY)) throw new Error('there was nothing to write');
  },
  resumes: (n) => {
    n.autoSync = true;
  },
  crashes: (n, _w, c) => c.crash(n.id),
  restarts: (n, _w, c) => c.restart(n.id),
  compacts: (n, w) => {
    const index = w.number();
    n.disk.compact(index, n.raft.config);
    n.step({ type: 'compacted', index });
  },
  installs,
  aborts: (n) => n.step({ type: 'snapshotAborted' }),
  handed: (n, w) => n.step({ type: 'snapshotStatus', to: w.next(), ok: true }),
  failed: (n, w) => n.step({ type: 'snapshotStatus', to: w.next(), ok: false }),
  loses: (n, w) => n.step({ type: 'peerLost', peer: w.next() }),
  misses: (n, w) => n.step({ type: 'peerUnreachable', peer: w.next() }),
  reaches: (n, w) => n.step({ type: 'peerReachable', peer: w.next() }),
  /** What its random source returns, in hundredths. */
  draws: (n, w) => {
    n.draw = w.number() / 100;
  },
};

const nobody = (id: string): string => (id === '' ? '-' : id);
const role =
  (expected: Raft['role']): Fact =>
  (raft) => [expected, raft.role];
const number =
  (of: (raft: Raft) => number): Fact =>
  (raft, w) => [w.number(), of(raft)];
const words =
  (of: (raft: Raft, n: TestNode) => string): Fact =>
  (raft, w, n) => [w.next(), of(raft, n)];

function terms(raft: Raft): string {
  const out: (number | undefined)[] = [];
  for (let i = raft.baseIndex + 1; i <= raft.lastIndex; i++) out.push(raft.termOf(i));
  return out.join(',');
}

/** Lists are written with commas; `-` is nobody or nothing. */
export const facts: Readonly<Record<string, Fact>> = {
  follower: role('follower'),
  pre: role('preCandidate'),
  candidate: role('candidate'),
  leader: role('leader'),
  of: words((raft) => nobody(raft.leader)),
  vote: words((raft) => nobody(raft.votedFor)),
  term: number((raft) => raft.term),
  commit: number((raft) => raft.commitIndex),
  applies: number((raft) => raft.applyTo),
  last: number((raft) => raft.lastIndex),
  durable: number((raft) => raft.durableIndex),
  base: number((raft) => raft.baseIndex),
  uncommitted: number((raft) => raft.uncommittedBytes),
  log: words((raft) => nobody(terms(raft))),
  has: words((raft, n) => nobody(n.values(raft.lastIndex).join(','))),
  applied: words((raft, n) => nobody(n.values(raft.applyTo).join(','))),
  transferring: words((raft) => nobody(raft.transferee)),
  installing: (raft) => [true, raft.installing],
  voters: words((raft) => nobody([...raft.config.voters].sort().join(','))),
  learners: words((raft) => nobody([...raft.config.learners].sort().join(','))),
  /** The next time it must be ticked, `never` for never. */
  due: words((raft) => (raft.nextTimerAt === Number.POSITIVE_INFINITY ? 'never' : String(raft.nextTimerAt))),
};

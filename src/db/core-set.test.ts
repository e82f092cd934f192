import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FollowerStatus } from '#raft/types.js';
import { type CoreSetView, nextCoreSetStep, type WantedCore } from './core-set.js';

const now = 10_000;

function follower(id: string, more: Partial<FollowerStatus> = {}): FollowerStatus {
  const status = { id, voter: true, state: 'replicate', matchIndex: 100, nextIndex: 101, inflightMessages: 0, inflightBytes: 0 } as const;
  return { ...status, lastHeardAt: now, recovering: false, ...more };
}

interface Case {
  readonly what: string;
  /** Leader first. */
  readonly voters: string;
  readonly learners?: string;
  /** voter ids wanted, then `-id` for those that are removed. */
  readonly wanted: string;
  /** Not running. */
  readonly down?: string;
  readonly behind?: string;
  /** Linked, and not heard of since the leader knows what is wanted. */
  readonly quiet?: string;
  /** Not in the members' group. */
  readonly outside?: string;
  /** To go, and not yet. */
  readonly later?: string;
  readonly step: string;
}

function list(text: string | undefined): string[] {
  return text === undefined || text === '' ? [] : text.split(' ');
}

function stepOf(c: Case): string {
  const [voters, learners, down, behind, quiet] = [c.voters, c.learners, c.down, c.behind, c.quiet].map(list) as [
    string[],
    string[],
    string[],
    string[],
    string[],
  ];
  const self = voters[0] as string;
  const view: CoreSetView = {
    self,
    config: { voters: [...voters].sort(), learners },
    followers: [...voters, ...learners]
      .filter((id) => id !== self)
      .map((id) =>
        follower(id, {
          ...(down.includes(id) ? { lastHeardAt: 0 } : quiet.includes(id) ? { lastHeardAt: now - 500 } : {}),
          ...(behind.includes(id) ? { matchIndex: 10 } : {}),
        }),
      ),
    lastIndex: 100,
    now,
    silentMs: 1_000,
    learnerLagMax: 20,
    askedAt: () => now - 200,
    later: new Set(list(c.later)),
    member: (id) => !list(c.outside).includes(id),
    linked: (id) => !down.includes(id),
  };
  const wanted: WantedCore[] = list(c.wanted).map((w) =>
    w.startsWith('-') ? { nodeId: w.slice(1), wanted: 'removed' } : { nodeId: w, wanted: 'voter' },
  );
  const step = nextCoreSetStep(wanted, view);
  if (step === undefined) return '';
  return step.type === 'transfer' ? `transfer ${step.to}` : `${step.change.kind} ${step.change.node}`;
}

const cases: readonly Case[] = [
  { what: 'as wanted', voters: 'a b c', wanted: 'a b c', step: '' },
  { what: 'a voter that the table does not know stays', voters: 'a b c', wanted: 'a b', step: '' },
  { what: 'a new core comes in as learner', voters: 'a', wanted: 'a b', step: 'addLearner b' },
  { what: 'one that is not of the members’ group does not', voters: 'a', wanted: 'a b', outside: 'b', step: '' },
  {
    what: 'a learner that is not of it any more becomes a voter all the same',
    voters: 'a',
    learners: 'b',
    wanted: 'a b',
    outside: 'b',
    step: 'promote b',
  },
  { what: 'one that is not there does not', voters: 'a', wanted: 'a b', down: 'b', step: '' },
  { what: 'a learner that has caught up becomes a voter', voters: 'a', learners: 'b', wanted: 'a b', step: 'promote b' },
  { what: 'a learner that is behind does not', voters: 'a', learners: 'b', wanted: 'a b', behind: 'b', step: '' },
  { what: 'a learner that fell silent does not', voters: 'a', learners: 'b', wanted: 'a b', down: 'b', step: '' },
  { what: 'promotion before the next learner', voters: 'a', learners: 'b', wanted: 'a c b', step: 'promote b' },
  { what: 'a lost core goes before its replacement comes', voters: 'a b c', learners: 'd', wanted: 'a b -c d', down: 'c', step: 'remove c' },
  { what: 'a running core goes after the replacement has come', voters: 'a b c', learners: 'd', wanted: 'a b -c d', step: 'promote d' },
  { what: 'no replacement becomes a voter beside a lost core', voters: 'a b c', learners: 'd', wanted: 'd a b -c', down: 'c', later: 'c', step: '' },
  { what: 'it comes in as a learner', voters: 'a b c', wanted: 'd a b -c', down: 'c', later: 'c', step: 'addLearner d' },
  { what: 'beside one that runs it does', voters: 'a b c', learners: 'd', wanted: 'a b -c d', later: 'c', step: 'promote d' },
  { what: 'who goes later stays', voters: 'a b c', wanted: 'a b -c', later: 'c', step: '' },
  { what: 'nor one beside a lost core that nobody vouches for', voters: 'a b c', learners: 'd', wanted: 'd a b -c', down: 'c', quiet: 'b', step: '' },
  { what: 'a learner that is wanted no more goes at once', voters: 'a b', learners: 'c', wanted: 'a b -c', step: 'remove c' },
  { what: 'a running core goes', voters: 'a b c', wanted: 'a b -c', step: 'remove c' },
  { what: 'not when the rest would have no running majority', voters: 'a b c', wanted: 'a b -c', down: 'b', step: '' },
  { what: 'not before enough of the rest have answered since', voters: 'a b c', wanted: 'a b -c', quiet: 'b', step: '' },
  { what: 'a dead one neither', voters: 'a b c', wanted: 'a b -c', down: 'c', quiet: 'b', step: '' },
  { what: 'who goes does not count', voters: 'a b c', wanted: 'a b -c', quiet: 'c', step: 'remove c' },
  { what: 'two of them leave: the dead one first', voters: 'a b c', wanted: 'a -b -c', down: 'c', step: 'remove c' },
  { what: 'the leader hands leadership on before it goes', voters: 'a b c', wanted: '-a b c', behind: 'b', step: 'transfer c' },
  { what: 'to nobody who goes, too', voters: 'a b c', wanted: '-a -c b', step: 'transfer b' },
  { what: 'before anything else', voters: 'a b c', learners: 'd', wanted: '-a b c d', step: 'transfer b' },
  { what: 'nobody could follow it: it removes the others that go', voters: 'a b c', wanted: '-a b -c', behind: 'b', step: 'remove c' },
  { what: 'the leader waits while nobody could follow it', voters: 'a b c', wanted: '-a b c', behind: 'b c', step: '' },
  { what: 'two become one', voters: 'a b', wanted: 'a -b', step: 'remove b' },
  { what: 'the last voter stays', voters: 'a', wanted: '-a', step: '' },
];

for (const c of cases) test(`core set: ${c.what}`, () => assert.equal(stepOf(c), c.step));

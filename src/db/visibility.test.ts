import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dbBounds } from './bounds.js';
import type { LeaseRequest } from './lease-codec.js';
import { Visibility, type VisibilityOptions } from './visibility.js';

interface Raft {
  changePending?: boolean;
  configAt?: (index: number) => { readonly voters: readonly string[]; readonly learners: readonly string[] };
  role: string;
  leader: string;
  term: number;
  termStartIndex: number;
  commitIndex: number;
  recovering: boolean;
}

/** Two cores and what they tell each other: every message is let through by hand. */
class Pair {
  now = 0;
  readonly applied: Record<string, number> = { a: 100, b: 100 };
  readonly copying: Set<string> = new Set();
  readonly effective: Record<string, number> = { a: 0, b: 0 };
  readonly raft: Record<string, Raft> = {};
  readonly ends: Record<string, Visibility> = {};
  readonly reports: (() => void)[] = [];
  /** Both know of reports that are only sent when somebody waits. */
  lazy = false;
  voters: readonly string[] = ['a', 'b', 'gone'];
  learners: readonly string[] = [];

  constructor() {
    for (const [id, role] of [
      ['a', 'leader'],
      ['b', 'follower'],
    ] as const) {
      this.raft[id] = { role, leader: 'a', term: 1, termStartIndex: 100, commitIndex: 100, recovering: false };
      const options = {
        shard: 'items',
        nodeId: id,
        clock: { now: () => this.now },
        bounds: dbBounds,
        transport: {
          sendVisible: (to: string, _shard: string, index: number) => this.reports.push(() => this.end(to).report(id, index)),
          sendWanted: (to: string, _shard: string, index: number) =>
            this.reports.push(() => (to === 'gone' ? undefined : this.end(to).wanted(index))),
        },
        raft: () => ({ ...this.raft[id], config: { voters: this.voters, learners: this.learners } }),
        leader: () => ({
          effective: (index: number) => {
            this.effective[id] = index;
          },
        }),
        applied: () => this.applied[id],
        visibleHere: () => this.applied[id],
        copying: () => this.copying.has(id),
        links: { peers: () => [], speaks: () => this.lazy, roundTripMs: () => undefined },
        handsDown: true,
        askNow: () => {},
      };
      this.ends[id] = new Visibility(options as unknown as VisibilityOptions);
    }
    this.end('a').roleChanged();
  }

  end(id: string): Visibility {
    return this.ends[id] as Visibility;
  }

  /** One round of requests and answers from a node; the answers come `laterMs` after the questions were sent. */
  ask(from: string, laterMs: number = 0): void {
    const sentAt = this.now;
    const asked: [string, LeaseRequest][] = [];
    this.end(from).requests((of, request) => asked.push([of, request]));
    for (const [of, request] of asked) {
      if (of === 'gone') continue;
      const grant = this.end(of).judge(from, request, sentAt);
      this.now += laterMs;
      if (grant !== undefined) this.end(from).granted(of, grant, sentAt);
    }
    this.end(from).extensions((to, round, grant) => this.end(to).granted(from, grant, round));
  }

  /** Both ask, so that both are in service. */
  settle(): void {
    this.ask('a');
    this.ask('b');
  }

  write(index: number, ...on: string[]): void {
    for (const id of on) this.applied[id] = index;
    for (const id of on) this.end(id).moved();
    for (const report of this.reports.splice(0)) report();
  }
}

test('effective is what everybody with a lease has seen', () => {
  const p = new Pair();
  p.settle();
  assert.equal(p.end('a').inService, true);
  assert.equal(p.end('b').inService, true);
  p.now = 1_000;
  p.settle();
  p.write(101, 'a');
  assert.equal(p.effective.a, 100, 'b has a lease and has not seen it');
  p.write(101, 'b');
  assert.equal(p.effective.a, 101);
});

test('a core that falls silent delays by its lease at most, and knows before that it is out of service', () => {
  const p = new Pair();
  p.settle();
  p.now = 950;
  p.settle();
  p.now = 1_100;
  p.settle();
  assert.equal(p.effective.a, 100);
  p.write(101, 'a');
  for (p.now = 1_100; p.effective.a === 100; p.now += 10) {
    p.ask('a');
    p.end('a').moved();
  }
  assert.equal(p.end('b').inService, false);
  assert.ok(p.now >= 1_575 && p.now <= 1_650, `at ${p.now}`);
});

test('what was reported effective meanwhile must be seen before a core is in service again', () => {
  const p = new Pair();
  p.settle();
  p.now = 2_000;
  p.ask('a');
  p.write(120, 'a');
  assert.equal(p.effective.a, 120);
  p.ask('b');
  assert.equal(p.end('b').inService, false);
  p.write(121, 'a');
  assert.equal(p.effective.a, 120, 'and from now on it is waited for');
  p.write(120, 'b');
  assert.equal(p.end('b').inService, true);
});

test('a new leader that knows nothing waits for two whole leases before it leaves anybody out', () => {
  const p = new Pair();
  p.ask('a');
  p.write(130, 'a', 'b');
  assert.equal(p.effective.a, 0, 'b has not said that it holds no lease, nor has the third');
  p.now = 999;
  p.ask('a');
  p.ask('b');
  assert.equal(p.effective.a, 0);
  p.now = 1_000;
  p.end('a').moved();
  assert.equal(p.effective.a, 130);
});

/** `b` leads in the next term, has asked the others, and both have written up to 130. */
function otherLeads(p: Pair): void {
  p.raft.a = { ...(p.raft.a as Raft), role: 'follower', leader: 'b', term: 2 };
  p.raft.b = { ...(p.raft.b as Raft), role: 'leader', leader: 'b', term: 2 };
  p.end('b').roleChanged();
  p.end('a').roleChanged();
  p.ask('b');
  p.write(130, 'a', 'b');
}

test('a new leader waits no longer than a majority says that others may have counted on it', () => {
  const p = new Pair();
  for (p.now = 5_000; p.now <= 8_000; p.now += 100) p.settle();
  p.now = 8_300;
  otherLeads(p);
  assert.equal(p.effective.b, 0, 'the third may hold a lease of the leader before');
  p.now = 8_999;
  p.ask('b');
  assert.equal(p.effective.b, 0);
  p.now = 9_000;
  p.end('b').moved();
  assert.equal(p.effective.b, 130);
});

test('a new leader waits for those whom a core that has left may have let into service, whatever those that stay say', () => {
  const p = new Pair();
  for (p.now = 5_000; p.now <= 8_000; p.now += 100) p.settle();
  p.voters = ['a', 'b'];
  p.now = 8_200;
  p.end('b').requests(() => {});
  p.now = 8_300;
  otherLeads(p);
  assert.equal(p.effective.b, 0);
  p.now = 9_199;
  p.ask('b');
  assert.equal(p.effective.b, 0, 'two leases since the group changed, as far as b has seen');
  p.now = 9_200;
  p.end('b').moved();
  assert.equal(p.effective.b, 130);
});

test('who comes into the group is granted a lease when that is committed', () => {
  const p = new Pair();
  p.voters = ['a'];
  p.learners = ['b'];
  const pending = { ...(p.raft.a as Raft), changePending: true, configAt: () => ({ voters: ['a'], learners: [] }) };
  p.raft.a = pending;
  p.settle();
  assert.equal(p.end('b').inService, false, 'the next leader may never hear of it');
  p.raft.a = { ...pending, configAt: () => ({ voters: ['a'], learners: ['b'] }) };
  p.settle();
  assert.equal(p.end('b').inService, true);
});

test('a new leader waits for a learner that was taken out a moment ago, as long as it may hold a lease of the leader before', () => {
  const p = new Pair();
  p.voters = ['a', 'b'];
  p.learners = ['gone'];
  for (p.now = 5_000; p.now <= 8_000; p.now += 100) p.settle();
  p.learners = [];
  p.now = 8_200;
  p.end('b').requests(() => {});
  p.now = 8_300;
  otherLeads(p);
  assert.equal(p.effective.b, 0);
  p.now = 8_999;
  p.ask('b');
  assert.equal(p.effective.b, 0, 'as long as both say that the one before may have counted on them');
  p.now = 9_000;
  p.end('b').moved();
  assert.equal(p.effective.b, 130);
});

test('a leader that hears from no majority reports nothing effective and is out of service', () => {
  const p = new Pair();
  p.settle();
  p.now = 949;
  assert.equal(p.end('a').inService, true);
  p.now = 951;
  assert.equal(p.end('a').inService, false);
  p.now = 1_100;
  p.write(140, 'a');
  assert.equal(p.effective.a, 0);
  p.ask('b');
  assert.equal(p.end('b').inService, false, 'nor does it grant any lease');
});

test('a lease counts from when it was asked for', () => {
  const p = new Pair();
  p.ask('a');
  p.ask('b', 440);
  assert.equal(p.end('b').inService, true);
  p.now += 40;
  assert.equal(p.end('b').inService, false);
});

test('a core with a damaged log confirms no leader, and one that copies tables is not in service', () => {
  const p = new Pair();
  (p.raft.b as Raft).recovering = true;
  p.ask('a');
  assert.equal(p.end('a').inService, false);
  (p.raft.b as Raft).recovering = false;
  p.settle();
  p.copying.add('b');
  p.end('b').left();
  assert.equal(p.end('b').inService, false);
  p.copying.delete('b');
  assert.equal(p.end('b').caughtUp, false);
  p.ask('b');
  assert.equal(p.end('b').caughtUp, true);
});

test('answers of another term are none', () => {
  const p = new Pair();
  (p.raft.b as Raft).term = 2;
  p.settle();
  assert.equal(p.end('a').inService, false);
  assert.equal(p.end('b').inService, false);
});

test('a report is sent when somebody waits for it; what nobody waits for is said with the next request for a lease', () => {
  const p = new Pair();
  p.lazy = true;
  p.settle();
  p.now = 1_000;
  p.settle();
  // The first report to a leader is always sent.
  p.write(100, 'a', 'b');
  p.applied.a = p.applied.b = 105;
  p.end('a').moved();
  p.end('b').moved();
  assert.equal(p.reports.length, 0);
  assert.equal(p.effective.a, 100);
  p.ask('b');
  assert.equal(p.effective.a, 105, 'the request says it');
  assert.equal(p.end('b').floor, 105, 'and who joins there must have seen it');
  p.end('a').want(107);
  for (const tell of p.reports.splice(0)) tell();
  for (const index of [106, 107, 108]) {
    p.applied.a = p.applied.b = index;
    p.end('b').moved();
  }
  assert.equal(p.reports.length, 2, 'each step up to what is waited for, and none beyond');
  for (const tell of p.reports.splice(0)) tell();
  assert.equal(p.effective.a, 107);
});

test('what somebody waits for and is seen already is reported at once', () => {
  const p = new Pair();
  p.lazy = true;
  p.settle();
  p.write(100, 'a', 'b');
  p.applied.b = 105;
  p.end('b').moved();
  assert.equal(p.reports.length, 0);
  p.end('b').wanted(103);
  assert.equal(p.reports.length, 1);
  p.end('b').wanted(102);
  assert.equal(p.reports.length, 1);
});

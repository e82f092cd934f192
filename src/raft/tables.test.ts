// Progress, quorums and configurations by tables and against naive versions of them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { changedConfig } from './membership.js';
import { Progress } from './progress.js';
import { majorityValue, voteOutcome } from './quorum.js';
import type { ConfigChange, RaftConfig } from './types.js';

test('inflight: each message takes a place, bytes are summed', () => {
  const p = new Progress(1, 0);
  p.becomeReplicate();
  for (let i = 1; i <= 20; i++) {
    p.sent(i, i);
    assert.equal(p.inflightMessages, i);
    assert.equal(p.inflightBytes, (i * (i + 1)) / 2);
    assert.equal(p.nextIndex, i + 1);
  }
});

test('inflight: an acknowledgement frees all up to it, one below frees none', () => {
  const p = new Progress(1, 0);
  p.becomeReplicate();
  for (let i = 1; i <= 10; i++) p.sent(i, 100);
  for (const [index, left] of [
    [0, 10],
    [4, 6],
    [4, 6],
    [2, 6],
    [8, 2],
    [10, 0],
  ] as const) {
    p.acknowledged(index);
    assert.deepEqual([p.inflightMessages, p.inflightBytes], [left, left * 100], String(index));
  }
  for (let i = 11; i <= 15; i++) p.sent(i, 1);
  p.acknowledged(13);
  assert.deepEqual([p.inflightMessages, p.inflightBytes], [2, 2]);
});

test('inflight: full by messages or by bytes, whichever comes first', () => {
  for (const [messages, bytes, sizes, full] of [
    [3, 1000, [1, 1], false],
    [3, 1000, [1, 1, 1], true],
    [3, 10, [9], false],
    [3, 10, [10], true],
    [3, 10, [4, 6], true],
    [3, 10, [99], true],
    [3, 10, [], false],
  ] as const) {
    const p = new Progress(1, 0);
    p.becomeReplicate();
    sizes.forEach((size, i) => {
      p.sent(i + 1, size);
    });
    assert.equal(p.full(messages, bytes), full, `${sizes}`);
  }
});

test('inflight: starting over forgets what was on its way', () => {
  for (const restart of [(p: Progress) => p.becomeProbe(1), (p: Progress) => p.becomeSnapshot(), (p: Progress) => p.becomeReplicate()]) {
    const p = new Progress(1, 0);
    p.becomeReplicate();
    p.sent(1, 10);
    p.sent(2, 10);
    restart(p);
    assert.deepEqual([p.inflightMessages, p.inflightBytes], [0, 0]);
    p.sent(5, 7);
    assert.deepEqual([p.inflightMessages, p.inflightBytes], [1, 7]);
  }
});

test('progress: to probe, never below what matched, and not waiting', () => {
  for (const [match, next, expected] of [
    [1, 2, 2],
    [1, 9, 9],
    [5, 2, 6],
    [0, 1, 1],
  ] as const) {
    const p = new Progress(20, 0);
    p.acknowledged(match);
    p.paused = true;
    const { stream } = p;
    p.becomeProbe(next);
    assert.deepEqual([p.state, p.matchIndex, p.nextIndex, p.paused, p.stream], ['probe', match, expected, false, stream + 1]);
  }
});

test('progress: to replicate, going on behind what matched', () => {
  const p = new Progress(5, 0);
  p.acknowledged(1);
  p.paused = true;
  p.becomeReplicate();
  assert.deepEqual([p.state, p.matchIndex, p.nextIndex, p.paused], ['replicate', 1, 2, false]);
});

test('progress: to snapshot, keeping what matched', () => {
  const p = new Progress(5, 0);
  p.acknowledged(1);
  p.becomeSnapshot();
  assert.deepEqual([p.state, p.matchIndex, p.nextIndex], ['snapshot', 1, 5]);
});

test('progress: acknowledgements move match and next forward only', () => {
  for (const [index, match, next, news] of [
    [2, 3, 5, false],
    [3, 3, 5, false],
    [4, 4, 5, true],
    [5, 5, 6, true],
    [9, 9, 10, true],
  ] as const) {
    const p = new Progress(5, 0);
    p.acknowledged(3);
    assert.equal(p.acknowledged(index), news, String(index));
    assert.deepEqual([p.matchIndex, p.nextIndex], [match, next], String(index));
  }
});

test('progress: a member that is being repaired does not count', () => {
  const p = new Progress(1, 0);
  assert.equal(p.counts, true);
  p.recovery = 5;
  assert.equal(p.counts, false);
});

test('majority table: what is committed by these acknowledgements', () => {
  for (const [values, expected] of [
    [[], Number.POSITIVE_INFINITY],
    [[12], 12],
    [[0], 0],
    [[12, 5], 5],
    [[12, 0], 0],
    [[12, 5, 6], 6],
    [[12, 0, 6], 6],
    [[12, 0, 0], 0],
    [[5, 5, 5], 5],
    [[101, 104, 103, 103], 103],
    [[101, 102, 103, 104], 102],
    [[101, 104, 103, 103, 1], 103],
    [[1, 2, 3, 4, 5], 3],
    [[0, 0, 0, 9, 9], 0],
    [[9, 0, 9, 0, 9], 9],
  ] as const) {
    const ids = values.map((_, i) => `n${i}`);
    assert.equal(
      majorityValue(ids, (id) => values[Number(id.slice(1))] ?? 0),
      expected,
      `${values}`,
    );
  }
});

test('majority table: the order of the voters makes no difference', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9), { minLength: 1, maxLength: 7 }), fc.nat(), (values, turn) => {
      const ids = values.map((_, i) => `${i}`);
      const turned = ids.map((_, i) => ids[(i + turn) % ids.length] ?? '');
      const value = (id: string): number => values[Number(id)] ?? 0;
      assert.equal(majorityValue(turned, value), majorityValue(ids, value));
    }),
  );
});

test('vote table: y granted, n refused, . not answered', () => {
  for (const [votes, expected] of [
    ['.', 'open'],
    ['y', 'won'],
    ['n', 'lost'],
    ['..', 'open'],
    ['n.', 'lost'],
    ['y.', 'open'],
    ['yn', 'lost'],
    ['yy', 'won'],
    ['...', 'open'],
    ['n..', 'open'],
    ['nn.', 'lost'],
    ['yn.', 'open'],
    ['yy.', 'won'],
    ['yyn', 'won'],
    ['ynn', 'lost'],
    ['....', 'open'],
    ['yy..', 'open'],
    ['yyn.', 'open'],
    ['yyy.', 'won'],
    ['yynn', 'lost'],
    ['nn..', 'lost'],
    ['yynyn', 'won'],
    ['yynn.', 'open'],
    ['nnn..', 'lost'],
  ] as const) {
    const ids = [...votes].map((_, i) => `n${i}`);
    const map = new Map<string, boolean>();
    ids.forEach((id, i) => {
      if (votes[i] !== '.') map.set(id, votes[i] === 'y');
    });
    map.set('stranger', true);
    assert.equal(voteOutcome(ids, map), expected, votes);
  }
});

test('vote table: never both won and lost, and once decided decided for good', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 9 }), (answers) => {
      const ids = answers.map((_, i) => `${i}`);
      const votes = new Map<string, boolean>();
      let decided = 'open';
      for (const [i, granted] of answers.entries()) {
        votes.set(`${i}`, granted);
        const outcome = voteOutcome(ids, votes);
        if (decided !== 'open') assert.equal(outcome, decided);
        decided = outcome;
      }
      const yes = answers.filter((a) => a).length;
      assert.equal(decided, yes * 2 > answers.length ? 'won' : 'lost');
    }),
  );
});

const kinds = ['addLearner', 'promote', 'demote', 'remove'] as const;

/** `a b | c`: voters and learners. */
function parse(text: string): RaftConfig {
  const [voters = '', learners = ''] = text.split('|');
  const list = (s: string): string[] => s.split(' ').filter((w) => w !== '');
  return { voters: list(voters), learners: list(learners) };
}

test('config table: what each change makes of a configuration', () => {
  for (const [before, kind, node, after] of [
    ['a | ', 'addLearner', 'b', 'a | b'],
    ['a | b', 'promote', 'b', 'a b | '],
    ['a b | ', 'demote', 'b', 'a | b'],
    ['a b | ', 'demote', 'a', 'b | a'],
    ['a b | c', 'remove', 'c', 'a b | '],
    ['a b | c', 'remove', 'a', 'b | c'],
    ['a | b c', 'remove', 'b', 'a | c'],
    ['a b | ', 'addLearner', 'b', undefined],
    ['a | b', 'addLearner', 'b', undefined],
    ['a | ', 'promote', 'b', undefined],
    ['a b | ', 'promote', 'b', undefined],
    ['a | b', 'demote', 'b', undefined],
    ['a | b', 'demote', 'a', undefined],
    ['a | b', 'remove', 'a', undefined],
    ['a | b', 'remove', 'c', undefined],
  ] as const) {
    const changed = changedConfig(parse(before), { kind, node });
    assert.deepEqual(changed, after === undefined ? undefined : parse(after), `${before} ${kind} ${node}`);
  }
});

test('config table: a node without a name is nobody', () => {
  for (const kind of kinds) assert.equal(changedConfig(parse('a b | c'), { kind, node: '' }), undefined);
});

test('config table: a change made twice is refused the second time', () => {
  for (const [before, kind, node] of [
    ['a b | ', 'addLearner', 'c'],
    ['a b | c', 'promote', 'c'],
    ['a b c | ', 'demote', 'c'],
    ['a b c | d', 'remove', 'c'],
    ['a b c | d', 'remove', 'd'],
  ] as const) {
    const change: ConfigChange = { kind, node };
    const once = changedConfig(parse(before), change);
    assert.ok(once !== undefined);
    assert.equal(changedConfig(once, change), undefined, `${before} ${kind}`);
  }
});

test('config property: any changes keep voters apart from learners, somebody voting, and majorities overlapping', () => {
  const change = fc.record({ kind: fc.constantFrom(...kinds), node: fc.constantFrom(...'abcdef') });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      let config = parse('a | ');
      for (const c of changes) {
        const next = changedConfig(config, c);
        if (next === undefined) continue;
        const all = [...next.voters, ...next.learners];
        assert.equal(new Set(all).size, all.length, 'each node once');
        assert.ok(next.voters.length > 0);
        const changed = [...config.voters.filter((v) => !next.voters.includes(v)), ...next.voters.filter((v) => !config.voters.includes(v))];
        assert.ok(changed.length <= 1, 'one voter at a time');
        // Any majority of the one and any of the other have a node in common.
        const union = new Set([...config.voters, ...next.voters]).size;
        assert.ok((config.voters.length >> 1) + 1 + (next.voters.length >> 1) + 1 > union);
        config = next;
      }
    }),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type CorePeer, decodeFormation, encodeFormation, type Formed } from './formation.js';
import { decideByCount, type Gatherer, gatheringOf } from './gathering.js';

const abc = ['id-a', 'id-b', 'id-c'];

function self(name: string, bound: readonly string[] | undefined = undefined, count: number = 3): Gatherer {
  return { name, nodeId: `id-${name}`, count, bound };
}

function peer(name: string, seen: readonly string[] = abc, bound: boolean = false, count: number = 3): CorePeer {
  return { name, nodeId: `id-${name}`, info: { cores: [], formed: undefined, gathering: { count, seen, bound } } };
}

const formed: Formed = { clusterId: 'cid', voters: abc };

const table: readonly {
  readonly what: string;
  readonly who: Gatherer;
  readonly peers: readonly CorePeer[];
  readonly unknown?: string[];
  readonly step: string | RegExp;
}[] = [
  { what: 'a core alone that is to be alone binds itself', who: self('a', undefined, 1), peers: [], step: 'bind id-a' },
  { what: 'and mints', who: self('a', ['id-a'], 1), peers: [], step: 'mint id-a' },
  { what: 'one is missing', who: self('a'), peers: [peer('b')], step: /2 of 3 cores are here/ },
  { what: 'one too many', who: self('a'), peers: [peer('b'), peer('c'), peer('d')], step: /4 empty cores are here and cluster.core_count is 3/ },
  { what: 'all see the same', who: self('a'), peers: [peer('b'), peer('c')], step: 'bind id-a id-b id-c' },
  { what: 'one sees fewer', who: self('a'), peers: [peer('b'), peer('c', ['id-a', 'id-c'])], step: /c does not see the same/ },
  { what: 'one is bound to others', who: self('a'), peers: [peer('b'), peer('c', ['id-c', 'id-d', 'id-e'], true)], step: /c does not see the same/ },
  { what: 'one counts otherwise', who: self('a'), peers: [peer('b'), peer('c', abc, false, 5)], step: /core_count = 5, this one 3/ },
  {
    what: 'somebody is named who does not answer',
    who: self('a'),
    peers: [peer('b'), peer('c')],
    unknown: ['10.0.0.9:4370'],
    step: /10\.0\.0\.9:4370, and nobody answers/,
  },
  { what: 'one is not bound yet', who: self('a', abc), peers: [peer('b', abc, true), peer('c')], step: /waiting for c to agree/ },
  { what: 'all are bound: the first mints', who: self('a', abc), peers: [peer('b', abc, true), peer('c', abc, true)], step: 'mint id-a id-b id-c' },
  { what: 'all are bound: the others wait', who: self('b', abc), peers: [peer('a', abc, true), peer('c', abc, true)], step: /waiting for a to form/ },
  {
    what: 'a bound one whose fellow is gone',
    who: self('a', abc),
    peers: [peer('b', abc, true), peer('d')],
    step: /agreed to form a cluster with 1 cores that are not here/,
  },
  {
    what: 'a bound one does not mind others',
    who: self('a', abc),
    peers: [peer('b', abc, true), peer('c', abc, true), peer('d')],
    step: 'mint id-a id-b id-c',
  },
  { what: 'there is a cluster', who: self('d', undefined, 4), peers: [{ name: 'a', nodeId: 'id-a', info: { cores: [], formed } }], step: 'adopt' },
  {
    what: 'a peer with names',
    who: self('a', undefined, 2),
    peers: [{ name: 'b', nodeId: 'id-b', info: { cores: ['a', 'b'], formed: undefined } }],
    step: /configure all cores alike/,
  },
  { what: 'two of one name', who: self('a'), peers: [peer('b'), { ...peer('b'), nodeId: 'id-z' }], step: /two cores are called b/ },
];

for (const row of table) {
  test(`gathering: ${row.what}`, () => {
    const step = decideByCount(row.who, row.peers, row.unknown ?? []);
    const text =
      step.type === 'wait'
        ? step.why
        : step.type === 'bind'
          ? `bind ${step.to.join(' ')}`
          : step.type === 'mint'
            ? `mint ${step.voters.join(' ')}`
            : step.type;
    if (typeof row.step === 'string') assert.equal(text, row.step);
    else assert.match(text, row.step);
  });
}

test('gathering: what a core says of itself is read as it was said', () => {
  for (const bound of [undefined, abc]) {
    const info = { cores: [], formed: undefined, gathering: gatheringOf(self('a', bound), [peer('c'), peer('b')]) };
    assert.deepEqual(decodeFormation(encodeFormation(info)), info);
    assert.deepEqual(info.gathering.seen, abc);
  }
});

// Cores that see whom chance lets them see, hear late what others said, restart and lose nothing that was kept.
test('property: two clusters need twice as many cores as were asked for', () => {
  const cores = 5;
  const ids = Array.from({ length: cores }, (_, i) => `id-${i}`);
  const moves = fc.array(fc.tuple(fc.nat(cores - 1), fc.array(fc.boolean(), { minLength: cores, maxLength: cores })), { maxLength: 60 });
  fc.assert(
    fc.property(moves, fc.constantFrom(3, 4, 5), (steps, count) => {
      const bound = new Map<number, readonly string[]>();
      const said = new Map<number, CorePeer>();
      const minted = new Set<string>();
      for (const [who, sees] of steps) {
        const me: Gatherer = { name: `${who}`, nodeId: ids[who] ?? '', count, bound: bound.get(who) };
        const peers = [...said].filter(([i]) => i !== who && sees[i] === true).map(([, p]) => p);
        said.set(who, { name: me.name, nodeId: me.nodeId, info: { cores: [], formed: undefined, gathering: gatheringOf(me, peers) } });
        const step = decideByCount(me, peers, []);
        if (step.type === 'bind') bound.set(who, step.to);
        if (step.type === 'mint') minted.add(step.voters.join());
      }
      assert.ok(minted.size <= 1, [...minted].join(' and '));
    }),
    { numRuns: 5000, seed: 11 },
  );
  // And that the search reaches a cluster at all.
  let reached = 0;
  fc.assert(
    fc.property(fc.shuffledSubarray([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2], { minLength: 15 }), (order) => {
      const bound = new Map<number, readonly string[]>();
      const said = new Map<number, CorePeer>();
      for (const who of order) {
        const me: Gatherer = { name: `${who}`, nodeId: ids[who] ?? '', count: 3, bound: bound.get(who) };
        const peers = [...said].filter(([i]) => i !== who).map(([, p]) => p);
        const step = decideByCount(me, peers, []);
        if (step.type === 'bind') bound.set(who, step.to);
        if (step.type === 'mint') reached++;
        const now = { ...me, bound: bound.get(who) };
        said.set(who, { name: me.name, nodeId: me.nodeId, info: { cores: [], formed: undefined, gathering: gatheringOf(now, peers) } });
      }
    }),
    { numRuns: 100, seed: 3 },
  );
  assert.ok(reached > 0);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decideAdoption, decodeFormation, encodeFormation, type Formed, type Recovery } from './formation.js';
import { type Standing, standing } from './recovery.js';

const once: Recovery = { count: 1, tag: 'aa' };
const twice: Recovery = { count: 2, tag: 'bb' };

const table: readonly (readonly [Recovery | undefined, Recovery | undefined, Standing])[] = [
  [undefined, undefined, 'same'],
  [undefined, once, 'newer'],
  [once, undefined, 'older'],
  [once, { ...once }, 'same'],
  [once, twice, 'newer'],
  [twice, once, 'older'],
  [once, { count: 1, tag: 'cc' }, 'rival'],
];

for (const [ours, theirs, expected] of table) {
  test(`histories: ${ours?.tag ?? 'none'} meets ${theirs?.tag ?? 'none'}: ${expected}`, () => {
    assert.equal(standing(ours, theirs), expected);
    // What one side calls newer the other calls older: exactly one of two gives way.
    const mirrored = { newer: 'older', older: 'newer', same: 'same', rival: 'rival' } as const;
    assert.equal(standing(theirs, ours), mirrored[expected]);
  });
}

function core(name: string, recovery?: Recovery): { name: string; nodeId: string; info: { cores: string[]; formed: Formed } } {
  const formed: Formed = { clusterId: 'cid', voters: [name], ...(recovery === undefined ? {} : { recovery }) };
  return { name, nodeId: name, info: { cores: [], formed } };
}

test('an empty core follows the newest history in sight, and none where two are rivals', () => {
  for (const peers of [
    [core('old'), core('new', once)],
    [core('new', once), core('old')],
  ]) {
    const step = decideAdoption(peers);
    assert.equal(step?.type === 'adopt' ? step.formed.recovery?.tag : step?.type, 'aa');
  }
  assert.equal(decideAdoption([core('a', once), core('b', { count: 1, tag: 'cc' })])?.type, 'wait');
  assert.equal(decideAdoption([core('a', once), core('b', twice), core('c')])?.type, 'adopt');
});

test('an empty core does not believe another one that has not joined: it may have met a core of a history that is over', () => {
  const misled = { ...core('misled'), nodeId: 'new id of misled' };
  assert.equal(decideAdoption([misled])?.type, 'wait');
  const step = decideAdoption([misled, core('survivor', once)]);
  assert.equal(step?.type === 'adopt' ? step.formed.recovery?.tag : step?.type, 'aa');
  assert.equal(decideAdoption([{ ...misled, joined: true }])?.type, 'adopt');
});

test('a core says which history it has', () => {
  const { info } = core('a', twice);
  assert.deepEqual(decodeFormation(encodeFormation(info)), info);
});

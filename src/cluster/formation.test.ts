import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CorePeer, decideFormation, decodeFormation, encodeFormation, type FormationInfo, type Formed } from './formation.js';

const cores = ['a', 'b', 'c'];
const formed: Formed = { clusterId: 'cid', voters: ['id-a', 'id-b', 'id-c'] };

function self(name: string, of: readonly string[] = cores): { name: string; nodeId: string; cores: readonly string[] } {
  return { name, nodeId: `id-${name}`, cores: of };
}

function peer(name: string, info: FormationInfo | undefined = { cores, formed: undefined }): CorePeer {
  return { name, nodeId: `id-${name}`, info };
}

const table: readonly {
  readonly what: string;
  readonly who: string;
  readonly of?: readonly string[];
  readonly peers: readonly CorePeer[];
  readonly step: string;
}[] = [
  { what: 'a core alone forms its cluster', who: 'a', of: ['a'], peers: [], step: 'mint id-a' },
  { what: 'nobody else is there', who: 'a', peers: [], step: 'wait' },
  { what: 'one of three is away: an empty one is no proof that all are', who: 'a', peers: [peer('b')], step: 'wait' },
  { what: 'all are there and empty: the smallest name mints', who: 'a', peers: [peer('b'), peer('c')], step: 'mint id-a id-b id-c' },
  { what: 'all are there and empty: the others wait for it', who: 'b', peers: [peer('a'), peer('c')], step: 'wait' },
  {
    what: 'a peer has not said yet what it is',
    who: 'a',
    peers: [peer('b'), peer('c', undefined)].map((p, i) => (i === 1 ? { ...p, info: undefined } : p)),
    step: 'wait',
  },
  { what: 'a peer is configured with other cores', who: 'a', peers: [peer('b'), peer('c', { cores: ['a', 'c'], formed: undefined })], step: 'wait' },
  {
    what: 'a formed peer that knows this core is followed, whoever else is away',
    who: 'c',
    peers: [peer('a', { cores, formed })],
    step: 'adopt cid',
  },
  { what: 'a formed peer is followed before anybody mints', who: 'a', peers: [peer('b'), peer('c', { cores, formed })], step: 'adopt cid' },
  {
    what: 'a core that the cluster does not know, new or wiped, follows it too: its leaders admit it',
    who: 'a',
    peers: [peer('b', { cores, formed: { clusterId: 'cid', voters: ['another', 'id-b', 'id-c'] } }), peer('c')],
    step: 'adopt cid',
  },
  {
    what: 'two clusters in sight: neither',
    who: 'a',
    peers: [peer('b', { cores, formed }), peer('c', { cores, formed: { ...formed, clusterId: 'other' } })],
    step: 'wait',
  },
];

for (const row of table) {
  test(`formation: ${row.what}`, () => {
    const step = decideFormation(self(row.who, row.of), row.peers);
    const text = step.type === 'mint' ? `mint ${step.voters.join(' ')}` : step.type === 'adopt' ? `adopt ${step.formed.clusterId}` : step.type;
    assert.equal(text, row.step);
  });
}

test('formation: what a core says of itself is read as it was said, anything else is nobody’s', () => {
  for (const info of [
    { cores, formed: undefined },
    { cores, formed },
    { cores, formed: { ...formed, names: ['a', 'b', 'c'] } },
  ])
    assert.deepEqual(decodeFormation(encodeFormation(info)), info);
  assert.equal(decodeFormation(new Uint8Array(0)), undefined);
  assert.equal(decodeFormation(Uint8Array.of(9, 9, 9)), undefined);
  const whole = encodeFormation({ cores, formed });
  for (let n = 1; n < whole.length; n++) assert.equal(decodeFormation(whole.subarray(0, n)), undefined, `cut at ${n}`);
});

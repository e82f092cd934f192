import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Leaving, type LeavingOptions } from './leaving.js';
import type { CoreRow, Member } from './schema.js';

/** What a, one of a, b, c, hears when it is to leave and these links are up. The table says that all run. */
function refusal(linked: readonly string[]): string | undefined {
  const ids = ['a', 'b', 'c'];
  const options = {
    links: { handle: () => {}, peer: (id: string) => (linked.includes(id) ? {} : undefined) },
    database: { role: 'core' },
    nodeId: 'a',
  };
  const cores = new Map(ids.map((nodeId): [string, CoreRow] => [nodeId, { nodeId, name: nodeId, wanted: 'voter', changedMs: 0 }]));
  const members = new Map(ids.map((nodeId) => [nodeId, { nodeId, up: true } as Member]));
  const owner = { cores: () => cores, members: () => members, leaving: () => {}, left: () => {} };
  return new Leaving(options as unknown as LeavingOptions, owner).refusal();
}

test('a core stays while it is not linked with most of the others, whatever the table still says of them', () => {
  assert.equal(refusal(['b', 'c']), undefined);
  assert.match(refusal(['b']) ?? '', /only 1 of the other 2 cores run/);
  assert.match(refusal([]) ?? '', /only 0 of the other 2 cores run/);
});

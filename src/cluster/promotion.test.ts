import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Promotion, type PromotionOptions } from './promotion.js';
import type { Member } from './schema.js';

/** Whether a core, `joined` or not, says that it is one while its own copy's row of it is of `role`, or missing. */
function says(joined: boolean, role: 'core' | 'replicant' | undefined): number {
  let said = 0;
  const options = {
    links: { handle: () => {} },
    database: { role: 'core', command: () => said++ },
    nodeId: 'a',
  };
  const members = new Map(role === undefined ? [] : [['a', { nodeId: 'a', role } as Member]]);
  const owner = { members: () => members, clusterId: () => '', joined: () => joined, isCore: () => {} };
  const promotion = new Promotion(options as unknown as PromotionOptions, owner);
  promotion.tell();
  promotion.tell();
  return said;
}

test('a promoted node says that it is a core until its own copy says so, one attempt at a time', () => {
  assert.equal(says(true, 'replicant'), 1);
  // Its copy of the members' table has not got that far.
  assert.equal(says(true, undefined), 1);
  assert.equal(says(true, 'core'), 0);
  assert.equal(says(false, undefined), 0);
});

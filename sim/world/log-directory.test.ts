import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openWal } from '#store/wal.js';
import { World } from './scheduler.js';
import { createSimNode } from './sim-env.js';
import { SimNet } from './sim-net.js';

test('a log that says it is synced is there after a power cut: its directory is an entry, too', () => {
  const nodeId = 'a'.repeat(32);
  for (const ends of ['begun', 'killed and found again'] as const) {
    for (let seed = 1; seed < 40; seed++) {
      const world = new World({ seed });
      const node = createSimNode(world, new SimNet(world), 'a@a');
      let { env } = node;
      let synced = false;
      const begin = (): void => {
        const { wal } = openWal(env, { nodeId });
        const done = (error: Error | undefined): void => {
          assert.equal(error, undefined);
          synced = true;
        };
        if (wal.shards().length === 0) wal.shard('s').append({ hardState: { currentTerm: 1, votedFor: 'me' } }, done);
        else wal.sync(done);
      };
      begin();
      if (ends !== 'begun') {
        // In the page cache alone, as far as the next process knows.
        world.runFor(0.01);
        node.crash({ kind: 'kill' });
        env = node.restart();
        synced = false;
        begin();
      }
      for (let i = 0; !synced; i++) {
        assert.ok(i < 1_000, 'never synced');
        world.runFor(1);
      }
      node.crash({ kind: 'power' });
      assert.equal(openWal(node.restart(), { nodeId }).recovery.found, true, `${ends}, seed ${seed}`);
    }
  }
});

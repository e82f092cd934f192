// A real node whose memory is over its watermark from the beginning, and what operators and clients are told of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import mqtt from 'mqtt';
import { eventually, TestCluster } from './nodes.js';

test('a node without memory to spare says so everywhere, refuses who is new, and is well again with more', async () => {
  // Less than any node has.
  const cluster = await TestCluster.start({ cores: 1, replicants: 0, settings: 'overload_protection.memory_high_watermark = 32MB' });
  try {
    const [node] = cluster.nodes;
    assert.ok(node !== undefined);
    await node.said('memory gets short');
    await assert.rejects(
      mqtt.connectAsync(node.url, { protocolVersion: 5, reconnectPeriod: 0 }, false),
      (error: { readonly code?: unknown }) => error.code === 0x97,
    );
    const status = await node.get('/status?format=json');
    const { overload } = (await status.json()) as { readonly overload: { readonly level: string; readonly memory_watermark: number } };
    assert.deepEqual([status.status, overload.level, overload.memory_watermark], [200, 'full', 32 * 1_048_576]);
    const check = await node.get('/api/v5/load_rebalance/availability_check');
    assert.equal(check.status, 503);
    assert.match((await node.ctl('status')).text, /is started; its memory is short \(full\)$/);
    assert.deepEqual(await node.metric('starmesh_overload_level'), [3]);
    assert.deepEqual(await node.metric('emqx_overload_protection_new_conn'), [1]);
    const [used] = await node.metric('starmesh_overload_memory_bytes');
    assert.ok((used ?? 0) > 32 * 1_048_576);
    await node.stop();
    node.reconfigure((text) => text.replace('32MB', '1GB'));
    node.start();
    await node.serving();
    await eventually('memory was looked at', async () => ((await node.metric('starmesh_overload_memory_bytes'))[0] ?? 0) > 0);
    assert.deepEqual(await node.metric('starmesh_overload_level'), [0]);
    const client = await mqtt.connectAsync(node.url, { protocolVersion: 5, reconnectPeriod: 0 }, false);
    await client.endAsync();
  } finally {
    await cluster.close();
  }
});

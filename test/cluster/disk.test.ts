// A disk that becomes full under a running node: a small file system of its own, where the machine allows one.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { TestClient } from './clients.js';
import { TestCluster } from './nodes.js';

function mountSmall(dir: string): boolean {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', dir]).status === 0;
}

const probe = mkdtempSync(join(tmpdir(), 'starmesh-mount-'));
const canMount = mountSmall(probe);
if (canMount) spawnSync('umount', [probe]);
rmSync(probe, { recursive: true });

test('a full disk stops the node with the reason, and nothing acknowledged is lost', {
  skip: canMount ? false : 'no permission to mount',
}, async () => {
  const cluster = await TestCluster.plan({ cores: 1, replicants: 0 });
  const node = cluster.node('core1');
  assert.ok(mountSmall(node.dataDir));
  try {
    node.start();
    await node.serving();
    const client = await TestClient.connect(node);
    await client.publish('kept', 'before', { qos: 1, retain: true });
    const filler = join(node.dataDir, 'filler');
    writeFileSync(filler, new Uint8Array(80 * 1024 * 1024));
    assert.equal(await node.exited(), 1);
    assert.match(node.lines.join('\n'), /the disk of .* is full \(\d+ MiB left\); make room and start again/);
    await client.end();
    node.start();
    assert.equal(await node.exited(), 1, 'without room it does not start');
    rmSync(filler);
    node.start();
    await node.serving();
    const reader = await TestClient.connect(node);
    await reader.subscribe('kept', 1);
    await reader.until('the retained message', (all) => all.length === 1);
    await reader.close();
  } finally {
    await node.kill();
    spawnSync('umount', [node.dataDir]);
    await cluster.close();
  }
});

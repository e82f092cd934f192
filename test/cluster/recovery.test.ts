// A majority that is lost for good, with real processes: the survivor goes on alone by force with every row that
// it had, empty cores join it, replicants copy anew, and a core of the old history never mixes in.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TestClient } from './clients.js';
import { eventually, TestCluster, type TestNode, within } from './nodes.js';

const command = fileURLToPath(new URL('../../../bin/starmesh.js', import.meta.url));

interface Outcome {
  readonly status: number;
  readonly text: string;
}

function recover(node: TestNode, ...flags: string[]): Promise<Outcome> {
  return new Promise((done) => {
    execFile(process.execPath, [command, 'ctl', 'cluster', 'recover', '--data-dir', node.dataDir, ...flags], (error, stdout, stderr) =>
      done({ status: error === null ? 0 : Number(error.code), text: `${stdout}${stderr}` }),
    );
  });
}

function wipe(node: TestNode): void {
  rmSync(node.dataDir, { recursive: true, force: true });
  mkdirSync(node.dataDir);
}

/** Without what only a running process has. */
function copyData(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !/(?:ctl\.sock|lock)$/.test(path) });
}

async function retained(node: TestNode, filter: string, count: number): Promise<string[]> {
  const client = await TestClient.connect(node);
  await client.subscribe(filter, 1);
  await client.until(`${count} retained messages on ${node.shortName}`, (all) => all.length === count);
  await client.close();
  return client.received.map((m) => `${m.topic} ${m.payload}`).sort();
}

async function keep(node: TestNode, topics: readonly string[]): Promise<void> {
  const client = await TestClient.connect(node);
  for (const topic of topics) await client.publish(topic, `of ${topic}`, { qos: 1, retain: true });
  await client.close();
}

test('two of three cores are lost: the third goes on alone, two empty ones join, the old ones never come back', async () => {
  const settings = 'cluster.node_down_after = 2s';
  const cluster = await TestCluster.start({ cores: 3, replicants: 1, settings });
  const [first, second, third] = cluster.cores;
  const replicant = cluster.node('replicant1');
  assert.ok(first && second && third);
  const oldData = `${second.dataDir}.old`;
  try {
    const topics = Array.from({ length: 50 }, (_, i) => `kept/${i}`);
    await keep(replicant, topics);
    const all = topics.map((t) => `${t} of ${t}`).sort();
    assert.deepEqual(await retained(first, 'kept/#', 50), all);
    // A client that stays on the replicant the whole time.
    const staying = await TestClient.connect(replicant);
    await staying.subscribe('live/#', 1);

    const refused = await recover(first, '--force');
    assert.equal(refused.status, 1);
    assert.match(refused.text, /the node runs \(process \d+\); stop it first/);
    assert.match((await recover(replicant, '--force')).text, /the node runs/);

    await Promise.all([first, second, third].map((n) => n.kill()));
    copyData(second.dataDir, oldData);
    wipe(second);
    wipe(third);

    const unforced = await recover(first);
    assert.equal(unforced.status, 1);
    assert.match(unforced.text, /lost for ever.*repeat with --force/);
    const given = await recover(first, '--force');
    assert.equal(given.status, 0, given.text);
    assert.match((await recover(first, '--force')).text, /given already/);

    first.start();
    await first.serving();
    await first.said('the only voter of every shard');
    assert.deepEqual(await retained(first, 'kept/#', 50), all);
    await keep(first, ['kept/alone']);

    // The replicant follows the new history, and has joined anew without a restart.
    await replicant.said('the cluster was recovered by force');
    const publisher = await TestClient.connect(first);
    await eventually('a message from the survivor reaches the client that stayed', async () => {
      await publisher.publish('live/1', 'still here', { qos: 1 });
      return staying.received.length > 0;
    });
    assert.equal((await retained(replicant, 'kept/#', 51)).length, 51);

    second.start();
    third.start();
    await Promise.all([second.serving(), third.serving()]);
    const { shards } = (await first.ctl('rlog', 'status')).data as { readonly shards: Readonly<Record<string, unknown>> };
    const promoted = new Set<string>();
    await eventually('both vote in every group', async () => {
      for (const line of cluster.cores.flatMap((n) => n.lines)) {
        const [, node, shard] = /the Raft group changes, node: (\S+), shard: ([\w-]+), change: promote,/.exec(line) ?? [];
        if (shard !== undefined) promoted.add(`${shard} ${node}`);
      }
      return promoted.size === 2 * Object.keys(shards).length;
    });
    await keep(third, ['kept/three']);
    assert.equal((await retained(second, 'kept/#', 52)).length, 52);

    // The survivor is one of three now: the others do without it.
    await first.kill();
    await eventually('the two that joined accept writes', () =>
      keep(second, ['kept/two']).then(
        () => true,
        () => false,
      ),
    );
    first.start();
    await first.serving();

    // One of the old history comes back, under its name and with its data.
    await second.kill();
    wipe(second);
    copyData(oldData, second.dataDir);
    second.start();
    assert.equal(await second.exited(), 1);
    assert.match(second.lines.join('\n'), /recovered by force without this core/);
    second.start();
    assert.equal(await second.exited(), 1);
    assert.match(second.lines.join('\n'), /its data are of a history that is over/);
    wipe(second);
    second.start();
    await second.serving();
    assert.equal((await retained(second, 'kept/#', 53)).length, 53);
    await Promise.all([staying.close(), publisher.close()]);
  } finally {
    await cluster.close();
    rmSync(oldData, { recursive: true, force: true });
  }
});

test('a recovery that is cut off by kill -9 goes on at the next start', async () => {
  const cluster = await TestCluster.start({ cores: 3, replicants: 0 });
  try {
    const [first, second, third] = cluster.cores;
    assert.ok(first && second && third);
    await keep(second, ['a', 'b', 'c']);
    await retained(first, '#', 3);
    await Promise.all(cluster.cores.map((n) => n.kill()));
    assert.equal((await recover(first, '--force')).status, 0);
    for (let i = 0; i < 4; i++) {
      first.start();
      // As it comes: before the logs are moved, in between, or before the cluster knows.
      await within(60_000, 'it runs', first.said(i < 2 ? 'node' : 'the node runs'));
      await first.kill();
    }
    first.start();
    await first.serving();
    assert.equal((await retained(first, '#', 3)).length, 3);
    await keep(first, ['d']);
    assert.equal((await retained(first, '#', 4)).length, 4);
  } finally {
    await cluster.close();
  }
});

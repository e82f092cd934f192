// A rolling upgrade of the broker with real processes: a cluster of the build of before at work, whose nodes give their clients
// and sessions away, stop, and come back with this build, one by one; one of them is killed instead. Nothing that was
// acknowledged is lost, sessions go on, and wills are sent if and only if they are to be: also those that an old node has
// on its disk, and those that a new one must not leave with a leader that does not know of them.
import assert from 'node:assert/strict';
import { TestClient } from '../cluster/clients.js';
import { eventually, TestCluster, type TestNode, within } from '../cluster/nodes.js';
import { generousMs } from './lab.js';
import { pause } from './load.js';
import { MqttLoad } from './mqtt-load.js';
import { type OldBuild, oldBuild } from './old-build.js';

/** Between two nodes both builds work together. */
const mixedMs = 2_000;
const kept = 50;
const patientWills = 24;
const lostWills = 8;
const settings = 'cluster.node_down_after = 10s\nmqtt.max_mqueue_len = 100000\nmqtt.max_mqueue_bytes = "64MB"';

export interface BrokerUpgraded {
  readonly from: string;
  readonly order: string;
  readonly acknowledged: number;
  readonly delivered: number;
  /** Connections that found their session, and those of them that a node had sent away. */
  readonly resumed: number;
  readonly moved: number;
  readonly wills: number;
  /** What nodes counted that is outside the promise of delivery (docs/guarantees.md), and messages that are missing for that. */
  readonly outside: number;
  readonly missing: number;
}

/** Cores first, or replicants. */
export async function upgradeBroker(coresFirst: boolean): Promise<BrokerUpgraded> {
  const old = oldBuild('broker');
  try {
    return await upgradeFrom(old, coresFirst);
  } finally {
    old.remove();
  }
}

async function upgradeFrom(old: OldBuild, coresFirst: boolean): Promise<BrokerUpgraded> {
  const cluster = await TestCluster.plan({ cores: 3, replicants: 2, settings });
  const killed = cluster.node('replicant2');
  const load = new MqttLoad(
    cluster.nodes.filter((n) => n !== killed),
    { publishers: 4, subscribers: 4, sleepersPerNode: 2, pauseMs: 20 },
  );
  try {
    for (const n of cluster.nodes) n.program = old.program;
    await cluster.startAll();
    await load.start();
    await pause(mixedMs);
    const replicants = [cluster.node('replicant1'), killed];
    const order = coresFirst ? [...cluster.cores, ...replicants] : [...replicants, ...cluster.cores];
    for (const n of order) {
      await load.wills(`before-${n.shortName}`, someOther(load, n));
      if (n === killed) await kill(load, n, cluster.node('core2'));
      else await replace(load, n);
      if (n.shortName === 'core1' && !coresFirst) await restartInBetween(load, n, cluster.cores.slice(1), cluster.node('replicant1'));
      await load.wills(`at-${n.shortName}`, n);
      await pause(mixedMs);
      load.check();
      console.log(`${new Date().toISOString()} ${n.shortName} is of this build`);
    }
    for (const n of cluster.nodes) assert.equal(n.program, undefined, `${n.shortName} is of the new build`);
    for (const n of cluster.nodes) await load.count(n);
    await load.stop();
    load.check();
    await load.checkRetained();
    await afterwards(load, replicants);
    load.checkWills();
    await noWayBack(cluster.node('core3'), old.program);
    return { from: old.what, order: order.map((n) => n.shortName).join(', '), ...load.counts, wills: load.willCount };
  } catch (error) {
    for (const n of cluster.nodes) console.error(`--- ${n.shortName}\n${n.lines.join('\n')}`);
    throw error;
  } finally {
    await load.close().catch(() => undefined);
    await cluster.close();
  }
}

function someOther(load: MqttLoad, n: TestNode): TestNode {
  const other = [...load.open].find((o) => o !== n);
  assert.ok(other !== undefined);
  return other;
}

/** As docs/operations.md says. */
async function replace(load: MqttLoad, n: TestNode): Promise<void> {
  await leave(load, n);
  n.program = undefined;
  await back(load, n);
}

async function leave(load: MqttLoad, n: TestNode): Promise<void> {
  load.open.delete(n);
  // Not to the one that is killed: what is acknowledged while it is down is for nobody there (docs/guarantees.md).
  const to = [...load.open].map((o) => o.name).join(' ');
  const started = await n.ctl('rebalance', 'start', '--evacuation', '--wait-health-check', '0', '--wait-takeover', '2', '--migrate-to', to);
  assert.equal(started.ok, true, started.text);
  await eventually(
    `${n.shortName} has given all away`,
    async () => {
      const { state, stats } = (await n.ctl('rebalance', 'node-status')).data as { state: string; stats: { current_sessions: number } };
      return state === 'prohibiting' && stats.current_sessions === 0;
    },
    generousMs,
  );
  await load.count(n);
  assert.equal(await within(generousMs, `${n.shortName} stops`, n.stop()), 0);
}

async function back(load: MqttLoad | undefined, n: TestNode): Promise<void> {
  n.start();
  await n.serving();
  load?.open.add(n);
}

/** A session on its disk and the will of a client that is connected outlive `kill -9`. */
async function kill(load: MqttLoad, n: TestNode, other: TestNode): Promise<void> {
  const lasting = { clientId: 'on the disk', clean: false, properties: { sessionExpiryInterval: 3_600 } };
  const first = await TestClient.connect(n, lasting);
  await first.subscribe('disk/#', 1);
  await first.close();
  await load.willing('on-the-disk', n, true);
  await load.willing('on-the-disk-later', n, true, 1);
  const publisher = await TestClient.connect(other);
  for (let i = 0; i < kept; i++) await publisher.publish(`disk/${i}`, `${i}`, { qos: 1 });
  await publisher.close();
  await n.kill();
  n.program = undefined;
  await back(undefined, n);
  for (const name of ['on-the-disk', 'on-the-disk-later']) {
    load.willIs(name, 'sent');
    await load.willSeen(name);
  }
  const again = await TestClient.connect(n, lasting);
  assert.equal(again.sessionPresent, true, 'the session on the disk of the node that was killed');
  await again.until('what waited', (all) => all.length >= kept);
  assert.deepEqual(
    again.received.map((m) => m.payload),
    Array.from({ length: kept }, (_, i) => `${i}`),
  );
  await again.close();
}

/** Clients connect while a core of the new build leads where their wills might stand, and take them back while one of the old build does. */
async function restartInBetween(load: MqttLoad, core: TestNode, others: readonly TestNode[], at: TestNode): Promise<void> {
  const leads = async (): Promise<boolean> => (await ledBy(core)).some((s) => s.startsWith('registry'));
  // What a core leads that stops goes to one of the two others.
  for (const other of [...others, ...others]) {
    if (await leads()) break;
    await leave(load, other);
    await back(load, other);
  }
  assert.ok(await leads(), `${core.shortName} leads a shard of the registry`);
  const clients: TestClient[] = [];
  for (let i = 0; i < patientWills; i++) clients.push(await load.willing(`patient-${i}`, at, i % 2 === 0));
  await leave(load, core);
  for (const [i, c] of clients.entries()) {
    await c.close();
    load.willIs(`patient-${i}`, 'off');
  }
  await back(load, core);
}

async function ledBy(core: TestNode): Promise<string[]> {
  const { shards } = (await core.ctl('rlog', 'status')).data as { shards: Record<string, { state: string }> };
  return Object.keys(shards).filter((s) => shards[s]?.state === 'leader');
}

/** With all nodes upgraded the old build does not start on the data directory of one of them, and harms nothing by trying. */
async function noWayBack(n: TestNode, old: string): Promise<void> {
  assert.equal(await within(generousMs, `${n.shortName} stops`, n.stop()), 0);
  n.program = old;
  n.start();
  await n.said('node.json has format 2; this build reads format 1');
  assert.notEqual(await n.exited(), 0);
  n.program = undefined;
  await back(undefined, n);
}

/** With all nodes upgraded wills outlive their nodes, and those that were taken back before do not come. */
async function afterwards(load: MqttLoad, nodes: readonly TestNode[]): Promise<void> {
  for (const n of nodes) {
    const names = Array.from({ length: lostWills }, (_, i) => `lost-${n.shortName}-${i}`);
    for (const [i, name] of names.entries()) await load.willing(name, n, i % 2 === 0);
    await load.leftAlone(n);
    await n.kill();
    for (const name of names) {
      load.willIs(name, 'sent');
      await load.willSeen(name);
    }
    await back(load, n);
  }
}

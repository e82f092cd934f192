import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type { ShardStatus } from '#db/api.js';
import type { AdminNode } from './admin-node.js';
import { decodeFamilies, encodeFamilies, summed } from './everywhere.js';
import { type AdminServer, startAdmin } from './server.js';

const core: ShardStatus = {
  shard: 'route',
  core: {
    state: 'leader',
    term: 3,
    leader: 'core1@host',
    lastInterceptedTrans: 17,
    commitIndex: 20,
    appliedIndex: 19,
    weight: 2,
    replicants: ['replicant1@host'],
    serverMql: 4,
  },
};

const replica: ShardStatus = {
  shard: 'retain',
  replica: {
    state: 'local_replay',
    upstream: 'core1@host',
    lastImportedTrans: 5,
    appliedIndex: 9,
    lag: 6,
    lagMs: 1500,
    replayqLen: 7,
    messageQueueLen: 8,
    bootstrapTimeMs: 120,
    bootstrapNumKeys: 30,
    replicants: [],
    bootstrap: undefined,
    bootstraps: 2,
    resumes: 1,
    moves: 0,
  },
};

let state: ReturnType<AdminNode['state']>;
let evacuating = false;
let overload: ReturnType<NonNullable<AdminNode['overload']>>;
let server: AdminServer;

const node: AdminNode = {
  name: 'core1@host',
  version: '1.2.3',
  state: () => state,
  evacuating: () => evacuating,
  overload: () => overload,
  shards: () => [core, replica, { shard: 'registry-0', down: true }],
  elections: (shard) => (shard === 'route' ? { elections: 5, leaderChanges: 6 } : undefined),
  collect: () => [{ type: 'counter', name: 'emqx_messages_received', help: 'in', samples: [{ labels: {}, value: 42 }] }],
  collectOthers: () =>
    Promise.resolve([
      { node: 'core2@host', families: [{ type: 'counter', name: 'emqx_messages_received', help: 'in', samples: [{ labels: {}, value: 1 }] }] },
    ]),
  rlogStatus: () => ({ node: 'core1@host' }),
};

before(async () => {
  server = await startAdmin(node, { host: '127.0.0.1', port: 0 });
});
beforeEach(() => {
  state = { state: 'running', why: '' };
});
after(() => server.close());

function get(path: string, init?: RequestInit): Promise<Response> {
  return fetch(`http://127.0.0.1:${server.address.port}${path}`, init);
}

test('status is 200 exactly while clients can be served', async () => {
  for (const path of ['/status', '/api/v5/status']) {
    state = { state: 'starting', why: 'core core2 is not there yet' };
    const waiting = await get(path);
    assert.equal(waiting.status, 503);
    assert.equal(waiting.headers.get('retry-after'), '15');
    assert.equal(await waiting.text(), 'Node core1@host is starting\nstarmesh is not running: core core2 is not there yet');
    state = { state: 'running', why: '' };
    const running = await get(path);
    assert.equal(running.status, 200);
    assert.equal(await running.text(), 'Node core1@host is started\nstarmesh is running');
    state = { state: 'stopping', why: '' };
    assert.equal((await get(path)).status, 503);
  }
});

test('new clients are to be sent here while the node runs and does not give its clients away', async () => {
  const path = '/api/v5/load_rebalance/availability_check';
  const free = await get(path);
  assert.deepEqual([free.status, await free.json()], [200, {}]);
  evacuating = true;
  const going = await get(path);
  assert.deepEqual([going.status, ((await going.json()) as { readonly code: string }).code], [503, 'NODE_EVACUATING']);
  evacuating = false;
  state = { state: 'starting', why: '' };
  assert.equal((await get(path)).status, 503);
});

test('a node whose memory is short is in service, and not to be sent anybody', async () => {
  overload = { level: 'critical', usedBytes: 900, watermarkBytes: 1000 };
  try {
    const status = await get('/status');
    assert.deepEqual([status.status, (await status.text()).split('\n')[1]], [200, 'starmesh is running, its memory is short (critical)']);
    const json = (await (await get('/status?format=json')).json()) as { readonly overload: unknown };
    assert.deepEqual(json.overload, { level: 'critical', memory_used: 900, memory_watermark: 1000 });
    const check = await get('/api/v5/load_rebalance/availability_check');
    assert.deepEqual([check.status, ((await check.json()) as { readonly code: string }).code], [503, 'OVERLOADED']);
  } finally {
    overload = undefined;
  }
});

test('status as JSON', async () => {
  const expected = { rel_vsn: '1.2.3', node_name: 'core1@host', broker_status: 'started', app_status: 'running' };
  assert.deepEqual(await (await get('/status?format=json')).json(), expected);
  assert.equal((await get('/status?format=json&format=text')).status, 200);
});

const sampleLines = [
  'emqx_mria_last_intercepted_trans{shard="route",node="core1@host"} 17',
  'emqx_mria_weight{shard="route",node="core1@host"} 2',
  'emqx_mria_replicants{shard="route",node="core1@host"} 1',
  'emqx_mria_server_mql{shard="route",node="core1@host"} 4',
  'emqx_mria_lag{shard="retain",node="core1@host"} 6',
  'emqx_mria_bootstrap_time{shard="retain",node="core1@host"} 120',
  'emqx_mria_bootstrap_num_keys{shard="retain",node="core1@host"} 30',
  'emqx_mria_message_queue_len{shard="retain",node="core1@host"} 8',
  'emqx_mria_replayq_len{shard="retain",node="core1@host"} 7',
  'starmesh_replica_state{shard="retain",node="core1@host",state="local_replay"} 1',
  'starmesh_replica_state{shard="retain",node="core1@host",state="normal"} 0',
  'starmesh_replica_lag_seconds{shard="retain",node="core1@host"} 1.5',
  'starmesh_replica_bootstraps_total{shard="retain",node="core1@host"} 2',
  'starmesh_replica_resumes_total{shard="retain",node="core1@host"} 1',
  'starmesh_raft_term{shard="route",node="core1@host"} 3',
  'starmesh_raft_leader{shard="route",node="core1@host"} 1',
  'starmesh_raft_commit_index{shard="route",node="core1@host"} 20',
  'starmesh_applied_index{shard="route",node="core1@host"} 19',
  'starmesh_applied_index{shard="retain",node="core1@host"} 9',
  'starmesh_raft_elections_total{shard="route",node="core1@host"} 5',
  'emqx_messages_received 42',
];

test('both metrics pages carry the database and what the node counts', async () => {
  for (const path of ['/metrics', '/api/v5/prometheus/stats']) {
    const response = await get(path);
    assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    const lines = (await response.text()).split('\n');
    for (const line of sampleLines) assert.ok(lines.includes(line), line);
    assert.ok(!lines.some((l) => l.includes('registry-0')), 'a shard that is down has no samples');
  }
});

test('one page carries every node, each sample with its node', async () => {
  const lines = (await (await get('/api/v5/prometheus/stats?mode=all_nodes_unaggregated')).text()).split('\n');
  assert.ok(lines.includes('emqx_messages_received{node="core1@host"} 42'));
  assert.ok(lines.includes('emqx_messages_received{node="core2@host"} 1'));
  assert.ok(lines.includes('emqx_mria_weight{shard="route",node="core1@host"} 2'));
  assert.equal(lines.filter((l) => l === '# TYPE emqx_messages_received counter').length, 1);
});

test('one page adds up what every node counts', async () => {
  const lines = (await (await get('/api/v5/prometheus/stats?mode=all_nodes_aggregated')).text()).split('\n');
  assert.ok(lines.includes('emqx_messages_received 43'));
  assert.ok(lines.includes('emqx_mria_weight{shard="route"} 2'));
  assert.ok(!lines.some((l) => l.includes('node=')));
});

test('histograms are added bucket by bucket, families that differ in type are not', () => {
  const h = (node: string, counts: readonly number[]) => {
    const buckets = counts.map((count, i) => ({ le: i, count }));
    return { type: 'histogram', name: 'h', help: 'H', samples: [{ labels: { node }, buckets, count: 10, sum: 5 }] } as const;
  };
  const sum = summed([h('a', [1, 2]), h('b', [3, 4, 5]), { type: 'gauge', name: 'h', help: '', samples: [{ labels: {}, value: 1 }] }]);
  const buckets = [
    { le: 0, count: 4 },
    { le: 1, count: 6 },
  ];
  assert.deepEqual(sum, [{ type: 'histogram', name: 'h', help: 'H', samples: [{ labels: {}, buckets, count: 20, sum: 10 }] }]);
});

test('what another node sends is read only when it is what it should be', () => {
  const families = node.collect();
  assert.deepEqual(decodeFamilies(encodeFamilies(families)), families);
  const histogram = { type: 'histogram', name: 'h', help: '', samples: [{ labels: {}, buckets: [{ le: 1, count: 2 }], count: 3, sum: 4 }] };
  assert.deepEqual(decodeFamilies(JSON.stringify([histogram])), [histogram]);
  const wrong = ['', '{}', '[1]', '[{}]', JSON.stringify([{ ...histogram, name: 'x\ny 1' }]), JSON.stringify([{ ...histogram, type: 'gauge' }])];
  for (const text of wrong) assert.equal(decodeFamilies(text), undefined, text);
  const badLabel = { type: 'gauge', name: 'g', help: '', samples: [{ labels: { 'a"': 'x' }, value: 1 }] };
  assert.equal(decodeFamilies(JSON.stringify([badLabel])), undefined);
});

test('what is not there, is wrong or too large is answered as JSON', async () => {
  const missing = await get('/api/v5/nothing');
  assert.equal(missing.status, 404);
  assert.equal(((await missing.json()) as { readonly code: string }).code, 'NOT_FOUND');
  const headers = { 'content-type': 'application/json' };
  const large = await get('/status', { method: 'POST', headers, body: JSON.stringify('x'.repeat(100_000)) });
  assert.ok(large.status === 404 || large.status === 413, String(large.status));
  assert.equal((await get('/%E0%A4%A')).status, 400);
});

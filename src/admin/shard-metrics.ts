// The replicated database on the metrics page: the `emqx_mria_*` set under the names that existing
// dashboards have (labels shard and node), and Starmesh's own beside it.
import type { CoreShardStatus, ReplicaShardStatus, ReplicaStateName } from '#db/api.js';
import type { MetricFamily, Sample } from '#env/metric-family.js';
import type { Labels } from '#env/metrics.js';
import type { AdminNode } from './admin-node.js';

type Read<T> = (status: T) => number | undefined;
type Definition<T> = readonly [name: string, help: string, read: Read<T>];

const core: readonly Definition<CoreShardStatus>[] = [
  ['emqx_mria_last_intercepted_trans', 'Transactions applied by this core since it started', (s) => s.lastInterceptedTrans],
  ['emqx_mria_weight', 'Load figure of this core, used for choosing cores: fewer is better', (s) => s.weight],
  ['emqx_mria_replicants', 'Replicants that follow this core', (s) => s.replicants.length],
  ['emqx_mria_server_mql', 'Transactions committed and not yet handed to the slowest stream that is not catching up from disk', (s) => s.serverMql],
];

const coreOwn: readonly Definition<CoreShardStatus>[] = [
  ['starmesh_raft_term', 'Current term', (s) => s.term],
  ['starmesh_raft_leader', '1 where this node leads', (s) => (s.state === 'leader' ? 1 : 0)],
  ['starmesh_raft_has_leader', '1 where this node knows a leader', (s) => (s.leader === undefined ? 0 : 1)],
  ['starmesh_raft_commit_index', 'Log index up to which entries are known to be committed', (s) => s.commitIndex],
];

const replica: readonly Definition<ReplicaShardStatus>[] = [
  ['emqx_mria_lag', 'Transactions committed, as the upstream last said, and not applied here', (s) => s.lag],
  ['emqx_mria_bootstrap_time', 'Duration of the last bootstrap in milliseconds', (s) => s.bootstrapTimeMs],
  ['emqx_mria_bootstrap_num_keys', 'Keys received by the last bootstrap', (s) => s.bootstrapNumKeys],
  ['emqx_mria_message_queue_len', 'Transactions received and not yet in an apply batch', (s) => s.messageQueueLen],
  ['emqx_mria_replayq_len', 'Transactions left to replay while in local_replay', (s) => s.replayqLen],
];

const replicaOwn: readonly Definition<ReplicaShardStatus>[] = [
  ['starmesh_replica_lag_seconds', 'How long this copy has been behind its upstream', (s) => s.lagMs / 1000],
];

const replicaCounters: readonly Definition<ReplicaShardStatus>[] = [
  ['starmesh_replica_bootstraps_total', 'Times that the whole shard was copied', (s) => s.bootstraps],
  ['starmesh_replica_resumes_total', 'Times that the log stream was resumed without a copy', (s) => s.resumes],
  ['starmesh_replica_moves_total', 'Times that the replicant moved because another node had less to do', (s) => s.moves],
];

const states: readonly ReplicaStateName[] = ['disconnected', 'bootstrap', 'local_replay', 'normal'];

export function shardFamilies(node: AdminNode): MetricFamily[] {
  const cores: [Labels, CoreShardStatus][] = [];
  const replicas: [Labels, ReplicaShardStatus][] = [];
  const applied: Sample[] = [];
  for (const s of node.shards()) {
    const labels = { shard: s.shard, node: node.name };
    if ('core' in s) cores.push([labels, s.core]);
    else if ('replica' in s) replicas.push([labels, s.replica]);
    else continue;
    applied.push({ labels, value: 'core' in s ? s.core.appliedIndex : s.replica.appliedIndex });
  }
  return [
    ...families('gauge', core, cores),
    ...families('gauge', replica, replicas),
    ...families('gauge', coreOwn, cores),
    ...elections(node, cores),
    { type: 'gauge', name: 'starmesh_applied_index', help: 'Log index up to which the tables of this node are', samples: applied },
    stateFamily(replicas),
    ...families('gauge', replicaOwn, replicas),
    ...families('counter', replicaCounters, replicas),
  ];
}

function families<T>(type: 'gauge' | 'counter', definitions: readonly Definition<T>[], all: readonly [Labels, T][]): MetricFamily[] {
  return definitions.map(([name, help, read]) => ({
    type,
    name,
    help,
    samples: all.flatMap(([labels, status]) => {
      const value = read(status);
      return value === undefined ? [] : [{ labels, value }];
    }),
  }));
}

function elections(node: AdminNode, cores: readonly [Labels, CoreShardStatus][]): MetricFamily[] {
  const counted = cores.flatMap(([labels]): { labels: Labels; elections: number; leaderChanges: number }[] => {
    const counts = node.elections(labels.shard ?? '');
    return counts === undefined ? [] : [{ labels, ...counts }];
  });
  return [
    {
      type: 'counter',
      name: 'starmesh_raft_elections_total',
      help: 'Elections that this node has begun',
      samples: counted.map((c) => ({ labels: c.labels, value: c.elections })),
    },
    {
      type: 'counter',
      name: 'starmesh_raft_leader_changes_total',
      help: 'Times that this node has learned of a leader',
      samples: counted.map((c) => ({ labels: c.labels, value: c.leaderChanges })),
    },
  ];
}

function stateFamily(replicas: readonly [Labels, ReplicaShardStatus][]): MetricFamily {
  const samples = replicas.flatMap(([labels, s]) => states.map((state) => ({ labels: { ...labels, state }, value: s.state === state ? 1 : 0 })));
  return { type: 'gauge', name: 'starmesh_replica_state', help: 'State of this copy: 1 for the one it is in', samples };
}

// What the commands answer: text for people, whose first line is the one known from EMQX, and data for
// `--json`, with the names of the HTTP API and the metrics.
import type { CoreShardStatus, ReplicaShardStatus } from '#db/api.js';
import type { ClientInfo, ClusterStatus, ListenerInfo, NodeStatus, RlogStatus, RouteInfo } from './handlers.js';
import { columns } from './text-table.js';

export interface CtlReply {
  readonly ok: boolean;
  /** For people; without a line end. Not ok: one sentence that says what to do. */
  readonly text: string;
  readonly data?: unknown;
}

/** Rows of one list answer. */
export const listRowsMax: number = 10_000;

export function statusReply(status: NodeStatus): CtlReply {
  const state = status.state === 'running' ? 'started' : status.state;
  const disk = status.durableSessions?.state ?? 'ok';
  const trouble = disk === 'ok' ? '' : `; persistent sessions cannot be written to its disk (${disk})`;
  const level = status.overload?.level ?? 'normal';
  const short = level === 'normal' ? '' : `; its memory is short (${level})`;
  return { ok: true, text: `Node '${status.node}' ${status.version} is ${state}${trouble}${short}`, data: status };
}

export function clusterReply(status: ClusterStatus): CtlReply {
  const names = (list: ClusterStatus['running']): string[] => list.map((m) => m.name);
  const quoted = (list: ClusterStatus['running']): string => `[${names(list).map((n) => `'${n}'`)}]`;
  const rows = [...status.running.map((m) => [m.name, m.role, 'running']), ...status.stopped.map((m) => [m.name, m.role, 'stopped'])];
  const head = `Cluster status: #{running_nodes => ${quoted(status.running)},stopped_nodes => ${quoted(status.stopped)}}`;
  return {
    ok: true,
    text: `${head}\n${columns(['node', 'role', 'state'], rows)}`,
    data: {
      cluster_name: status.clusterName,
      cluster_id: status.clusterId,
      running_nodes: names(status.running),
      stopped_nodes: names(status.stopped),
      roles: Object.fromEntries([...status.running, ...status.stopped].map((m) => [m.name, m.role])),
    },
  };
}

/** The JSON of `rlog status`; the supervisor and the console read it too. */
export function rlogData(status: RlogStatus): Readonly<Record<string, unknown>> {
  const shards: Record<string, unknown> = {};
  const down: string[] = [];
  for (const s of status.shards) {
    if ('core' in s) shards[s.shard] = coreData(s.core);
    else if ('replica' in s) shards[s.shard] = replicaData(s.replica);
    else {
      shards[s.shard] = { state: 'down' };
      down.push(s.shard);
    }
  }
  return { node: status.node, role: status.role, shards, shards_in_sync: status.inSync, shards_down: down };
}

function coreData(s: CoreShardStatus): Readonly<Record<string, unknown>> {
  return {
    state: s.state,
    term: s.term,
    leader: s.leader ?? null,
    last_intercepted_trans: s.lastInterceptedTrans,
    commit_index: s.commitIndex,
    applied_index: s.appliedIndex,
    weight: s.weight,
    replicants: s.replicants,
    server_mql: s.serverMql,
  };
}

function replicaData(s: ReplicaShardStatus): Readonly<Record<string, unknown>> {
  return {
    state: s.state,
    upstream: s.upstream ?? null,
    last_imported_trans: s.lastImportedTrans,
    applied_index: s.appliedIndex,
    lag: s.lag,
    lag_ms: Math.round(s.lagMs),
    replayq_len: s.replayqLen,
    message_queue_len: s.messageQueueLen,
    bootstrap_time: rounded(s.bootstrapTimeMs),
    bootstrap_num_keys: s.bootstrapNumKeys ?? null,
    bootstrap:
      s.bootstrap === undefined
        ? null
        : { rows: s.bootstrap.rows, rows_total: s.bootstrap.rowsTotal, bytes: s.bootstrap.bytes, time_left: rounded(s.bootstrap.leftMs) },
    replicants: s.replicants,
    bootstraps: s.bootstraps,
    resumes: s.resumes,
    moves: s.moves,
  };
}

function rounded(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.round(ms);
}

/** `ctl rlog status` as people read it. */
export function rlogReply(status: RlogStatus): CtlReply {
  const core: string[][] = [];
  const replica: string[][] = [];
  const down: string[] = [];
  for (const shard of status.shards) {
    if ('core' in shard) {
      const s = shard.core;
      core.push(
        [
          shard.shard,
          s.state,
          s.term,
          s.leader ?? '-',
          s.lastInterceptedTrans,
          s.appliedIndex,
          s.commitIndex,
          s.weight,
          s.serverMql,
          s.replicants.join(',') || '-',
        ].map(String),
      );
    } else if ('replica' in shard) {
      const s = shard.replica;
      const bootstrap = [rounded(s.bootstrapTimeMs) ?? '-', s.bootstrapNumKeys ?? '-'];
      replica.push(
        [shard.shard, s.state, s.upstream ?? '-', s.lastImportedTrans, s.lag, Math.round(s.lagMs), s.replayqLen, s.messageQueueLen, ...bootstrap].map(
          String,
        ),
      );
    } else down.push(shard.shard);
  }
  const lines = [`node: ${status.node}`, `role: ${status.role}`];
  if (core.length > 0) {
    lines.push(
      columns(['shard', 'state', 'term', 'leader', 'last_intercepted_trans', 'applied', 'commit_index', 'weight', 'server_mql', 'replicants'], core),
    );
  }
  if (replica.length > 0) {
    const head = [
      'shard',
      'state',
      'upstream',
      'last_imported_trans',
      'lag',
      'lag_ms',
      'replayq_len',
      'message_queue_len',
      'bootstrap_time',
      'bootstrap_num_keys',
    ];
    lines.push(columns(head, replica));
  }
  for (const { shard, replica: r } of status.shards.flatMap((s) => ('replica' in s ? [s] : []))) {
    const b = r.bootstrap;
    if (b === undefined) continue;
    const left = b.leftMs === undefined ? '' : `, about ${Math.ceil(b.leftMs / 1_000)} s left`;
    lines.push(`${shard}: copying tables, ${b.rows} of about ${b.rowsTotal} rows, ${(b.bytes / 1_048_576).toFixed(1)} MiB${left}`);
  }
  lines.push(`shards_in_sync: ${status.inSync.join(', ') || '-'}`, `shards_down: ${down.join(', ') || '-'}`);
  return { ok: true, text: lines.join('\n'), data: rlogData(status) };
}

function clientLine(client: ClientInfo): string {
  const rest = Object.entries(client).filter(([key]) => key !== 'clientid');
  return `Client(${[client.clientid, ...rest.map(([key, value]) => `${key}=${value ?? 'undefined'}`)].join(', ')})`;
}

export function clientsReply(clients: readonly ClientInfo[]): CtlReply {
  const lines = clients.map(clientLine);
  if (clients.length === listRowsMax) lines.push(`(the first ${listRowsMax})`);
  return { ok: true, text: lines.join('\n'), data: clients };
}

export function clientReply(id: string, client: ClientInfo | undefined): CtlReply {
  return client === undefined ? { ok: false, text: `no client ${id} is connected` } : { ok: true, text: clientLine(client), data: client };
}

export function kickReply(id: string, kicked: boolean): CtlReply {
  return kicked ? { ok: true, text: 'ok', data: { kicked: id } } : { ok: false, text: `no client ${id} is connected` };
}

export function topicsReply(routes: readonly RouteInfo[]): CtlReply {
  const lines = routes.map((r) => `${r.topic} -> ${r.node}`);
  if (routes.length === listRowsMax) lines.push(`(the first ${listRowsMax})`);
  return { ok: true, text: lines.join('\n'), data: routes };
}

/** A block per listener, as EMQX prints them. */
export function listenersReply(listeners: readonly ListenerInfo[]): CtlReply {
  const max = (l: ListenerInfo): number | 'infinity' => (l.maxConnections === Number.POSITIVE_INFINITY ? 'infinity' : l.maxConnections);
  const ends = (l: ListenerInfo): string | null => (l.certificateEnds === undefined ? null : new Date(l.certificateEnds).toISOString());
  const blocks = listeners.map((l) => {
    const rows = [
      ['listen_on', l.bind],
      ['proxy_protocol', String(l.proxyProtocol)],
      ['running', String(l.running)],
      ['current_conn', String(l.connections)],
      ['max_conns', String(max(l))],
      ...(l.certificateEnds === undefined ? [] : [['cert_expiry_at', ends(l) ?? '']]),
    ];
    return [l.id, ...rows.map(([name = '', value = '']) => `  ${name.padEnd(15)} : ${value}`)].join('\n');
  });
  const data = listeners.map((l) => ({
    id: l.id,
    bind: l.bind,
    proxy_protocol: l.proxyProtocol,
    running: l.running,
    current_connections: l.connections,
    max_connections: max(l),
    cert_expiry_at: ends(l),
  }));
  return { ok: true, text: blocks.length === 0 ? 'this node has no listeners' : blocks.join('\n'), data };
}

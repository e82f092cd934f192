// Every setting with its name in the file, its shape and its default. Names are EMQX's where EMQX has
// one. The result of a missing file is what this file says.
import { authentication, authorization, flappingDetect } from './access.js';
import type {
  ApiKeyConfig,
  BrokerConfig,
  DatabaseConfig,
  DelayedConfig,
  DiscoveryStrategy,
  DnsConfig,
  DurableSessionsConfig,
  ForwardConfig,
  HostPort,
  K8sConfig,
  ListenerConfig,
  LogConfig,
  LogLevel,
  MqttConfig,
  NodeAddress,
  NodeConfig,
  PrometheusConfig,
  RetainerConfig,
  SharedStrategy,
  StarmeshConfig,
  SysTopicsConfig,
} from './config.js';
import { dns, k8s, strategy } from './discovery.js';
import { defaultListeners, listeners } from './listeners.js';
import { overload } from './overload.js';
import { type RawRpc, rpc } from './rpc.js';
import { type Field, field, list, mapped, named, type ObjectShape, object, type Shape, section } from './shape.js';
import {
  bind,
  choice,
  decimal,
  duration,
  durationOrInfinity,
  flag,
  integer,
  limit,
  nodeAddress,
  nodeName,
  nonEmpty,
  orWord,
  rate,
  size,
  text,
} from './shapes.js';
import { clusterTls, type RawTls } from './tls.js';

/** As written, before `load.ts` fills in what depends on other settings. */
export interface RawConfig extends Omit<StarmeshConfig, 'cluster' | 'dashboard' | 'rpc'> {
  readonly cluster: RawCluster;
  readonly rpc: RawRpc;
  readonly dashboard: RawDashboard;
}

export interface RawCluster {
  readonly name: string;
  readonly discoveryStrategy: DiscoveryStrategy | undefined;
  readonly discoveryIntervalMs: number;
  readonly coreCount: number | undefined;
  readonly dns: DnsConfig;
  readonly k8s: K8sConfig;
  readonly seeds: readonly NodeAddress[];
  readonly coreNodes: readonly NodeAddress[];
  readonly listen: HostPort | undefined;
  readonly advertise: HostPort | undefined;
  readonly nodeDownAfterMs: number;
  readonly autocleanMs: number;
  readonly coreAutoPromote: number;
  readonly relay: boolean;
  readonly coreWeight: number;
  readonly tls: RawTls;
  readonly protoDist: string;
}

export interface RawDashboard {
  readonly http: { readonly enable: boolean; readonly bind: HostPort };
  readonly defaultUsername: string;
  readonly defaultPassword: string | undefined;
  readonly tokenExpiredTimeMs: number;
}

const hour = 3_600_000;
const MiB = 1_048_576;
const infinity = Number.POSITIVE_INFINITY;

const node: ObjectShape<NodeConfig> = object<NodeConfig>({
  name: field('name', nodeName, 'starmesh@127.0.0.1'),
  cookie: field<string | undefined>('cookie', nonEmpty, undefined),
  dataDir: field('data_dir', nonEmpty, 'data'),
  role: field('role', choice('core', 'replicant'), 'core', ['db_role']),
  workers: field('workers', integer(0, 256), 0),
  warmUpMs: field<number | undefined>('warm_up', duration(), undefined),
});

interface Static {
  readonly seeds: readonly NodeAddress[];
}

interface ClusterFields extends Omit<RawCluster, 'seeds'> {
  readonly static: Static;
}

const clusterFields: ObjectShape<ClusterFields> = object<ClusterFields>({
  name: field('name', nonEmpty, 'starmesh'),
  discoveryStrategy: field<RawCluster['discoveryStrategy']>('discovery_strategy', strategy, undefined),
  discoveryIntervalMs: field('discovery_interval', duration(100), 5_000),
  coreCount: field<number | undefined>('core_count', integer(1, 99), undefined),
  dns: section('dns', dns),
  k8s: section('k8s', k8s),
  static: section('static', object<Static>({ seeds: field('seeds', list(nodeAddress), []) })),
  coreNodes: field('core_nodes', list(nodeAddress), []),
  listen: field<HostPort | undefined>('listen', bind('0.0.0.0'), undefined),
  advertise: field<HostPort | undefined>('advertise', bind('127.0.0.1'), undefined),
  nodeDownAfterMs: field('node_down_after', duration(1000), 15_000),
  autocleanMs: field('autoclean', durationOrInfinity, 24 * hour),
  coreAutoPromote: field('core_auto_promote', integer(0, 9), 0),
  relay: field('relay', flag, false),
  coreWeight: field('core_weight', integer(0, 100), 100),
  tls: section('tls', clusterTls),
  protoDist: field('proto_dist', choice('inet_tcp', 'inet6_tcp', 'inet_tls', 'inet6_tls'), 'inet_tcp'),
});

const cluster: ObjectShape<RawCluster> = {
  ...mapped(clusterFields, flatten),
  defaults: () => flatten(clusterFields.defaults()),
};

function flatten({ static: { seeds }, ...rest }: ClusterFields): RawCluster {
  return { ...rest, seeds };
}

// `keep`, or how long until clients of a node that is cut off from all cores are disconnected.
const isolation: Shape<number> = {
  expects: 'keep, or a duration such as 60s',
  read: (value, path, report) => (value.kind === 'scalar' && value.text === 'keep' ? infinity : durationOrInfinity.read(value, path, report)),
};

const strategies: Shape<SharedStrategy> = choice('random', 'round_robin', 'round_robin_per_group', 'sticky', 'local', 'hash_clientid', 'hash_topic');

// `broker.shared_subscription_group.GROUP.strategy`.
const group = (name: string): Shape<BrokerConfig['sharedSubscriptionGroups'][number]> =>
  mapped(object<{ readonly strategy: SharedStrategy }>({ strategy: field('strategy', strategies, 'random') }), ({ strategy }) => ({
    group: name,
    strategy,
  }));

const broker: ObjectShape<BrokerConfig> = object<BrokerConfig>({
  sharedSubscriptionGroups: field('shared_subscription_group', named(group), []),
});

// One of `mqtt.mqueue_priorities`, by topic name.
const priority = (topicName: string): Shape<readonly [string, number]> => mapped(integer(1, 255), (rank) => [topicName, rank] as const);

const mqtt: ObjectShape<MqttConfig> = object<MqttConfig>({
  idleTimeoutMs: field('idle_timeout', duration(1), 15_000),
  maxPacketSize: field('max_packet_size', size(128), MiB),
  maxClientidLen: field('max_clientid_len', integer(23, 65_535), 65_535),
  maxTopicLevels: field('max_topic_levels', integer(1, 65_535), 128),
  // Each may stand for a name of 64 KiB on each connection: EMQX's 65,535 would be 4 GiB.
  maxTopicAlias: field('max_topic_alias', integer(0, 65_535), 64),
  maxTopicAliasOut: field('max_topic_alias_out', integer(0, 65_535), 64),
  payloadFormatCheck: field('payload_format_check', flag, false),
  maxQosAllowed: field('max_qos_allowed', integer(0, 2), 2),
  retainAvailable: field('retain_available', flag, true),
  wildcardSubscription: field('wildcard_subscription', flag, true),
  sharedSubscription: field('shared_subscription', flag, true),
  sharedSubscriptionStrategy: field('shared_subscription_strategy', strategies, 'round_robin'),
  exclusiveSubscription: field('exclusive_subscription', flag, false),
  ignoreLoopDeliver: field('ignore_loop_deliver', flag, false),
  strictMode: field('strict_mode', flag, false),
  responseInformation: field('response_information', text, ''),
  serverKeepalive: field<number | undefined>('server_keepalive', orWord('disabled', integer(1, 65_535)), undefined),
  keepaliveMultiplier: field('keepalive_multiplier', decimal(1, 100), 1.5, ['keepalive_backoff']),
  retryIntervalMs: field('retry_interval', durationOrInfinity, infinity),
  useUsernameAsClientid: field('use_username_as_clientid', flag, false),
  peerCertAsUsername: field('peer_cert_as_username', choice('disabled', 'cn', 'dn', 'crt', 'pem', 'md5'), 'disabled'),
  peerCertAsClientid: field('peer_cert_as_clientid', choice('disabled', 'cn', 'dn', 'crt', 'pem', 'md5'), 'disabled'),
  sessionExpiryIntervalMs: field('session_expiry_interval', durationOrInfinity, 2 * hour),
  messageExpiryIntervalMs: field('message_expiry_interval', durationOrInfinity, infinity),
  maxAwaitingRel: field('max_awaiting_rel', limit(0), 100),
  awaitRelTimeoutMs: field('await_rel_timeout', duration(1), 300_000),
  mqueueStoreQos0: field('mqueue_store_qos0', flag, true),
  mqueuePriorities: field<MqttConfig['mqueuePriorities']>('mqueue_priorities', orWord('disabled', named(priority)), undefined),
  mqueueDefaultPriority: field<MqttConfig['mqueueDefaultPriority']>('mqueue_default_priority', choice('lowest', 'highest'), 'lowest'),
  maxMqueueLen: field('max_mqueue_len', limit(0), 1000),
  maxMqueueBytes: field('max_mqueue_bytes', size(), 8 * MiB),
  maxInflight: field('max_inflight', integer(1, 65_535), 32),
  maxSubscriptions: field('max_subscriptions', limit(1), infinity),
  upgradeQos: field('upgrade_qos', flag, false),
  suback: field('suback', choice('effective', 'committed'), 'effective'),
  subackTimeoutMs: field('suback_timeout', duration(1), 1000),
  registrationTimeoutMs: field('registration_timeout', duration(1), 5000),
  withoutQuorum: field('without_quorum', choice('accept', 'refuse'), 'accept'),
  isolatedSessionsMs: field('isolated_sessions', isolation, infinity),
});

interface RawRetainer extends Omit<RetainerConfig, 'maxRetainedMessages' | 'batchDeliverNumber' | 'batchReadNumber'> {
  readonly flowControl: Pick<RetainerConfig, 'batchDeliverNumber' | 'batchReadNumber'>;
  readonly backend: { readonly maxRetainedMessages: number };
}

const retainerFields: ObjectShape<RawRetainer> = object<RawRetainer>({
  enable: field('enable', flag, true),
  maxPayloadSize: field('max_payload_size', size(1), MiB),
  msgExpiryIntervalMs: field('msg_expiry_interval', durationOrInfinity, infinity),
  stopPublishClearMsg: field('stop_publish_clear_msg', flag, false),
  msgExpiryIntervalOverrideMs: field<number | undefined>('msg_expiry_interval_override', orWord('disabled', duration(1)), undefined),
  msgClearIntervalMs: field('msg_clear_interval', duration(), 30_000),
  msgClearLimit: field('msg_clear_limit', integer(1), 500),
  allowNeverExpire: field('allow_never_expire', flag, true),
  maxPublishRate: field('max_publish_rate', rate, infinity),
  deliveryRate: field('delivery_rate', rate, infinity),
  flowControl: section(
    'flow_control',
    object<RawRetainer['flowControl']>({
      batchReadNumber: field('batch_read_number', integer(0), 0),
      batchDeliverNumber: field('batch_deliver_number', integer(0), 200),
    }),
  ),
  backend: section('backend', object<RawRetainer['backend']>({ maxRetainedMessages: field('max_retained_messages', limit(0), infinity) })),
});

const retainer: ObjectShape<RetainerConfig> = {
  ...mapped(retainerFields, finishRetainer),
  defaults: () => finishRetainer(retainerFields.defaults()),
};

// In EMQX's names 0 means: no limit.
function finishRetainer({ backend, flowControl, ...rest }: RawRetainer): RetainerConfig {
  const unlimited = (n: number): number => (n === 0 ? infinity : n);
  return {
    ...rest,
    batchDeliverNumber: flowControl.batchDeliverNumber === 0 ? 200 : flowControl.batchDeliverNumber,
    batchReadNumber: unlimited(flowControl.batchReadNumber),
    msgExpiryIntervalMs: unlimited(rest.msgExpiryIntervalMs),
    maxRetainedMessages: unlimited(backend.maxRetainedMessages),
  };
}

const delayed: ObjectShape<DelayedConfig> = object<DelayedConfig>({
  enable: field('enable', flag, true),
  maxDelayedMessages: field('max_delayed_messages', integer(0), 0),
});

// As in EMQX a second is the shortest interval; `disabled` is never.
const sysInterval: Shape<number> = {
  expects: 'a duration such as 1m, or disabled',
  read: (value, path, report) => {
    if (value.kind === 'scalar' && value.text === 'disabled') return infinity;
    const ms = durationOrInfinity.read(value, path, report);
    return ms === undefined ? undefined : Math.max(1000, ms);
  },
};

const sysTopics: ObjectShape<SysTopicsConfig> = object<SysTopicsConfig>({
  sysMsgIntervalMs: field('sys_msg_interval', sysInterval, 60_000),
  sysHeartbeatIntervalMs: field('sys_heartbeat_interval', sysInterval, 30_000),
  sysEventMessages: section(
    'sys_event_messages',
    object<SysTopicsConfig['sysEventMessages']>({
      clientConnected: field('client_connected', flag, true),
      clientDisconnected: field('client_disconnected', flag, true),
      clientSubscribed: field('client_subscribed', flag, false),
      clientUnsubscribed: field('client_unsubscribed', flag, false),
    }),
  ),
});

const durableSessions: ObjectShape<DurableSessionsConfig> = object<DurableSessionsConfig>({
  enable: field('enable', flag, true),
  maxBytes: field('max_bytes', size(64 * MiB), 16 * 1024 * MiB),
  segmentSize: field('segment_size', size(MiB), 16 * MiB),
});

interface DashboardFields extends Omit<RawDashboard, 'http'> {
  readonly listeners: { readonly http: RawDashboard['http'] };
}

const http: ObjectShape<RawDashboard['http']> = object<RawDashboard['http']>({
  enable: field('enable', flag, true),
  bind: field('bind', bind('127.0.0.1'), { host: '127.0.0.1', port: 18_083 }),
});

const dashboardFields: ObjectShape<DashboardFields> = object<DashboardFields>({
  listeners: section('listeners', object<DashboardFields['listeners']>({ http: section('http', http) })),
  defaultUsername: field('default_username', nonEmpty, 'admin'),
  defaultPassword: field<string | undefined>('default_password', nonEmpty, undefined),
  tokenExpiredTimeMs: field('token_expired_time', duration(1000), hour),
});

const dashboard: ObjectShape<RawDashboard> = {
  ...mapped(dashboardFields, finishDashboard),
  defaults: () => finishDashboard(dashboardFields.defaults()),
};

function finishDashboard({ listeners: { http }, ...rest }: DashboardFields): RawDashboard {
  return { ...rest, http };
}

const forward: ObjectShape<ForwardConfig> = object<ForwardConfig>({
  windowBytes: field('window_bytes', size(65_536), 16 * MiB),
  windowMessages: field('window_messages', integer(1), 100_000),
  ackTimeoutMs: field('ack_timeout', duration(1), 5000),
});

const database: ObjectShape<DatabaseConfig> = object<DatabaseConfig>({
  heartbeatMs: field('heartbeat', duration(10), 150),
  electionTimeoutMinMs: field('election_timeout_min', duration(50), 1000),
  electionTimeoutMaxMs: field('election_timeout_max', duration(50), 2000),
  proposalTimeoutMs: field('proposal_timeout', duration(1), 5000),
  transactionRetries: field('transaction_retries', integer(0, 100), 8),
  leaseMs: field('lease', duration(1), 500),
  leaseLateMs: field('lease_late', duration(1), 2000),
  effectiveTimeoutMs: field('effective_timeout', duration(1), 1500),
  coreSilentMs: field('core_silent', duration(1), 1000),
  rebalanceIntervalMs: field('rebalance_interval', durationOrInfinity, 10_000),
  leaderRebalanceIntervalMs: field('leader_rebalance_interval', durationOrInfinity, 10_000),
  registryShards: field('registry_shards', integer(1, 64), 4),
  logSegmentSize: field('log_segment_size', size(MiB), 64 * MiB),
  logKeepSize: field('log_keep_size', size(), 256 * MiB),
  logKeepMs: field('log_keep_time', duration(), 600_000),
  logKeepSizeMax: field('log_keep_size_max', size(), 4096 * MiB),
  replicantCredit: field('replicant_credit', size(65_536), 8 * MiB),
  bootstrapChunkSize: field('bootstrap_chunk_size', size(4096), MiB),
  tableCommitIntervalMs: field('table_commit_interval', duration(1), 2000),
  tableCommitRows: field('table_commit_rows', integer(1), 4000),
  tableCommitSize: field('table_commit_size', size(4096), 2 * MiB),
  relayLogSize: field('relay_log_size', size(MiB), 64 * MiB),
  remoteReadRows: field('remote_read_rows', integer(1), 10_000),
  remoteReadSize: field('remote_read_size', size(4096), 4 * MiB),
  pendingProposals: field('pending_proposals', integer(1), 100_000),
  pendingProposalsSize: field('pending_proposals_size', size(MiB), 64 * MiB),
  scrubIntervalMs: field('scrub_interval', durationOrInfinity, hour),
  scrubRowsPerSecond: field('scrub_rows_per_second', integer(10), 5000),
  scrubBytesPerSecond: field('scrub_bytes_per_second', size(4096), 4 * MiB),
});

const level: Field<LogLevel> = field<LogLevel>('level', levels(), 'info');

// EMQX's finer levels mean the nearest one here.
function levels() {
  const words = choice('debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency');
  return mapped(words, (word): LogLevel => {
    if (word === 'notice') return 'info';
    return word === 'critical' || word === 'alert' || word === 'emergency' ? 'error' : word;
  });
}

const consoleLog: ObjectShape<LogConfig['console']> = object<LogConfig['console']>({
  enable: field('enable', flag, true),
  level,
  formatter: field('formatter', choice('text', 'json'), 'text'),
});

interface RawFileLog {
  readonly enable: boolean;
  readonly path: string;
  readonly level: LogLevel;
  readonly formatter: 'text' | 'json';
}

const fileLog = object<RawFileLog>({
  enable: field('enable', flag, true),
  path: field('path', nonEmpty, 'log/starmesh.log', ['to']),
  level,
  formatter: field('formatter', choice('text', 'json'), 'text'),
});

const log: ObjectShape<LogConfig> = object<LogConfig>({
  console: section('console', consoleLog),
  file: field<LogConfig['file']>(
    'file',
    mapped(fileLog, ({ enable, ...rest }) => (enable ? rest : undefined)),
    undefined,
  ),
});

function optional(key: string): Field<string | undefined> {
  return field<string | undefined>(key, nonEmpty, undefined);
}

export const schema: ObjectShape<RawConfig> = object<RawConfig>({
  node: section('node', node),
  cluster: section('cluster', cluster),
  listeners: field<readonly ListenerConfig[]>('listeners', listeners, defaultListeners()),
  mqtt: section('mqtt', mqtt),
  retainer: section('retainer', retainer),
  broker: section('broker', broker),
  delayed: section('delayed', delayed),
  sysTopics: section('sys_topics', sysTopics),
  durableSessions: section('durable_sessions', durableSessions),
  authentication: field('authentication', authentication, []),
  authorization: section('authorization', authorization),
  flappingDetect: section('flapping_detect', flappingDetect),
  overload: section('overload_protection', overload),
  dashboard: section('dashboard', dashboard),
  prometheus: section('prometheus', object<PrometheusConfig>({ enableBasicAuth: field('enable_basic_auth', flag, false) })),
  apiKey: section('api_key', object<ApiKeyConfig>({ bootstrapFile: optional('bootstrap_file') })),
  rpc: section('rpc', rpc),
  forward: section('forward', forward),
  database: section('database', database),
  log: section('log', log),
});

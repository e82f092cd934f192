// The configuration of one node, read and checked: what `startNode` is given. Durations are
// milliseconds, sizes bytes, `infinity` is Infinity. Names of the file stand in schema.ts.
import type { Network } from '#auth/address.js';

export type NodeRole = 'core' | 'replicant';

export interface StarmeshConfig {
  readonly node: NodeConfig;
  readonly cluster: ClusterConfig;
  /** Enabled ones only, in the order tcp, ssl, ws, wss, then as written. Empty: this node serves no MQTT. */
  readonly listeners: readonly ListenerConfig[];
  readonly mqtt: MqttConfig;
  readonly retainer: RetainerConfig;
  readonly broker: BrokerConfig;
  readonly delayed: DelayedConfig;
  readonly sysTopics: SysTopicsConfig;
  readonly durableSessions: DurableSessionsConfig;
  /** As written, for the room `auth`; disabled entries (`enable = false`) are left out. */
  readonly authentication: readonly PlainObject[];
  readonly authorization: AuthorizationConfig;
  readonly flappingDetect: FlappingConfig;
  readonly overload: OverloadConfig;
  readonly dashboard: DashboardConfig;
  readonly prometheus: PrometheusConfig;
  readonly apiKey: ApiKeyConfig;
  readonly rpc: RpcConfig;
  readonly forward: ForwardConfig;
  readonly database: DatabaseConfig;
  readonly log: LogConfig;
}

/** Persistent sessions across a restart of their node: docs/sessions.md. */
export interface DurableSessionsConfig {
  readonly enable: boolean;
  /** Bytes of the journal; beyond, nothing more is taken for persistent sessions. */
  readonly maxBytes: number;
  readonly segmentSize: number;
}

/** What a part of the file looks like whose shape belongs to another room. */
export type Plain = string | number | boolean | null | readonly Plain[] | PlainObject;
export interface PlainObject {
  readonly [key: string]: Plain;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** A node as others find it: `core1@10.0.0.5:4370`. */
export interface NodeAddress extends HostPort {
  readonly name: string;
}

export interface NodeConfig {
  /** `NAME@HOST`. */
  readonly name: string;
  /** Shared secret of the cluster; undefined only for a core that is alone. */
  readonly cookie: string | undefined;
  /** As written; relative to the working directory. */
  readonly dataDir: string;
  readonly role: NodeRole;
  /** Worker processes for MQTT connections; 0: none, the node is one process. */
  readonly workers: number;
  /** For so long the way of a message is run before the node serves; 0: it is not; undefined: `usualWarmUpMs`. */
  readonly warmUpMs: number | undefined;
}

export interface ClusterConfig {
  readonly name: string;
  readonly discoveryStrategy: DiscoveryStrategy;
  /** Where to ask for addresses of other nodes; undefined: nowhere. */
  readonly discovery: DiscoveryConfig | undefined;
  /** How long between two questions. */
  readonly discoveryIntervalMs: number;
  /** How many cores form the cluster, where they find each other by discovery; undefined: those in `cores`. */
  readonly coreCount: number | undefined;
  /** The cores that form the cluster, this node included if it is one of them; the union of `core_nodes` and `static.seeds`. */
  readonly cores: readonly NodeAddress[];
  /** Where this node accepts other nodes. Port 0 picks a free one. */
  readonly listen: HostPort;
  /** Where others reach this node. */
  readonly advertise: HostPort;
  /** How long a node is down before its rows are purged. */
  readonly nodeDownAfterMs: number;
  /** How long a node is down before it is forgotten, a core only while three are left; Infinity: never. */
  readonly autocleanMs: number;
  /** Replicants become cores while fewer cores than this live; 0: by hand only. */
  readonly coreAutoPromote: number;
  /** A replicant that feeds other replicants; cores take no notice. */
  readonly relay: boolean;
  readonly coreWeight: number;
  readonly tls: ClusterTlsConfig | undefined;
}

export type DiscoveryStrategy = 'manual' | 'static' | 'dns' | 'k8s' | 'singleton';

export interface DnsConfig {
  readonly name: string;
  readonly recordType: 'a' | 'aaaa' | 'srv';
  /** Empty: those of the machine. */
  readonly servers: readonly string[];
}

export interface K8sConfig {
  readonly apiserver: string;
  readonly serviceName: string;
  readonly addressType: 'ip' | 'dns' | 'hostname';
  readonly suffix: string;
  readonly namespace: string;
  /** Of the pod's service account. */
  readonly tokenfile: string;
  readonly cacertfile: string;
}

export type DiscoveryConfig = ({ readonly kind: 'dns' } & DnsConfig) | ({ readonly kind: 'k8s' } & K8sConfig);

/** Both sides of every link show a certificate; without `verify_peer` only the cookie says who they are. */
export interface ClusterTlsConfig {
  readonly cacertfile: string | undefined;
  readonly certfile: string;
  readonly keyfile: string;
  readonly password: string | undefined;
  readonly verify: 'verify_none' | 'verify_peer';
  readonly versions: readonly string[];
  /** OpenSSL's names; empty: the defaults. */
  readonly ciphers: readonly string[];
}

export type ListenerType = 'tcp' | 'ssl' | 'ws' | 'wss';

/** `allow 10.0.0.0/8`, `deny all`. */
export interface AccessRule {
  readonly allow: boolean;
  /** undefined: all. */
  readonly network: Network | undefined;
}

export interface ListenerConfig {
  readonly type: ListenerType;
  readonly name: string;
  readonly bind: HostPort;
  readonly maxConnections: number;
  /** New connections per second. */
  readonly maxConnRate: number;
  /** Connections that have not got through PROXY header, TLS and WebSocket yet. */
  readonly maxHandshakes: number;
  /** Messages per second and connection. */
  readonly messagesRate: number;
  /** Bytes per second and connection. */
  readonly bytesRate: number;
  /** undefined: `mqtt.max_packet_size`. */
  readonly maxPacketSize: number | undefined;
  readonly accessRules: readonly AccessRule[];
  readonly mountpoint: string;
  readonly proxyProtocol: boolean;
  readonly proxyProtocolTimeoutMs: number;
  readonly enableAuthn: boolean;
  readonly tcp: TcpConfig;
  /** For ssl and wss. */
  readonly ssl: SslConfig | undefined;
  /** For ws and wss. */
  readonly websocket: WebSocketConfig | undefined;
}

export interface TcpConfig {
  readonly backlog: number;
  readonly nodelay: boolean;
  /** Output buffered for one connection before it counts as slow. */
  readonly highWatermark: number;
  readonly sendTimeoutMs: number;
}

export interface SslConfig {
  readonly cacertfile: string | undefined;
  readonly certfile: string;
  readonly keyfile: string;
  readonly password: string | undefined;
  readonly verify: 'verify_none' | 'verify_peer';
  readonly failIfNoPeerCert: boolean;
  readonly versions: readonly string[];
  /** OpenSSL's names; empty: the defaults. */
  readonly ciphers: readonly string[];
  readonly handshakeTimeoutMs: number;
}

export interface WebSocketConfig {
  readonly mqttPath: string;
  readonly compress: boolean;
  readonly idleTimeoutMs: number;
  readonly maxFrameSize: number;
  readonly failIfNoSubprotocol: boolean;
  readonly checkOriginEnable: boolean;
  readonly checkOrigins: readonly string[];
}

export interface MqttConfig {
  readonly idleTimeoutMs: number;
  readonly maxPacketSize: number;
  readonly maxClientidLen: number;
  readonly maxTopicLevels: number;
  readonly maxTopicAlias: number;
  /** Towards one client. */
  readonly maxTopicAliasOut: number;
  readonly payloadFormatCheck: boolean;
  readonly maxQosAllowed: number;
  readonly retainAvailable: boolean;
  readonly wildcardSubscription: boolean;
  readonly sharedSubscription: boolean;
  readonly sharedSubscriptionStrategy: SharedStrategy;
  readonly exclusiveSubscription: boolean;
  readonly ignoreLoopDeliver: boolean;
  readonly strictMode: boolean;
  readonly responseInformation: string;
  /** Seconds; undefined: the client's own. */
  readonly serverKeepalive: number | undefined;
  readonly keepaliveMultiplier: number;
  readonly retryIntervalMs: number;
  readonly useUsernameAsClientid: boolean;
  readonly peerCertAsUsername: PeerCertField;
  readonly peerCertAsClientid: PeerCertField;
  /** For clients before MQTT 5 that ask for a persistent session. */
  readonly sessionExpiryIntervalMs: number;
  /** Of messages that have none; Infinity: they do not expire. */
  readonly messageExpiryIntervalMs: number;
  readonly maxAwaitingRel: number;
  readonly awaitRelTimeoutMs: number;
  readonly mqueueStoreQos0: boolean;
  /** Topic names with their priorities. */
  readonly mqueuePriorities: readonly (readonly [string, number])[] | undefined;
  readonly mqueueDefaultPriority: 'lowest' | 'highest';
  readonly maxMqueueLen: number;
  readonly maxMqueueBytes: number;
  readonly maxInflight: number;
  readonly maxSubscriptions: number;
  readonly upgradeQos: boolean;
  /** `effective`: SUBACK when every node with a lease sees the route; `committed`: when the cores have it. */
  readonly suback: 'effective' | 'committed';
  readonly subackTimeoutMs: number;
  readonly registrationTimeoutMs: number;
  readonly withoutQuorum: 'accept' | 'refuse';
  /** How long clients stay on a node cut off from all cores; Infinity: as long as they like. */
  readonly isolatedSessionsMs: number;
}

export type SharedStrategy = 'random' | 'round_robin' | 'round_robin_per_group' | 'sticky' | 'local' | 'hash_clientid' | 'hash_topic';
export type PeerCertField = 'disabled' | 'cn' | 'dn' | 'crt' | 'pem' | 'md5';

export interface RetainerConfig {
  readonly enable: boolean;
  readonly maxPayloadSize: number;
  /** Infinity: no limit. */
  readonly maxRetainedMessages: number;
  /** Ceiling; Infinity: as the publisher says. */
  readonly msgExpiryIntervalMs: number;
  readonly stopPublishClearMsg: boolean;
  /** Of retained messages that expire, whatever they say; undefined: what they say. */
  readonly msgExpiryIntervalOverrideMs: number | undefined;
  /** False: the override is also for those that would stay. */
  readonly allowNeverExpire: boolean;
  /** Per second and node. */
  readonly maxPublishRate: number;
  /** How often expired ones are looked for. */
  readonly msgClearIntervalMs: number;
  /** Expired ones deleted at a time. */
  readonly msgClearLimit: number;
  /** Per second and session. */
  readonly deliveryRate: number;
  /** Rows of the store that are looked at per turn and session; Infinity: as many as are good for the others. */
  readonly batchReadNumber: number;
  /** Per turn and session. */
  readonly batchDeliverNumber: number;
}

export interface BrokerConfig {
  readonly sharedSubscriptionGroups: readonly { readonly group: string; readonly strategy: SharedStrategy }[];
}

/** Messages to `$delayed/SECONDS/NAME`. */
export interface DelayedConfig {
  readonly enable: boolean;
  /** 0: no limit. */
  readonly maxDelayedMessages: number;
}

/** What the broker tells under `$SYS`. Infinity: never. */
export interface SysTopicsConfig {
  readonly sysMsgIntervalMs: number;
  readonly sysHeartbeatIntervalMs: number;
  readonly sysEventMessages: {
    readonly clientConnected: boolean;
    readonly clientDisconnected: boolean;
    readonly clientSubscribed: boolean;
    readonly clientUnsubscribed: boolean;
  };
}

export interface AuthorizationConfig {
  readonly noMatch: 'allow' | 'deny';
  readonly denyAction: 'ignore' | 'disconnect';
  readonly concealReason: boolean;
  readonly cache: { readonly enable: boolean; readonly maxSize: number; readonly ttlMs: number };
  /** How often what was granted is judged again; Infinity: when rules change only. */
  readonly recheckMs: number;
  /** As written, for the room `auth`; undefined: nothing was written, and the default rules hold. */
  readonly sources: readonly PlainObject[] | undefined;
}

/** Clients that come and go too often are banned for a while. */
export interface FlappingConfig {
  readonly enable: boolean;
  readonly windowMs: number;
  readonly maxCount: number;
  readonly banMs: number;
}

/** What is done as memory fills up. */
export interface OverloadConfig {
  readonly enable: boolean;
  /** New clients are refused then. */
  readonly backoffNewConn: boolean;
  /** Of the memory that the process may use, or in bytes. */
  readonly watermark: { readonly part: number } | { readonly bytes: number };
  readonly checkIntervalMs: number;
}

export interface DashboardConfig {
  /** Where HTTP (dashboard, API, metrics) is served; undefined: nowhere. */
  readonly http: HostPort | undefined;
  readonly defaultUsername: string;
  /** undefined: a random one is printed once. */
  readonly defaultPassword: string | undefined;
  readonly tokenExpiredTimeMs: number;
}

export interface PrometheusConfig {
  readonly enableBasicAuth: boolean;
}

export interface ApiKeyConfig {
  readonly bootstrapFile: string | undefined;
}

/** The links between nodes. */
export interface RpcConfig {
  readonly connectTimeoutMs: number;
  readonly callReceiveTimeoutMs: number;
  readonly authenticationTimeoutMs: number;
  readonly raftBufferSize: number;
  readonly rlogBufferSize: number;
  readonly callBufferSize: number;
  readonly forwardBufferSize: number;
  readonly maxFrameSize: number;
  readonly maxOutstandingCalls: number;
  readonly pingIntervalMs: number;
  readonly quietPingIntervalMs: number;
  readonly silenceTimeoutMs: number;
  readonly redialMinMs: number;
  readonly redialMaxMs: number;
  readonly lingerMs: number;
  readonly maxUnauthenticated: number;
  readonly maxAssembling: number;
  readonly certificateCheckIntervalMs: number;
}

/** MQTT messages between nodes. */
export interface ForwardConfig {
  readonly windowBytes: number;
  readonly windowMessages: number;
  readonly ackTimeoutMs: number;
}

export interface DatabaseConfig {
  readonly heartbeatMs: number;
  readonly electionTimeoutMinMs: number;
  readonly electionTimeoutMaxMs: number;
  readonly proposalTimeoutMs: number;
  readonly transactionRetries: number;
  readonly leaseMs: number;
  readonly leaseLateMs: number;
  readonly effectiveTimeoutMs: number;
  readonly coreSilentMs: number;
  readonly rebalanceIntervalMs: number;
  readonly leaderRebalanceIntervalMs: number;
  readonly registryShards: number;
  readonly logSegmentSize: number;
  /** Log kept for followers and replicants: this size or this time, whichever is more, up to `logKeepSizeMax`. */
  readonly logKeepSize: number;
  readonly logKeepMs: number;
  readonly logKeepSizeMax: number;
  /** Unacknowledged bytes per replicant and shard. */
  readonly replicantCredit: number;
  readonly bootstrapChunkSize: number;
  /** What is applied is in memory for so long, or so many rows or bytes, until it is in the tables. */
  readonly tableCommitIntervalMs: number;
  readonly tableCommitRows: number;
  readonly tableCommitSize: number;
  readonly relayLogSize: number;
  readonly remoteReadRows: number;
  readonly remoteReadSize: number;
  readonly pendingProposals: number;
  readonly pendingProposalsSize: number;
  /** Infinity: never. */
  readonly scrubIntervalMs: number;
  readonly scrubRowsPerSecond: number;
  readonly scrubBytesPerSecond: number;
}

export type LogLevel = 'debug' | 'info' | 'warning' | 'error';

export interface LogConfig {
  readonly console: { readonly enable: boolean; readonly level: LogLevel; readonly formatter: 'text' | 'json' };
  readonly file: { readonly path: string; readonly level: LogLevel; readonly formatter: 'text' | 'json' } | undefined;
}

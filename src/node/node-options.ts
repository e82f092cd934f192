// From the configuration to the options of a node's parts. What the file may say and this version
// cannot do is refused here with a sentence, never ignored where somebody relies on it.
import { inNetwork, parseAddress } from '#auth/address.js';
import { type BrokerOptions, defaultBrokerOptions } from '#broker/options.js';
import { overloadDefaults } from '#broker/overload.js';
import type { RegistryOptions } from '#broker/registry.js';
import { registryShards } from '#broker/schema.js';
import type { DbBounds } from '#db/bounds.js';
import type { CertificateField, TlsOptions, WebSocketOptions } from '#env/net.js';
import type { PeerTarget } from '#link/api.js';
import type { LinkLimits } from '#link/options.js';
import { type ListenerOptions, webSocketSubprotocols } from '#listener/options.js';
import type { QoS } from '#mqtt/packet.js';
import { defaultLimits, neverExpires, type SessionLimits } from '#session/limits.js';
import type { QueuePriorities } from '#session/queue.js';
import { accessSettings } from './access-settings.js';
import type {
  AccessRule,
  DatabaseConfig,
  ListenerConfig,
  MqttConfig,
  OverloadConfig,
  PeerCertField,
  RpcConfig,
  SslConfig,
  StarmeshConfig,
  WebSocketConfig,
} from './config/config.js';
import type { NodeOptions } from './create-node.js';
import type { MemoryWatchOptions } from './memory-watch.js';

/** A CONNECT may carry a client id, a user name, a password, a will topic and a will payload of 64 KiB each, and properties. */
const connectBytesMin = 512 * 1024;

/** Settings that this version cannot honour, one sentence each; empty: it can start. */
export function refusals(config: StarmeshConfig): string[] {
  const all = config.listeners.flatMap(mountpointProblems);
  all.push(...accessSettings(config).problems);
  if (config.node.workers > 0) all.push('node.workers is not available yet in this version; set it to 0');
  if (config.database.registryShards !== registryShards) all.push(`database.registry_shards is fixed at ${registryShards} in this version`);
  return all;
}

function mountpointProblems({ type, name, mountpoint }: ListenerConfig): string[] {
  return /[+#\0]/.test(mountpoint) ? [`listeners.${type}.${name}.mountpoint holds a wildcard; it is the begin of a topic name`] : [];
}

const defaultAwaitRelMs = 300_000;

/** Settings that have no effect yet and harm nobody. */
export function warnings(config: StarmeshConfig): string[] {
  const { mqtt } = config;
  const set: readonly (readonly [boolean, string])[] = [
    [mqtt.strictMode, 'mqtt.strict_mode'],
    [mqtt.retryIntervalMs < Infinity, 'mqtt.retry_interval'],
    [mqtt.isolatedSessionsMs < Infinity, 'mqtt.isolated_sessions'],
  ];
  const found = set.filter(([used]) => used).map(([, name]) => `${name}: has no effect yet in this version`);
  if (mqtt.awaitRelTimeoutMs !== defaultAwaitRelMs)
    found.push('mqtt.await_rel_timeout: has no effect; a QoS 2 message is remembered until its PUBREL, or it could be taken twice');
  return found;
}

function databaseBounds(database: DatabaseConfig): Partial<DbBounds> {
  return {
    proposalDeadlineMs: database.proposalTimeoutMs,
    transactionRetries: database.transactionRetries,
    logKeepBytes: database.logKeepSize,
    logKeepMs: database.logKeepMs,
    logKeepBytesMax: database.logKeepSizeMax,
    replicaCreditBytes: database.replicantCredit,
    bootstrapChunkBytes: database.bootstrapChunkSize,
    tableCommitMs: database.tableCommitIntervalMs,
    tableCommitRows: database.tableCommitRows,
    tableCommitBytes: database.tableCommitSize,
    leaseMs: database.leaseMs,
    lateMs: database.leaseLateMs,
    effectiveWaitMs: database.effectiveTimeoutMs,
    coreSilentMs: database.coreSilentMs,
    rebalanceMs: database.rebalanceIntervalMs,
    leaderSpreadMs: database.leaderRebalanceIntervalMs,
    relayLogBytes: database.relayLogSize,
    remoteReadRowsMax: database.remoteReadRows,
    remoteReadBytesMax: database.remoteReadSize,
    pendingProposalsMax: database.pendingProposals,
    pendingProposalBytesMax: database.pendingProposalsSize,
    scrubEveryMs: database.scrubIntervalMs,
    scrubRowsPerSecond: database.scrubRowsPerSecond,
    scrubBytesPerSecond: database.scrubBytesPerSecond,
  };
}

function linkLimits(rpc: RpcConfig): Partial<LinkLimits> {
  return {
    connectTimeoutMs: rpc.connectTimeoutMs,
    handshakeMs: rpc.authenticationTimeoutMs,
    laneBufferBytesMax: { raft: rpc.raftBufferSize, rlog: rpc.rlogBufferSize, rpc: rpc.callBufferSize, forward: rpc.forwardBufferSize },
    frameBytesMax: rpc.maxFrameSize,
    rpcOutstandingMax: rpc.maxOutstandingCalls,
    rpcAnswerMsMax: rpc.callReceiveTimeoutMs,
    pingIntervalMs: rpc.pingIntervalMs,
    quietPingMs: rpc.quietPingIntervalMs,
    silenceMs: rpc.silenceTimeoutMs,
    redialMinMs: rpc.redialMinMs,
    redialMaxMs: Math.max(rpc.redialMinMs, rpc.redialMaxMs),
    lingerMs: rpc.lingerMs,
    unauthenticatedMax: rpc.maxUnauthenticated,
    assemblingMax: rpc.maxAssembling,
    certificateCheckMs: rpc.certificateCheckIntervalMs,
  };
}

/** `cookie`: what a node without a configured one uses, being alone. */
export function nodeOptions(config: StarmeshConfig, cookie: string, onFatal: (error: Error) => void): NodeOptions {
  const { node, cluster, database, rpc, forward, mqtt, retainer } = config;
  const self: PeerTarget = { name: node.name, role: node.role, ...cluster.advertise };
  const cores: PeerTarget[] = cluster.cores.map((c) => ({ name: c.name, role: 'core', host: c.host, port: c.port }));
  return {
    core: {
      name: node.name,
      role: node.role,
      cookie,
      // Without a shared secret nobody could join.
      listen: node.cookie === undefined ? undefined : cluster.listen,
      advertise: cluster.advertise,
      tls: clusterTlsOptions(config),
      // A core that lists itself alone, or nobody, is a cluster of one; unless it is to look for others.
      cores: cores.length === 0 && cluster.discovery === undefined ? [self] : cores,
      coreCount: cluster.coreCount,
      nodeDownAfterMs: cluster.nodeDownAfterMs,
      autocleanMs: cluster.autocleanMs,
      coreAutoPromote: cluster.coreAutoPromote,
      relay: cluster.relay,
      coreWeight: cluster.coreWeight,
      bounds: databaseBounds(database),
      timings: {
        heartbeatMs: database.heartbeatMs,
        electionTimeoutMinMs: database.electionTimeoutMinMs,
        electionTimeoutMaxMs: database.electionTimeoutMaxMs,
      },
      linkLimits: linkLimits(rpc),
      walSegmentBytes: database.logSegmentSize,
      onFatal,
    },
    listeners: config.listeners.map((l) => listenerOptions(l, mqtt)),
    broker: brokerOptions(config),
    routes: { suback: mqtt.suback, subackTimeoutMs: mqtt.subackTimeoutMs, proposalDeadlineMs: database.proposalTimeoutMs },
    forward: { windowBytesMax: forward.windowBytes, windowMessagesMax: forward.windowMessages, ackDeadlineMs: forward.ackTimeoutMs },
    retained: {
      payloadBytesMax: retainer.maxPayloadSize,
      expiryMs: retainer.msgExpiryIntervalMs,
      expiryOverrideMs: retainer.msgExpiryIntervalOverrideMs,
      allowNeverExpire: retainer.allowNeverExpire,
      publishRate: retainer.maxPublishRate,
      // In EMQX's names 0 means: never. Expired messages are not seen either way.
      sweepMs: retainer.msgClearIntervalMs === 0 ? 30_000 : retainer.msgClearIntervalMs,
      expireKeysMax: Math.min(retainer.msgClearLimit, 10_000),
      messagesMax: retainer.maxRetainedMessages === Infinity ? 0 : retainer.maxRetainedMessages,
      deadlineMs: database.proposalTimeoutMs,
    },
    registry: registryOptions(mqtt.registrationTimeoutMs),
    delayed: config.delayed.enable ? { messagesMax: config.delayed.maxDelayedMessages, deadlineMs: database.proposalTimeoutMs } : undefined,
    sessions: {
      enable: config.durableSessions.enable,
      diskBytesMax: config.durableSessions.maxBytes,
      segmentBytes: config.durableSessions.segmentSize,
    },
    auth: accessSettings(config).settings,
    overload: overloadOptions(config.overload),
  };
}

function overloadOptions(o: OverloadConfig): MemoryWatchOptions | undefined {
  if (!o.enable) return undefined;
  const checkMs = o.checkIntervalMs;
  return { watermark: o.watermark, refuseNew: o.backoffNewConn, checkMs, checkMsMin: Math.min(checkMs, overloadDefaults.checkMsMin) };
}

/** What a listener is made of, for the node and for a look whether it could start. */
export function listenerOptions(l: ListenerConfig, mqtt: MqttConfig): Partial<ListenerOptions> {
  return {
    id: `${l.type}:${l.name}`,
    host: l.bind.host,
    port: l.bind.port,
    maxConnections: l.maxConnections,
    maxConnRate: l.maxConnRate,
    maxHandshakes: l.maxHandshakes,
    mayConnect: mayConnect(l.accessRules),
    messagesRate: l.messagesRate,
    bytesRate: l.bytesRate,
    maxPacketSizeBytes: l.maxPacketSize,
    backlog: l.tcp.backlog,
    noDelay: l.tcp.nodelay,
    proxyProtocolTimeoutMs: l.proxyProtocol ? l.proxyProtocolTimeoutMs : undefined,
    handshakeTimeoutMs: l.ssl?.handshakeTimeoutMs ?? mqtt.idleTimeoutMs,
    tls: l.ssl === undefined ? undefined : tlsOptions(l.ssl),
    webSocket: l.websocket === undefined ? undefined : webSocketOptions(l, l.websocket, mqtt),
    identity: {
      username: certificateField(mqtt.peerCertAsUsername),
      clientId: certificateField(mqtt.peerCertAsClientid),
      usernameAsClientId: mqtt.useUsernameAsClientid,
    },
    idleTimeoutMs: mqtt.idleTimeoutMs,
    outputBytesMax: l.tcp.highWatermark,
    sendTimeoutMs: l.tcp.sendTimeoutMs,
    keepAliveMultiplier: mqtt.keepaliveMultiplier,
    enableAuthn: l.enableAuthn,
    mountpoint: l.mountpoint,
    maxConnectBytes: Math.max(connectBytesMin, Math.min(mqtt.maxPacketSize, 2 * connectBytesMin)),
  };
}

/** The first rule that speaks of the address decides; as in EMQX one that none speaks of may connect. */
function mayConnect(rules: readonly AccessRule[]): ((host: string) => boolean) | undefined {
  if (rules.every(({ allow }) => allow)) return undefined;
  return (host) => {
    const address = parseAddress(host);
    const rule = rules.find(({ network }) => network === undefined || (address !== undefined && inNetwork(address, network)));
    return rule === undefined || rule.allow;
  };
}

function certificateField(field: PeerCertField): CertificateField | undefined {
  return field === 'disabled' ? undefined : field;
}

function tlsOptions({ handshakeTimeoutMs: _, ciphers, ...rest }: SslConfig): TlsOptions {
  return { ...rest, ciphers: ciphers.join(':') };
}

/** Of the links between nodes; undefined: they are plain TCP. */
export function clusterTlsOptions({ cluster: { tls } }: StarmeshConfig): TlsOptions | undefined {
  if (tls === undefined) return undefined;
  return { ...tls, ciphers: tls.ciphers.join(':'), failIfNoPeerCert: tls.verify === 'verify_peer' };
}

/** Beyond the largest packet: a message may hold several packets, or the end of one and the begin of another. */
const messageSlackBytes = 64 * 1024;

function webSocketOptions(l: ListenerConfig, w: WebSocketConfig, mqtt: MqttConfig): WebSocketOptions {
  return {
    path: w.mqttPath,
    subprotocols: webSocketSubprotocols,
    failIfNoSubprotocol: w.failIfNoSubprotocol,
    messageBytesMax: Math.min(w.maxFrameSize, (l.maxPacketSize ?? mqtt.maxPacketSize) + messageSlackBytes),
    compress: w.compress,
    origins: w.checkOriginEnable ? w.checkOrigins : undefined,
    idleTimeoutMs: w.idleTimeoutMs,
  };
}

/** What clients are offered at most, however many QoS 2 messages may wait for their release. */
const receiveMaximumMax = 1000;

function brokerOptions(config: StarmeshConfig): Partial<BrokerOptions> {
  const { withoutQuorum, sharedSubscriptionStrategy } = config.mqtt;
  const { stopPublishClearMsg, deliveryRate, batchDeliverNumber, batchReadNumber } = config.retainer;
  return {
    ...defaultBrokerOptions,
    limits: sessionLimits(config),
    withoutQuorum,
    sharedStrategy: sharedSubscriptionStrategy,
    sharedStrategies: new Map(config.broker.sharedSubscriptionGroups.map(({ group, strategy }) => [group, strategy])),
    retainedBatch: batchDeliverNumber,
    retainedRows: Math.min(batchReadNumber, defaultBrokerOptions.retainedRows),
    retainedRate: deliveryRate,
    retainedClearsSilently: stopPublishClearMsg,
  };
}

function sessionLimits({ mqtt, retainer }: StarmeshConfig): SessionLimits {
  return {
    ...defaultLimits,
    maxInflight: mqtt.maxInflight,
    // In EMQX's names 0 means: no limit but that of the bytes.
    maxQueuedMessages: mqtt.maxMqueueLen === 0 ? Infinity : mqtt.maxMqueueLen,
    maxQueuedBytes: mqtt.maxMqueueBytes,
    queueQos0: mqtt.mqueueStoreQos0,
    priorities: queuePriorities(mqtt),
    upgradeQos: mqtt.upgradeQos,
    receiveMaximum: Math.max(1, Math.min(receiveMaximumMax, mqtt.maxAwaitingRel)),
    maxAwaitingRel: mqtt.maxAwaitingRel,
    maxPacketSizeBytes: mqtt.maxPacketSize,
    maxClientIdLength: mqtt.maxClientidLen,
    maxTopicLevels: mqtt.maxTopicLevels,
    maxTopicAlias: mqtt.maxTopicAlias,
    maxTopicAliasOut: mqtt.maxTopicAliasOut,
    payloadFormatCheck: mqtt.payloadFormatCheck,
    maxQos: mqtt.maxQosAllowed as QoS,
    retainAvailable: mqtt.retainAvailable && retainer.enable,
    wildcardSubscription: mqtt.wildcardSubscription,
    sharedSubscription: mqtt.sharedSubscription,
    exclusiveSubscription: mqtt.exclusiveSubscription,
    ignoreLoopDeliver: mqtt.ignoreLoopDeliver,
    messageExpiryMs: mqtt.messageExpiryIntervalMs,
    maxSubscriptions: mqtt.maxSubscriptions,
    sessionExpiryIntervalS: Math.min(neverExpires, Math.ceil(mqtt.sessionExpiryIntervalMs / 1000)),
    serverKeepAliveS: mqtt.serverKeepalive ?? 0,
    responseInformation: mqtt.responseInformation,
  };
}

/** Priorities are from 1 to 255: other topic names are below, or above all. */
function queuePriorities({ mqueuePriorities, mqueueDefaultPriority }: MqttConfig): QueuePriorities | undefined {
  if (mqueuePriorities === undefined || mqueuePriorities.length === 0) return undefined;
  return { ranks: new Map(mqueuePriorities), otherwise: mqueueDefaultPriority === 'lowest' ? 0 : 256 };
}

/** The parts that are kept back for the later steps of a registration shrink with a short deadline. */
function registryOptions(deadlineMs: number): Partial<RegistryOptions> {
  return { deadlineMs, reserveAfterBeginMs: Math.min(2_000, deadlineMs * 0.4), reserveAfterFinishMs: Math.min(1_000, deadlineMs * 0.2) };
}

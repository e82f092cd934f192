// What `starmesh ctl` asks of a running node, answered from its parts.
import type { ClientInfo as BrokerClient } from '#broker/clients.js';
import type { MetricFamily } from '#env/metric-family.js';
import type { PeerTarget } from '#link/api.js';
import type { StarmeshConfig } from '../config/config.js';
import type { StarmeshNode } from '../create-node.js';
import { version } from '../version.js';
import { authzActions } from './authz-commands.js';
import { clusterActions, evacuationActions } from './cluster-actions.js';
import { engineActions } from './engine-actions.js';
import type { ClientInfo, ClusterStatus, CtlHandlers, MemberStatus, NodeStatus, RlogStatus, RouteInfo } from './handlers.js';
import { listenerAction, reloadCertificates } from './listener-actions.js';
import { delayedActions, exclusiveActions } from './topic-actions.js';

export function nodeStatus(config: StarmeshConfig, node: StarmeshNode): NodeStatus {
  const durableSessions = node.broker.durable?.status;
  const overload = node.memory?.status;
  const base = { node: config.node.name, role: config.node.role, version: version(), state: node.state };
  return { ...base, ...(durableSessions === undefined ? {} : { durableSessions }), ...(overload === undefined ? {} : { overload }) };
}

/** Members that this node has a link with run; those that left, fell silent or never came are stopped. */
export function clusterStatus(config: StarmeshConfig, node: StarmeshNode): ClusterStatus {
  const { cluster, links, nodeId } = node.core;
  const running: MemberStatus[] = [{ name: config.node.name, role: config.node.role }];
  const stopped: MemberStatus[] = [];
  const known = new Set([config.node.name]);
  for (const m of cluster.members()) {
    if (m.nodeId === nodeId || known.has(m.name)) continue;
    known.add(m.name);
    (m.up && links.peer(m.nodeId) !== undefined ? running : stopped).push({ name: m.name, role: m.role });
  }
  // Configured, and never seen; not one that was taken out.
  for (const c of cluster.cores()) if (c.wanted === 'removed') known.add(c.name);
  for (const c of config.cluster.cores) if (!known.has(c.name)) stopped.push({ name: c.name, role: 'core' });
  const byName = (a: MemberStatus, b: MemberStatus): number => (a.name < b.name ? -1 : 1);
  return { clusterName: config.cluster.name, clusterId: cluster.clusterId, running: running.sort(byName), stopped: stopped.sort(byName) };
}

export function rlogStatus(config: StarmeshConfig, node: StarmeshNode): RlogStatus {
  const { database } = node.core;
  const shards = database.status();
  const admitted = (shard: string): boolean => database.isLive(shard, database.incarnation);
  return {
    node: config.node.name,
    role: config.node.role,
    shards,
    // In service for this node's clients: its own writes are taken there, too.
    inSync: shards.filter((s) => database.inSync(s.shard) && admitted(s.shard)).map((s) => s.shard),
  };
}

function clientOf(client: BrokerClient, nodeName: string): ClientInfo {
  const at = client.peer?.lastIndexOf(':') ?? 0;
  return {
    clientid: client.clientId,
    username: client.username ?? null,
    node: nodeName,
    connected: client.connected,
    ip_address: client.peer?.slice(0, at) ?? null,
    port: client.peer === undefined ? null : Number(client.peer.slice(at + 1)),
    proto_ver: client.protocolVersion,
    clean_start: client.cleanStart,
    keepalive: client.keepAlive,
    expiry_interval: client.sessionExpiryInterval,
    subscriptions_cnt: client.subscriptions,
    inflight_cnt: client.inflight,
    mqueue_len: client.queued,
    awaiting_rel_cnt: client.awaitingRel,
    created_at: new Date(client.createdAt).toISOString(),
    connected_at: client.connected ? new Date(client.connectedAt).toISOString() : null,
  };
}

export function ctlHandlers(
  config: StarmeshConfig,
  node: StarmeshNode,
  collect: () => readonly MetricFamily[],
  joinAnew?: (seed: PeerTarget) => void,
): CtlHandlers {
  const { broker, routes } = node;
  return {
    authAdmin: node.authAdmin,
    cluster: clusterActions(node, joinAnew),
    evacuation: evacuationActions(node),
    authz: authzActions(node),
    delayed: delayedActions(node),
    exclusive: exclusiveActions(node),
    engine: engineActions(node, collect),
    status: () => nodeStatus(config, node),
    clusterStatus: () => clusterStatus(config, node),
    rlogStatus: () => rlogStatus(config, node),
    clientsList: (limit) => {
      const list: ClientInfo[] = [];
      for (const client of broker.clients()) {
        if (list.length >= limit) break;
        list.push(clientOf(client, config.node.name));
      }
      return list;
    },
    clientsShow: (clientId) => {
      const client = broker.client(clientId);
      return client === undefined ? undefined : clientOf(client, config.node.name);
    },
    clientsKick: (clientId) => new Promise((done) => broker.kick(clientId, done)),
    listeners: () => node.listeners.status(),
    listenerAction: (action, id) => listenerAction(node, action, id),
    reloadCertificates: () => reloadCertificates(node),
    topicsList: (limit) => {
      const list: RouteInfo[] = [];
      routes.list((topic, name) => {
        list.push({ topic, node: name });
        return list.length < limit;
      });
      return list;
    },
  };
}

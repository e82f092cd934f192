// What must hold at the end of a run, when everything is healed, everybody is connected and nothing is
// on its way. They only look. What is promised, and what is excused, is docs/guarantees.md's.
import { emptyBytes, toHex } from '#base/bytes.js';
import { utf8Decode } from '#base/utf8.js';
import { decodeRow, registryKey } from '#broker/registry-row.js';
import { registryTableOf, routeTable, sharedTable } from '#broker/schema.js';
import { decodeCounts } from '#broker/shared-routes.js';
import { formatTopicFilter, isSharedFilter, matches, parseTopicFilter } from '#mqtt/topic.js';
import { decodeRouteFilter, decodeSharedKey, nodeIdLength } from '#router/route-key.js';
import type { BrokerNode, BrokerWorld } from './broker-world.js';
import type { SimClient } from './client.js';
import type { Disturbances } from './faults.js';
import type { History, SimMessage, SimSession, SimSubscription } from './history.js';

const never = Number.POSITIVE_INFINITY;

// ---- delivery ----

/** Every acknowledged QoS 1/2 message is with every subscriber that was acknowledged before and is still there. */
export function checkDelivery(history: History, disturbances: Disturbances): void {
  for (const s of history.sessions) {
    if (s.endedAt !== never || s.tainted !== undefined || s.overflowed) continue;
    for (const m of history.messages) {
      if (m.qos === 0 || m.empty || m.topicName.startsWith('s/') || m.ackedAt === never || m.ackedAt < s.startedAt) continue;
      const sub = s.matching(m.topicName).find((x) => x.qos > 0 && x.ackedAt < m.sentAt && m.ackedAt < x.unsubscribeSentAt);
      if (sub === undefined) continue;
      if (s.received.has(m.id)) {
        history.count('promisesKept');
        continue;
      }
      const excuse = excuseOf(s, sub, m, disturbances);
      if (excuse !== undefined) history.count(`excused: ${excuse}`);
      else history.violation(missing(s, sub, m));
    }
  }
}

/** Per publisher, topic name and QoS first copies come in order, but for those whose first sending was lost or came before the subscription. */
export function checkOrder(history: History, disturbances: Disturbances): void {
  for (const { session, message, at, what } of history.disorder) {
    // In force from before the sending until the copy came: one that was given up before proves nothing.
    const sub = session
      .matching(message.topicName)
      .find((x) => x.ackedAt < message.sentAt && at < x.unsubscribeSentAt && (x.qos > 0 || message.qos === 0));
    if (session.overflowed) history.count('excused: full queue');
    else if (sub === undefined) history.count('excused: subscribed between');
    // Its first copy may have gone with a connection that broke.
    else if (message.attempts > 1 && sub.qos === 0) history.count('excused: QoS 0, sent again');
    else if (message.attempts > 1 && history.memoryFull(message.sentAt, at)) history.count('excused: refused for lack of memory, and sent again');
    else if (message.attempts > 1 && (message.mayBeLost || sub.notEffective)) history.count('excused: late');
    else if (
      message.attempts > 1 &&
      [message.firstNode, ...holders(session, message.sentAt, at)].some((n) => disturbances.overlaps(n, message.sentAt, at))
    )
      history.count('excused: sent again');
    else history.violation(`at ${at.toFixed(1)} ${what}`);
  }
}

/** Every filter may be subscribed to; only what keeps a route from being committed, and a node short of memory, is a reason to refuse one. */
export function checkRefusals(history: History, disturbances: Disturbances, nodes: readonly BrokerNode[]): void {
  for (const { what, from, to, shortOfMemory } of history.refusals) {
    if (shortOfMemory) history.count('excused: refused, memory was short');
    else if (nodes.some((n) => disturbances.overlaps(n.name, from, to))) history.count('excused: refused');
    else history.violation(`at ${to.toFixed(1)} ${what}, asked at ${from.toFixed(1)}, and nothing was wrong`);
  }
}

/** A session goes only with the node that holds it, or when that cannot be reached. */
export function checkLostSessions(history: History, disturbances: Disturbances, nodes: readonly string[]): void {
  for (const { what, from, to } of history.lostSessions) {
    if (nodes.some((n) => disturbances.overlaps(n, from, to) || disturbances.pauses.overlaps(n, from, to))) continue;
    history.violation(`at ${to.toFixed(1)} ${what}, connected last at ${from.toFixed(1)}, and nothing was wrong`);
  }
}

function missing(s: SimSession, sub: SimSubscription, m: SimMessage): string {
  const where = s.nodes.map((n) => `${n.node} from ${n.at.toFixed(0)}`).join(', ');
  return (
    `${s.clientId} (session ${s.number}, ${where}) never got message ${m.id} of ${m.publisher} on ${m.topicName}, QoS ${m.qos}${m.retain ? ', retained' : ''}, ` +
    `sent ${m.sentAt.toFixed(1)} to ${m.node}, acknowledged ${m.ackedAt.toFixed(1)}, attempts ${m.attempts}; subscribed to ${sub.filter} at ${sub.sentAt.toFixed(1)}, SUBACK ${sub.ackedAt.toFixed(1)}`
  );
}

function excuseOf(s: SimSession, sub: SimSubscription, m: SimMessage, disturbances: Disturbances): string | undefined {
  if (m.mayBeLost) return 'destination lost';
  if (sub.notEffective) return 'suback timeout';
  const under = { from: m.sentAt, to: m.ackedAt };
  const sentTo = m.sendings.map(({ node }) => node.name);
  if (sentTo.some((n) => disturbances.states.overlaps(n, under.from, under.to))) return 'publisher’s node';
  const held = [...holders(s, m.sentAt, m.ackedAt)];
  if (held.some((n) => disturbances.states.overlaps(n, under.from, under.to))) return 'subscriber’s node';
  // A broken connection costs nothing that is sent over it. But who was cut off while the route was written may not know it yet.
  const routed = routeTimes(s, sub, m.ackedAt);
  if ([...sentTo, ...held].some((n) => routed.some((r) => disturbances.cuts.spans(n, r, under)))) return 'cut off while the route was written';
  return undefined;
}

/** When routes for the subscription were written: at SUBSCRIBE, and whenever the session moved. */
function routeTimes(s: SimSession, sub: SimSubscription, until: number): { readonly from: number; readonly to: number }[] {
  const out = [{ from: sub.sentAt, to: sub.ackedAt }];
  for (const n of s.nodes) {
    out.push({ from: n.at - takeoverMs, to: n.at });
    if (n.at > until) break;
  }
  return out;
}

/** What a registration may take. */
const takeoverMs = 5_000;

/** Nodes that may have had the session then: those connected to, before the end of the interval, and the next one. */
function holders(s: SimSession, from: number, to: number): Set<string> {
  const out = new Set<string>();
  let before = '';
  for (const n of s.nodes) {
    if (n.at < from) before = n.node;
    else {
      out.add(n.node);
      if (n.at > to) break;
    }
  }
  if (before !== '') out.add(before);
  return out;
}

// ---- the cluster ----

export function checkCluster(world: BrokerWorld, history: History, clients: readonly SimClient[]): void {
  checkRoutes(world, history);
  checkRegistry(world, history, clients);
  checkRetained(world, history);
}

function live(world: BrokerWorld): { readonly n: BrokerNode; readonly node: NonNullable<BrokerNode['node']> }[] {
  return world.nodes.flatMap((n) => (n.node === undefined ? [] : [{ n, node: n.node }]));
}

/** On every node the route rows are the union of the live subscriptions of all nodes, and so is what it matches. */
function checkRoutes(world: BrokerWorld, history: History): void {
  const nodes = live(world);
  const wanted = new Set<string>();
  for (const { node } of nodes) {
    for (const filter of node.broker.filters()) wanted.add(`${filter}${membersHere(node, filter)} → ${node.core.nodeId}`);
  }
  for (const { n, node } of nodes) {
    const seen = new Set<string>();
    node.core.database.range(routeTable, emptyBytes, undefined, (key) => {
      seen.add(`${decodeRouteFilter(key) ?? '?'} → ${toHex(key.subarray(key.length - nodeIdLength))}`);
      return true;
    });
    node.core.database.range(sharedTable, emptyBytes, undefined, (key, row) => {
      const parts = decodeSharedKey(key);
      const name = parts === undefined ? '?' : formatTopicFilter(parts);
      seen.add(`${name} with ${decodeCounts(row.value).here} → ${toHex(key.subarray(key.length - nodeIdLength))}`);
      return true;
    });
    for (const r of seen) if (!wanted.has(r)) history.violation(`${n.name} has the route ${r}, which nobody wants`);
    for (const r of wanted) if (!seen.has(r)) history.violation(`${n.name} lacks the route ${r}`);
    for (const topicName of probes) {
      const targets = new Set(node.routes.match(topicName).map((t) => t.nodeId));
      for (const other of nodes) {
        if (other.node === node) continue;
        const should = [...other.node.broker.filters()].some((f) => matches(f, topicName));
        if (should !== targets.has(other.node.core.nodeId))
          history.violation(`${n.name} ${should ? 'does not forward' : 'forwards'} ${topicName} to ${other.n.name}`);
      }
    }
  }
}

/** Of a group, how many of its members on the node are connected. */
function membersHere(node: NonNullable<BrokerNode['node']>, filter: string): string {
  if (!isSharedFilter(filter)) return '';
  const connected = new Set([...node.broker.clients()].filter((c) => c.connected).map((c) => c.clientId));
  const members = [...node.broker.subscriptions()].filter((s) => nameOfGroup(s.topicFilter) === filter && connected.has(s.clientId));
  return ` with ${members.length}`;
}

function nameOfGroup(filter: string): string {
  const parsed = parseTopicFilter(filter);
  return parsed === undefined ? filter : formatTopicFilter(parsed);
}

const probes: readonly string[] = ['a', 'b', 'c'].flatMap((x) => [0, 1, 2].flatMap((y) => [`t/${x}/${y}`, `r/${x}/${y}`]));

/** One session per client id, under the epoch that the registry's row names; nobody else is connected. */
function checkRegistry(world: BrokerWorld, history: History, clients: readonly SimClient[]): void {
  const sessions = new Map<string, { readonly node: string; readonly nodeId: string; readonly epoch: number; readonly connected: boolean }[]>();
  for (const { n, node } of live(world)) {
    for (const info of node.broker.clients()) {
      const list = sessions.get(info.clientId) ?? [];
      list.push({ node: n.name, nodeId: node.core.nodeId, epoch: info.epoch, connected: info.connected });
      sessions.set(info.clientId, list);
    }
  }
  for (const [clientId, list] of sessions) {
    const names = list.map((s) => `${s.node} epoch ${s.epoch}${s.connected ? '' : ' (away)'}`).join(' and ');
    if (list.length > 1) history.violation(`${clientId} has sessions on ${names}`);
    const key = registryKey(clientId);
    for (const n of world.nodes) {
      if (n.role !== 'core' || n.node === undefined) continue;
      const row = n.node.core.database.get(registryTableOf(key), key);
      if (row === undefined) {
        history.violation(`${clientId} has a session on ${names}, and ${n.name} has no registry row for it`);
        continue;
      }
      const { holder } = decodeRow(row.value);
      if (!list.some((s) => s.nodeId === holder.nodeId && (s.epoch === holder.epoch || holder.also.includes(s.epoch)))) {
        history.violation(
          `${clientId} has a session on ${names}; the registry at ${n.name} says epoch ${holder.epoch} on ${nameOf(world, holder.nodeId)}`,
        );
      }
    }
  }
  for (const client of clients) {
    if (client.profile.double || client.state !== 'connected') continue;
    const here = sessions.get(client.profile.clientId)?.some((s) => s.connected && s.node === client.node?.name) === true;
    if (!here) history.violation(`${client.name} is connected to ${client.node?.name}, which has no such session`);
  }
}

function nameOf(world: BrokerWorld, nodeId: string): string {
  return world.nodes.find((n) => n.node?.core.nodeId === nodeId)?.name ?? nodeId;
}

/** Equal everywhere, and per topic name a value that no later acknowledged write has overwritten. */
function checkRetained(world: BrokerWorld, history: History): void {
  let first: string | undefined;
  let values = new Map<string, number>();
  for (const { n, node } of live(world)) {
    const found = new Map<string, number>();
    const lines: string[] = [];
    node.retained.scan('#', (message, index) => {
      found.set(message.topicName, Number.parseInt(utf8Decode(message.payload) ?? '', 10));
      lines.push(`${message.topicName} ${index} ${utf8Decode(message.payload)?.trim()}`);
      return true;
    });
    const text = lines.sort().join('\n');
    if (first === undefined) {
      first = text;
      values = found;
    } else if (text !== first) history.violation(`${n.name} has other retained messages than ${world.nodes[0]?.name}:\n${text}\nand\n${first}`);
  }
  for (const topicName of probes) if (topicName.startsWith('r/')) checkRetainedTopic(history, topicName, values.get(topicName));
}

function checkRetainedTopic(history: History, topicName: string, id: number | undefined): void {
  const writes = history.messages.filter((m) => m.retain && m.topicName === topicName);
  const may = (w: SimMessage): boolean => {
    // What was sent more than once, or never answered, may have been written at any later time.
    const end = w.qos === 0 || w.attempts > 1 ? never : w.ackedAt;
    return !writes.some((later) => later.ackedAt !== never && later.sentAt > end);
  };
  if (id === undefined) {
    const none = !writes.some((w) => w.ackedAt !== never);
    if (!none && !writes.some((w) => w.empty && may(w)))
      history.violation(`the retained message of ${topicName} is gone, and nobody deleted it last`);
    return;
  }
  const value = writes.find((w) => w.id === id);
  if (value === undefined || value.empty || !may(value))
    history.violation(`the retained message of ${topicName} is ${id}, which is not the last one`);
}

// ---- bounds ----

export function checkBounds(world: BrokerWorld, history: History, queuedMax: number, inflightMax: number): void {
  for (const { n, node } of live(world)) {
    for (const info of node.broker.clients()) {
      if (info.queued > queuedMax)
        history.violation(`${n.name}: ${info.queued} messages are queued for ${info.clientId}, at most ${queuedMax} may be`);
      if (info.inflight > inflightMax)
        history.violation(`${n.name}: ${info.inflight} messages are on their way to ${info.clientId}, at most ${inflightMax} may be`);
    }
  }
}

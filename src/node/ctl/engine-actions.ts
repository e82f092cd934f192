// What `ctl subscriptions`, `ctl retainer` and `ctl broker` ask of a node. Subscriptions and numbers are this node's;
// retained messages are the cluster's, which every node holds.
import { metricTopics } from '#broker/sys-names.js';
import type { MetricFamily } from '#env/metric-family.js';
import { isTopicName } from '#mqtt/topic.js';
import { makeMessage } from '#session/message.js';
import type { StarmeshNode } from '../create-node.js';
import { version } from '../version.js';
import type { EngineActions, SubscriptionRow } from './handlers.js';

const startedAt: number = Date.now() - process.uptime() * 1000;

export function engineActions({ broker, retained }: StarmeshNode, collect: () => readonly MetricFamily[]): EngineActions {
  return {
    subscriptions: (limit, clientId) => {
      const found: SubscriptionRow[] = [];
      for (const s of broker.subscriptions(clientId)) {
        if (found.length >= limit) break;
        const { clientId: clientid, topicFilter: topic, qos, retainHandling: rh } = s;
        found.push({ clientid, topic, qos, nl: s.noLocal ? 1 : 0, rap: s.retainAsPublished ? 1 : 0, rh });
      }
      return found;
    },
    retained: {
      count: () => retained.count,
      topics: (limit) => {
        const found: string[] = [];
        // Names that begin with $ are not in what # matches.
        for (const filter of ['#', '$SYS/#']) if (found.length < limit) retained.scan(filter, ({ topicName }) => found.push(topicName) < limit);
        return found;
      },
      clean: (topic) => {
        if (!isTopicName(topic, Number.POSITIVE_INFINITY)) return Promise.resolve('it is no topic name');
        const empty = makeMessage(topic, new Uint8Array(0), 1, true, undefined, Number.POSITIVE_INFINITY, '');
        return new Promise((done) => retained.store(empty, (outcome, text) => done(outcome === 'stored' ? undefined : text)));
      },
    },
    numbers: (kind) => {
      const found: [string, number][] = [];
      for (const [name, value] of metricTopics(collect()))
        if (name.startsWith(`${kind}/`)) found.push([name.slice(kind.length + 1).replaceAll('/', '.'), value]);
      return found.sort(([a], [b]) => (a < b ? -1 : 1));
    },
    about: () => {
      const now = Date.now();
      return { sysdescr: 'Starmesh', version: version(), datetime: new Date(now).toISOString(), uptime: `${Math.floor((now - startedAt) / 1000)} s` };
    },
  };
}

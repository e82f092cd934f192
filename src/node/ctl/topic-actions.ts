// What `ctl delayed` and `ctl exclusive` ask of a node: both see the whole cluster's, which every node holds. An
// exclusive subscription ends on the node of its session; the others are asked whether that is theirs.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { WaitingMessage } from '#broker/delayed.js';
import type { StarmeshNode } from '../create-node.js';
import type { DelayedActions, DelayedInfo, ExclusiveActions } from './handlers.js';

/** Of a payload that is shown. */
const shownBytesMax = 64 * 1024;

function infoOf(m: WaitingMessage): DelayedInfo {
  return {
    msgid: m.id,
    topic: m.topicName,
    qos: m.qos,
    retain: m.retain,
    from_clientid: m.publisherId,
    expected_at: new Date(m.dueMs).toISOString(),
    delayed_remaining: Math.max(0, Math.round((m.dueMs - Date.now()) / 1000)),
    payload_bytes: m.payload.length,
  };
}

/** undefined: `delayed.enable = false`. */
export function delayedActions({ delayed }: StarmeshNode): DelayedActions | undefined {
  if (delayed === undefined) return undefined;
  return {
    count: () => delayed.count,
    max: delayed.messagesMax,
    list: (limit) => {
      const list: DelayedInfo[] = [];
      delayed.list((m) => list.push(infoOf(m)) < limit);
      return list;
    },
    show: (id) => {
      const m = delayed.find(id);
      if (m === undefined) return undefined;
      const payload = m.payload.length > shownBytesMax ? null : Buffer.from(m.payload).toString('base64');
      return { ...infoOf(m), payload };
    },
    delete: (id) => new Promise((done) => delayed.remove(id, done)),
  };
}

const endMethod = 'ctl.exclusive.end';
const endMsMax = 3_000;

export function exclusiveActions(node: StarmeshNode): ExclusiveActions {
  const { exclusive, broker } = node;
  const { links } = node.core;
  links.handle(endMethod, (_from, body, reply) => {
    const asked = decode(body);
    reply(undefined, Uint8Array.of(asked !== undefined && broker.endSubscription(asked.clientId, asked.topicFilter) ? 1 : 0));
  });
  const endThere = (nodeId: string, body: Uint8Array): Promise<void> =>
    new Promise((done) => links.call(nodeId, endMethod, body, endMsMax, () => done()));
  return {
    list: (limit) => {
      const list: { topic: string; clientid: string }[] = [];
      exclusive.list((topic, clientid) => list.push({ topic, clientid }) < limit);
      return list;
    },
    delete: async (topic) => {
      const clientId = exclusive.holder(topic);
      if (clientId === undefined) return `nobody has $exclusive/${topic}`;
      const body = encode(clientId, topic);
      if (!broker.endSubscription(clientId, topic)) await Promise.all(links.peers().map((p) => endThere(p.nodeId, body)));
      // Its node takes the row away, too; by then it is gone, and one that no session stands behind any more is as well.
      return new Promise((done) => exclusive.drop(topic, clientId, done));
    },
  };
}

function encode(clientId: string, topicFilter: string): Uint8Array {
  const w = new ByteWriter(16 + clientId.length + topicFilter.length);
  w.string(clientId);
  w.string(topicFilter);
  return w.finish();
}

function decode(bytes: Uint8Array): { readonly clientId: string; readonly topicFilter: string } | undefined {
  try {
    const r = new ByteReader(bytes);
    return { clientId: r.string(), topicFilter: r.string() };
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

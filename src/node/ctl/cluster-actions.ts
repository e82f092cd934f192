// What changes the cluster, done by the parts of a running node. start-node.ts hands it to the control
// socket.
import type { PeerTarget } from '#link/api.js';
import type { StarmeshNode } from '../create-node.js';
import type { ClusterActions, EvacuationActions } from './handlers.js';

const joinMsMax = 12_000;
const joinPollMs = 50;
const clusterPort = 4370;

/** Clients that have been told to go have so long to come back elsewhere before their sessions are handed over. */
const leaveWaitTakeoverMs = 5_000;

/** Clients are told to go elsewhere, sessions are with other nodes, as far as anybody takes them. */
function evacuated({ broker }: StarmeshNode): Promise<void> {
  const before = broker.evacuation;
  if (before?.state === 'prohibiting') return Promise.resolve();
  return new Promise((done) => {
    broker.evacuate({ ...before?.options, forGood: true, waitTakeoverMs: leaveWaitTakeoverMs, waitHealthCheckMs: 0 }, () => {
      const left = broker.evacuation?.sessions ?? 0;
      if (left > 0) broker.env.log.warn('sessions end with this node: nobody takes them', { sessions: left });
      done();
    });
  });
}

/** `core1@10.0.0.1`, `core1@10.0.0.1:4370` or `10.0.0.1:4370`; the name of the last is its address. Undefined: none of these. */
export function parseSeed(text: string): PeerTarget | undefined {
  const match = /^(?:([^@\s]+)@)?(\[[^\]\s]+\]|[^:@\s[\]]+)(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[2]?.replace(/^\[|\]$/g, '');
  if (match === null || host === undefined) return undefined;
  const port = match[3] === undefined ? clusterPort : Number(match[3]);
  if (port < 1 || port > 65_535 || (match[1] === undefined && match[3] === undefined)) return undefined;
  return { name: match[1] === undefined ? text : `${match[1]}@${match[2] as string}`, role: 'core', host, port };
}

export function evacuationActions(node: StarmeshNode): EvacuationActions {
  const { broker } = node;
  return {
    start: (options) => {
      if (node.state !== 'running') return `the node is ${node.state}`;
      broker.evacuate(options);
      return undefined;
    },
    stop: () => {
      if (broker.evacuation === undefined) return false;
      broker.stopEvacuation();
      return true;
    },
    status: () => broker.evacuation,
  };
}

/** `joinAnew`: this node, which is a cluster of its own, starts again with an empty data directory and joins. */
export function clusterActions(node: StarmeshNode, joinAnew?: (seed: PeerTarget) => void): ClusterActions {
  const { cluster, links } = node.core;
  return {
    join: async (text) => {
      const seed = parseSeed(text);
      if (seed === undefined) return `${text} is no node: say NAME@HOST, NAME@HOST:PORT or HOST:PORT of its cluster port`;
      if (cluster.phase === 'joined') {
        const known = [...cluster.members()].some((m) => m.name === seed.name || (m.host === seed.host && m.port === seed.port));
        if (known) return undefined;
        const alone = [...cluster.members()].length === 1 && node.core.database.role === 'core';
        if (alone && joinAnew !== undefined) {
          await new Promise<void>((done) => node.retire(done));
          joinAnew(seed);
          return undefined;
        }
        return 'this node has a cluster already: to come into another one, stop it, empty its data directory, and name the other’s cores in cluster.core_nodes';
      }
      cluster.addSeed(seed);
      return joined(node);
    },
    leave: async () => {
      const refused = cluster.leaveRefusal();
      if (refused !== undefined) return `this node cannot leave: ${refused}`;
      await evacuated(node);
      // Before anybody stops to count on it: what its clients do would not reach everybody any more.
      await new Promise<void>((done) => node.retire(done));
      const failed = await new Promise<string | undefined>((done) => cluster.leave(done));
      return failed === undefined ? undefined : `this node did not leave (${failed}); it serves no clients until it is started again`;
    },
    forceLeave: (name) => new Promise((done) => cluster.forceLeave(name, done)),
    promote: (name) => new Promise((done) => cluster.promote(name, done)),
  };

  function joined(of: StarmeshNode): Promise<string | undefined> {
    const until = Date.now() + joinMsMax;
    return new Promise((done) => {
      const look = (): void => {
        if (of.core.cluster.phase === 'joined') return done(undefined);
        if (of.core.cluster.phase === 'refused') return done(of.core.cluster.why);
        if (Date.now() > until)
          return done(`this node is not in the cluster yet, and goes on trying: ${of.core.cluster.why} (${links.peers().length} links)`);
        setTimeout(look, joinPollMs);
      };
      look();
    });
  }
}

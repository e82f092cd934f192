// A database without a row that says yes to every write and forgets it: what stands above the tables of
// the broker that warms the code up (`warm-up.ts`), so that it cannot reach those of the node.
import { emptyBytes } from '#base/bytes.js';
import type { Database, WriteDone } from '#db/api.js';
import type { Links } from '#link/api.js';

const written = { index: 1, reply: emptyBytes };

/** `later` runs its argument after this call. */
export function emptyDatabase(nodeId: string, later: (fn: () => void) => void): Database {
  const write = (done: WriteDone): void => later(() => done(undefined, written));
  return {
    nodeId,
    role: 'core',
    incarnation: 1,
    get: () => undefined,
    range: () => {},
    seek: () => undefined,
    holds: () => true,
    appliedIndex: () => 0,
    inSync: () => true,
    write: (_shard, _ops, _options, done) => write(done),
    command: (_shard, _name, _body, _options, done) => write(done),
    transaction: (_shard, _fn, _options, done) => write(done),
    barrier: (_shard, _deadlineMs, done) => later(() => done(undefined)),
    subscribe: (_shard, feed) => {
      feed.reset(1, 0);
      return () => {};
    },
    isLive: () => true,
    isGone: () => false,
    status: () => [],
    onIncarnation: () => {},
  };
}

/** Links of a node that is alone. */
export function noLinks(nodeId: string): Links {
  return {
    self: { nodeId, name: 'warm-up', role: 'core', incarnation: 1, clusterId: '', host: '', port: 0, info: emptyBytes },
    updateSelf: () => {},
    setTargets: () => {},
    answeredAt: () => undefined,
    speaks: () => false,
    drop: () => {},
    listen: () => {},
    peers: () => [],
    peer: () => undefined,
    send: () => 'down',
    backlogBytes: () => 0,
    onFrame: () => {},
    pauseLane: () => {},
    resumeLane: () => {},
    handle: () => {},
    call: (_to, _method, _body, _deadlineMs, done) => done({ kind: 'down' }, emptyBytes),
    lastHeardAt: () => undefined,
    roundTripMs: () => undefined,
    reloadCertificates: () => undefined,
    close: (done) => done(),
  };
}

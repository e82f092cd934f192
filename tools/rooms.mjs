// The house's only source of truth: which room may import which, and what it may touch.
// tsconfigs and Biome's overrides are generated from it (tools/write-configs.mjs); the fence
// check compares them, and the table in ARCHITECTURE.md, with it.

/**
 * @typedef {object} Room
 * @property {string} name
 * @property {string} job one line for ARCHITECTURE.md
 * @property {string[]} mayImport other rooms, in the order of the table
 * @property {boolean} pure no package, no clock, no randomness, no I/O
 * @property {string[]} types ambient type packages ([] = none: no Node, no timers)
 * @property {string[]} packages npm packages that belong to this room
 * @property {boolean} dates stores Date values: may name the type and build one from a number, never ask the time
 */

/** @type {Room[]} */
export const rooms = [
  room('base', 'assert, bytes, varint, UTF-8, crc, prng, ring buffer, heap, timer wheel', [], { pure: true }),
  room('env', 'what a node may ask of the world, as interfaces', ['base'], { pure: true }),
  room('mqtt', 'the wire: decoder, encoder, packets, properties, topic names and filters', ['base'], { pure: true }),
  room('raft', 'the Raft machine: election, replication, snapshot, membership, ReadIndex', ['base'], { pure: true }),
  room('session', 'the MQTT conversation of one client: channel, inflight, queue', ['base', 'mqtt'], { pure: true }),
  room('router', 'topic matching, route table, coalescing of route writes', ['base', 'mqtt'], { pure: true }),
  room('store', 'the write-ahead log; generations of tables', ['base', 'env']),
  room('link', 'node-to-node connections: authentication, frames, lanes', ['base', 'env']),
  room('db', 'the embedded replicated database', ['base', 'env', 'raft', 'store', 'link'], { dates: true }),
  room('cluster', 'who is in: formation, membership, node down, admission', ['base', 'env', 'link', 'db']),
  room('auth', 'authentication, authorization, banned clients', ['base', 'env', 'mqtt', 'db'], { types: ['node'], packages: ['bcryptjs', 'jose'] }),
  room('broker', 'publish, subscribe, deliver, forward, retained, registry and takeover', [
    'base',
    'env',
    'mqtt',
    'session',
    'router',
    'link',
    'db',
    'cluster',
    'auth',
  ]),
  room('listener', 'connections: the driver of channel, acceptors, limits', ['base', 'env', 'mqtt', 'session', 'broker']),
  room('rules', 'rule SQL, actions, bridges', ['base', 'env', 'mqtt', 'db', 'broker']),
  room('admin', 'HTTP API, Prometheus page, status', ['base', 'env', 'db', 'cluster', 'auth', 'broker', 'rules'], {
    types: ['node'],
    packages: ['fastify'],
  }),
  room('os', 'the real world: sockets, files, timers, randomness, LMDB', ['base', 'env'], { types: ['node'], packages: ['lmdb', 'pino', 'ws'] }),
  room(
    'node',
    'builds everything once: configuration, start, stop, command line',
    ['base', 'env', 'mqtt', 'raft', 'session', 'router', 'store', 'link', 'db', 'cluster', 'auth', 'broker', 'listener', 'rules', 'admin', 'os'],
    { types: ['node'], packages: ['commander', 'cli-table3'] },
  ),
];

/** Folders beside `src/` that are compiled too; they may import these rooms, and nothing imports them. */
export const annexes = [
  {
    name: 'sim',
    job: 'the simulator: a whole cluster in one process, faults and checkers',
    mayImport: rooms.map((r) => r.name).filter((n) => n !== 'os'),
    types: ['node'],
  },
  { name: 'test', job: 'suites that need several rooms or real processes', mayImport: rooms.map((r) => r.name), types: ['node'], annexes: ['sim'] },
  { name: 'bench', job: 'measurements', mayImport: rooms.map((r) => r.name), types: ['node'] },
];

function room(name, job, mayImport, more = {}) {
  return { name, job, mayImport, pure: false, types: [], packages: [], dates: false, ...more };
}

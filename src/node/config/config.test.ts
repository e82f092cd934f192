import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HoconError } from '../hocon/errors.js';
import type { StarmeshConfig } from './config.js';
import { ConfigError, type LoadedConfig, loadConfig } from './load.js';
import { editDistance, nearest } from './nearest.js';

const cookie = 'node.cookie = "0123456789abcdef0123"\n';

function load(text: string, environment: Record<string, string> = {}): LoadedConfig {
  return loadConfig({ file: 'starmesh.conf', text, readText: () => undefined, environment });
}

function config(text: string, environment: Record<string, string> = {}): StarmeshConfig {
  const { config, warnings } = load(text, environment);
  assert.deepEqual(warnings, []);
  return config;
}

function refused(text: string, message: RegExp, environment: Record<string, string> = {}): void {
  assert.throws(
    () => load(text, environment),
    (error) => error instanceof ConfigError && (message.test(error.message) || assert.fail(error.message)),
    text,
  );
}

test('the watermark of memory: a part of what there is, or a size', () => {
  assert.deepEqual(config('').overload, { enable: true, backoffNewConn: true, watermark: { part: 0.7 }, checkIntervalMs: 500 });
  const watermark = (text: string): unknown => config(`overload_protection.memory_high_watermark = ${text}`).overload.watermark;
  assert.deepEqual(watermark('55%'), { part: 0.55 });
  assert.deepEqual(watermark('"100%"'), { part: 1 });
  assert.deepEqual(watermark('2GB'), { bytes: 2 * 1024 ** 3 });
  for (const bad of ['0%', '101%', '1MB', 'half']) refused(`overload_protection.memory_high_watermark = "${bad}"`, /a percentage from 1% to 100%/);
  assert.equal(config('', { EMQX_OVERLOAD_PROTECTION__ENABLE: 'false' }).overload.enable, false);
  // What EMQX's has beside it is about its processes.
  assert.equal(load('overload_protection { backoff_gc = true, backoff_delay = 1, backoff_hibernation = true }').warnings.length, 3);
});

test('nothing configured: one core alone, with the documented defaults', () => {
  const c = config('');
  assert.deepEqual(c.node, { name: 'starmesh@127.0.0.1', cookie: undefined, dataDir: 'data', role: 'core', workers: 0, warmUpMs: undefined });
  assert.equal(c.cluster.discoveryStrategy, 'singleton');
  assert.deepEqual(c.cluster.listen, { host: '127.0.0.1', port: 4370 });
  assert.deepEqual([c.cluster.nodeDownAfterMs, c.cluster.autocleanMs], [15_000, 86_400_000]);
  assert.deepEqual(
    c.listeners.map((l) => [l.type, l.name, l.bind]),
    [['tcp', 'default', { host: '0.0.0.0', port: 1883 }]],
  );
  assert.deepEqual(c.dashboard.http, { host: '127.0.0.1', port: 18_083 });
  assert.equal(c.dashboard.defaultPassword, undefined);
  const m = c.mqtt;
  assert.deepEqual(
    [m.idleTimeoutMs, m.maxPacketSize, m.maxInflight, m.maxMqueueLen, m.maxTopicLevels, m.subackTimeoutMs],
    [15_000, 1_048_576, 32, 1000, 128, 1000],
  );
  const d = c.database;
  assert.deepEqual(
    [d.heartbeatMs, d.electionTimeoutMinMs, d.electionTimeoutMaxMs, d.proposalTimeoutMs, d.leaseMs, d.registryShards],
    [150, 1000, 2000, 5000, 500, 4],
  );
  assert.deepEqual(
    [d.logSegmentSize, d.logKeepSize, d.logKeepMs, d.logKeepSizeMax, d.replicantCredit],
    [2 ** 26, 2 ** 28, 600_000, 2 ** 32, 2 ** 23],
  );
  assert.deepEqual([c.forward.windowBytes, c.forward.windowMessages, c.forward.ackTimeoutMs], [2 ** 24, 100_000, 5000]);
});

test('a cluster on one machine: names with ports, role by its alias, data only', () => {
  const c = config(`${cookie}
    node { name = "replicant1@127.0.0.1", db_role = replicant, data_dir = "/tmp/x" }
    cluster { core_nodes = ["core1@127.0.0.1:4370", "core2@127.0.0.1:4371"], static.seeds = "core1@127.0.0.1:4370,core3@127.0.0.1:4372", listen = "127.0.0.1:4373" }
    listeners.tcp.default.enable = false
    dashboard.listeners.http.enable = false
  `);
  assert.equal(c.node.role, 'replicant');
  assert.equal(c.cluster.discoveryStrategy, 'static');
  assert.deepEqual(
    c.cluster.cores.map((n) => `${n.name}:${n.port}`),
    ['core1@127.0.0.1:4370', 'core2@127.0.0.1:4371', 'core3@127.0.0.1:4372'],
  );
  assert.deepEqual(c.cluster.advertise, { host: '127.0.0.1', port: 4373 });
  assert.deepEqual(c.listeners, []);
  assert.equal(c.dashboard.http, undefined);
});

test('a core takes its own port from the list of cores, and listens everywhere unless it is on loopback', () => {
  const c = config(`${cookie}node.name = "b@10.0.0.2"\ncluster.static.seeds = ["a@10.0.0.1", "b@10.0.0.2:5000"]`);
  assert.deepEqual(c.cluster.listen, { host: '0.0.0.0', port: 5000 });
  assert.deepEqual(c.cluster.advertise, { host: '10.0.0.2', port: 5000 });
  assert.equal(c.cluster.cores[0]?.port, 4370);
});

test('listeners: types, names, addresses, rates, certificates', () => {
  const c = config(`
    listeners.tcp.default.bind = 1884
    listeners.tcp.inner { bind = "127.0.0.1:1885", max_connections = 5, bytes_rate = "1MB/s", enable_authn = false, tcp_options.backlog = 9 }
    listeners.ssl.default { bind = "[::1]:8883", ssl_options { certfile = c.pem, keyfile = k.pem, verify = verify_peer } }
    listeners.ws.default { bind = 8083, websocket.mqtt_path = "/ws" }
    listeners.wss.off { enabled = false }
  `);
  assert.deepEqual(
    c.listeners.map((l) => `${l.type}.${l.name} ${l.bind.host} ${l.bind.port}`),
    ['tcp.default 0.0.0.0 1884', 'tcp.inner 127.0.0.1 1885', 'ssl.default ::1 8883', 'ws.default 0.0.0.0 8083'],
  );
  assert.deepEqual(
    [c.listeners[1]?.maxConnections, c.listeners[1]?.bytesRate, c.listeners[1]?.enableAuthn, c.listeners[1]?.tcp.backlog],
    [5, 1_048_576, false, 9],
  );
  assert.equal(c.listeners[2]?.ssl?.certfile, 'c.pem');
  assert.equal(c.listeners[2]?.websocket, undefined);
  assert.equal(c.listeners[3]?.websocket?.mqttPath, '/ws');
  assert.equal(config('listeners.ws.x.bind = 8083').listeners[0]?.name, 'default');
  refused('listeners.ssl.x.bind = 8883', /starmesh\.conf:1:\d+: listeners\.ssl\.x needs ssl_options\.certfile/);
  refused('listeners.tcp.x.bind = 1883', /both bound to 0\.0\.0\.0:1883/);
  refused('listeners.tcp.default.bind = "::1:1883"', /must be an address/);
  refused('listeners.tcp.default.bind = 99999', /must be an address/);
  refused('listeners.tpc.default.bind = 1', /unknown key listeners\.tpc; did you mean listeners\.tcp\?/);
  refused('listeners.tcp.default.ssl_options.verify = verify_none', /unknown key listeners\.tcp\.default\.ssl_options/);
});

test('wrong types and unknown keys are refused with file, line and the nearest known key', () => {
  refused('\nnode.nam = "a@b"', /^starmesh\.conf:2:\d+: unknown key node\.nam; did you mean node\.name\?$/);
  refused('mqttt.x = 1', /unknown key mqttt; did you mean mqtt\?/);
  refused('zzzzzz = 1', /^starmesh\.conf:1:\d+: unknown key zzzzzz$/);
  refused('mqtt {\n  max_inflight = many\n}', /^starmesh\.conf:2:\d+: mqtt\.max_inflight must be a whole number from 1 to 65535, not many$/);
  refused('mqtt.idle_timeout = 15', /must be a duration of at least 1ms such as 15s, not 15/);
  refused('mqtt = 5', /mqtt must be settings in braces, not 5/);
  refused('node.name = starmesh', /must be a node name such as core1@10\.0\.0\.5/);
  refused('node.role = leader', /must be core or replicant, not leader/);
  refused('mqtt.shared_subscription_strategy = rr', /must be one of random, /);
  refused('cluster.discovery_strategy = etcd', /etcd is not available; list the cores/);
  refused('a = 1\nb = 2', /unknown key a\n.*unknown key b/);
  refused('__proto__.x = 1', /unknown key __proto__/);
  refused('database.heartbeat = 900ms', /at most half/);
});

test('keys that EMQX knows and Starmesh does not are a warning', () => {
  const { warnings } = load(`
    node.max_ports = 1048576
    listeners.tcp.default { acceptors = 16, zone = default, tcp_options.active_n = 100 }
    durable_sessions { enable = false, batch_size = 100 }
    rpc { mode = async, connect_timeout = 5s }
    cluster.autoheal = true
    log.file.rotation_size = 50MB
  `);
  assert.equal(warnings.length, 8);
  assert.match(warnings[0] ?? '', /^starmesh\.conf:2:\d+: node\.max_ports is a setting of EMQX that has no effect in Starmesh$/);
  refused('node.maxports = 1', /unknown key/);
});

test('keys that keep clients out in EMQX are not passed over', () => {
  refused('listeners.tcp.default.authentication = [{ mechanism = jwt }]', /authenticators of single listeners are not available/);
  assert.deepEqual(load('listeners.tcp.default.authentication = []').warnings, []);
  const ssl = (crl: boolean): string => `listeners.ssl.x.ssl_options { certfile = c, keyfile = k, enable_crl_check = ${crl} }`;
  refused(ssl(true), /revoked certificates are not looked at/);
  assert.deepEqual(load(ssl(false)).warnings, []);
  for (const rule of ['allow', 'deny 10.0.0.0/33', 'refuse all', 'deny 1.2.3.4 all'])
    refused(`listeners.tcp.default.access_rules = ["${rule}"]`, /access_rules\.1 must be a rule such as/);
});

test('environment: prefixes, levels, precedence, unknown names', () => {
  const c = config(`${cookie}node.role = core\ncluster.core_nodes = ["c@h"]`, {
    EMQX_NODE__DB_ROLE: 'core',
    STARMESH_NODE__DB_ROLE: 'replicant',
    EMQX_NODE__NAME: 'r1@10.0.0.9',
    STARMESH_LISTENERS__TCP__DEFAULT__BIND: '127.0.0.1:1999',
    EMQX_MQTT__MAX_INFLIGHT: '7',
    STARMESH_SERVICE_HOST: '10.1.1.1',
    EMQX_NODE_NAME: 'ignored',
    PATH: '/bin',
  });
  assert.equal(c.node.role, 'replicant');
  assert.equal(c.node.name, 'r1@10.0.0.9');
  assert.deepEqual(c.listeners[0]?.bind, { host: '127.0.0.1', port: 1999 });
  assert.equal(c.mqtt.maxInflight, 7);
  assert.equal(config('', { EMQX_NODE__COOKIE: 'a#b,c{d}e"f=g:0123456789' }).node.cookie, 'a#b,c{d}e"f=g:0123456789');
  assert.deepEqual(
    config(cookie, { STARMESH_CLUSTER__STATIC__SEEDS: '["starmesh@127.0.0.1", "b@h:1"]' }).cluster.cores.map((n) => n.name),
    ['starmesh@127.0.0.1', 'b@h'],
  );
  assert.deepEqual(load('', { EMQX_FOO__BAR: '1', STARMESH_NODE__NAM: 'x' }).warnings, [
    'environment EMQX_FOO__BAR: unknown key foo',
    'environment STARMESH_NODE__NAM: unknown key node.nam; did you mean node.name?',
  ]);
  refused('', /^environment EMQX_MQTT__MAX_INFLIGHT: mqtt\.max_inflight must be/, { EMQX_MQTT__MAX_INFLIGHT: 'x' });
});

test('role under both names: equal is fine, different is refused, the environment is above the file', () => {
  assert.equal(config('node { role = core, db_role = core }').node.role, 'core');
  refused(
    `${cookie}node.role = core\nnode.db_role = replicant`,
    /starmesh\.conf:3:\d+: node\.role and node\.db_role mean the same and have different values/,
  );
  const replicant = `${cookie}cluster.core_nodes = ["c@h"]\n`;
  assert.equal(config(`${replicant}node.db_role = core`, { EMQX_NODE__ROLE: 'replicant' }).node.role, 'replicant');
  assert.equal(config(`${replicant}node.role = core`, { EMQX_NODE__DB_ROLE: 'replicant' }).node.role, 'replicant');
});

test('cookies: none by default, the published one refused, short ones warned about', () => {
  refused('cluster.static.seeds = ["a@h", "b@h"]\nnode.name = "a@h"', /node\.cookie is missing/);
  refused('node.cookie = emqxsecretcookie', /anybody could join/);
  assert.match(load('node.cookie = short').warnings[0] ?? '', /node\.cookie is short/);
});

test('clusters that cannot work are refused', () => {
  refused(`${cookie}node.role = replicant`, /a replicant needs cores to follow/);
  refused(`${cookie}node { name = "a@h", role = replicant }\ncluster.core_nodes = ["a@h"]`, /is a replicant and stands in the list of cores/);
  refused(`${cookie}cluster { core_nodes = ["a@h:1"], static.seeds = ["a@h:2"] }`, /listed with two addresses/);
  refused(`${cookie}cluster { discovery_strategy = singleton, core_nodes = ["a@h:1"] }`, /contradicts/);
  refused('cluster.tls.enable = true', /cluster\.tls needs/);
});

test('discovery: by EMQX’s names; how many cores there shall be must be said where nobody names them', () => {
  const dns = config(`${cookie}cluster { discovery_strategy = dns, core_count = 3, dns { name = "cores.local", record_type = srv } }`).cluster;
  assert.deepEqual(dns.discovery, { kind: 'dns', name: 'cores.local', recordType: 'srv', servers: [] });
  assert.deepEqual([dns.coreCount, dns.cores], [3, []]);
  const k8s = config(`${cookie}cluster { discovery_strategy = k8s, core_count = 3, k8s { service_name = mesh, namespace = iot } }`).cluster.discovery;
  assert.deepEqual(k8s, {
    kind: 'k8s',
    apiserver: 'https://kubernetes.default.svc:443',
    serviceName: 'mesh',
    addressType: 'ip',
    suffix: 'pod.local',
    namespace: 'iot',
    tokenfile: '/var/run/secrets/kubernetes.io/serviceaccount/token',
    cacertfile: '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
  });
  refused(`${cookie}cluster.discovery_strategy = k8s`, /needs cluster\.core_count/);
  refused(`${cookie}cluster.core_count = 3`, /core_count is for discovery by dns or k8s; with singleton/);
  refused(`${cookie}cluster { discovery_strategy = k8s, core_count = 3, k8s.apiserver = "http://x" }`, /must begin with https/);
  refused('cluster { discovery_strategy = dns, core_count = 3 }', /node\.cookie is missing/);
  // A replicant needs no number, and a core with names neither.
  const replicant = config(`${cookie}node { name = "r@h", role = replicant }\ncluster.discovery_strategy = dns`).cluster;
  assert.equal(replicant.discovery?.kind, 'dns');
  assert.equal(config(`${cookie}node.name = "a@h"\ncluster { discovery_strategy = dns, core_nodes = ["a@h", "b@h"] }`).cluster.cores.length, 2);
  // What is set and not used is no error: files are shared between strategies.
  assert.equal(config('cluster.dns.name = x').cluster.discovery, undefined);
});

test('the wait for an answer of another node: as EMQX has it, and not shorter than a node that is far or busy needs', () => {
  assert.equal(config('').rpc.callReceiveTimeoutMs, 15_000);
  assert.equal(config('rpc.call_receive_timeout = 3s').rpc.callReceiveTimeoutMs, 3_000);
  refused('rpc.call_receive_timeout = 50ms', /call_receive_timeout.*at least 1000ms/);
});

test('a wait that a silent node outlasts is warned of', () => {
  const late = (text: string): boolean => load(text).warnings.some((w) => w.includes('effective_timeout is below 3 times'));
  assert.equal(late(''), false);
  assert.equal(late('database.effective_timeout = 1s'), true);
  assert.equal(late('database { lease = 900ms, effective_timeout = 2s }'), true);
  assert.equal(late('database { lease = 900ms, effective_timeout = 2700ms }'), false);
});

test('a lease that outlasts elections is refused, with what has to grow with it', () => {
  refused(
    'database { lease = 1s, effective_timeout = 3s }',
    /database\.lease \(1000 ms\) must be below election_timeout_min \(1000 ms\).*Raise election_timeout_min and election_timeout_max/,
  );
  assert.equal(config('database { lease = 999ms, effective_timeout = 3s }').database.leaseMs, 999);
  // The example of docs/operations.md.
  const far = 'database { lease = 1300ms, effective_timeout = 4s, election_timeout_min = 2600ms, election_timeout_max = 5s }';
  assert.equal(config(far).database.leaseMs, 1300);
});

test('TLS between nodes: under cluster.tls, or by the names that EMQX has for it', () => {
  const files = 'cacertfile = "ca.pem", certfile = "c.pem", keyfile = "k.pem"';
  const own = config(`cluster.tls { enable = true, ${files}, versions = ["tlsv1.3"] }`).cluster.tls;
  assert.deepEqual(own, {
    cacertfile: 'ca.pem',
    certfile: 'c.pem',
    keyfile: 'k.pem',
    password: undefined,
    verify: 'verify_peer',
    versions: ['tlsv1.3'],
    ciphers: [],
  });
  assert.equal(config(`rpc { protocol = ssl, ${files} }`).cluster.tls?.certfile, 'c.pem');
  assert.equal(config(`rpc { protocol = ssl, ${files} }\ncluster.tls.enable = false`).cluster.tls, undefined);
  assert.equal(config(`cluster.tls { enable = true, certfile = other }\nrpc { ${files} }`).cluster.tls?.certfile, 'other');
  assert.equal(config(`rpc { ${files} }`).cluster.tls, undefined);
  refused('rpc.protocol = ssl', /cluster\.tls needs cacertfile/);
  refused('cluster.tls { enable = true, certfile = c, keyfile = k }', /cluster\.tls needs cacertfile/);
  assert.match(load('cluster.tls { enable = true, verify = verify_none, certfile = c, keyfile = k }').warnings[0] ?? '', /use verify_peer/);
  // Asked for, and not given: never in silence.
  refused('cluster.proto_dist = inet_tls', /asks for TLS between nodes/);
  assert.notEqual(config(`cluster { proto_dist = inet_tls, tls { enable = true, ${files} } }`).cluster.tls, undefined);
});

test('authentication: a list, single entries, elements by index, disabled ones left out', () => {
  const text = 'authentication = [{ mechanism = password_based, backend = x }, { mechanism = jwt }]\nauthentication.1.enable = false';
  assert.deepEqual(
    config(text).authentication.map((a) => ({ ...a })),
    [{ mechanism: 'jwt' }],
  );
  assert.equal(config('authentication { mechanism = jwt }').authentication.length, 1);
  assert.equal(config('authorization { no_match = deny, sources = [{type = file, path = x}] }').authorization.sources?.length, 1);
  assert.deepEqual([config('').authorization.sources, config('authorization.sources = []').authorization.sources], [undefined, []]);
});

test('nearest: letters swapped, lost, added; nothing far away', () => {
  assert.equal(editDistance('abcd', 'acbd'), 1);
  assert.equal(editDistance('', 'abc'), 3);
  assert.equal(nearest('max_infligth', ['max_inflight', 'max_mqueue_len']), 'max_inflight');
  assert.equal(nearest('x', ['completely', 'different']), undefined);
});

test('property: any settings are answered or refused by one of the two errors', () => {
  const keys = fc.constantFrom(
    'node',
    'name',
    'role',
    'db_role',
    'listeners',
    'tcp',
    'ssl',
    'default',
    'bind',
    'enable',
    'cluster',
    'static',
    'seeds',
    'core_nodes',
    'mqtt',
    'max_inflight',
    'authentication',
    '1',
    'x',
    '__proto__',
  );
  const value = fc.constantFrom('1', 'true', '"a@b"', '["a@b:1"]', '{}', '[]', 'null', '{ x = 1 }', '${?x}', '15s', '""', 'infinity');
  const line = fc.tuple(fc.array(keys, { minLength: 1, maxLength: 4 }), value).map(([path, v]) => `${path.join('.')} = ${v}`);
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
      try {
        load(lines.join('\n'));
      } catch (error) {
        if (!(error instanceof ConfigError || error instanceof HoconError)) throw error;
      }
    }),
    { numRuns: 3000, seed: 5 },
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dbBounds } from '#db/bounds.js';
import { defaultLimits, type LinkLimits } from '#link/options.js';
import { neverExpires } from '#session/limits.js';
import type { StarmeshConfig } from './config/config.js';
import { loadConfig } from './config/load.js';
import { nodeOptions, refusals, warnings } from './node-options.js';

function config(text: string): StarmeshConfig {
  return loadConfig({ file: 'test.conf', text, readText: () => undefined, environment: {} }).config;
}

function options(text: string): ReturnType<typeof nodeOptions> {
  return nodeOptions(config(text), 'cookie', () => {});
}

test('what this version cannot do and somebody would rely on is refused', () => {
  assert.deepEqual(refusals(config('')), []);
  const cases: readonly (readonly [string, RegExp])[] = [
    ['authentication = [{ mechanism = password_based, backend = mysql }]', /authentication\.1 .*mysql, which is not available/],
    ['authentication = [{ mechanism = jwt, secrets = x }]', /authentication\.1\.secret is missing/],
    ['authorization.sources = [{ type = file }]', /authorization\.sources\.1\.rules is missing/],
    ['authorization.sources = [{ type = file, path = "/nowhere/acl.conf" }]', /authorization\.sources\.1\.path cannot be read/],
    ['listeners.tcp.default.mountpoint = "x/+/"', /mountpoint/],
    ['node.workers = 2', /node\.workers/],
    ['database.registry_shards = 8', /registry_shards/],
  ];
  for (const [text, message] of cases) {
    const found = refusals(config(text));
    assert.equal(found.length, 1, text);
    assert.match(found[0] ?? '', message);
  }
});

test('what has no effect is named, and defaults name nothing', () => {
  assert.deepEqual(warnings(config('')), []);
  assert.deepEqual(warnings(config('mqtt.strict_mode = true\nlisteners.tcp.default { max_conn_rate = "5/s", enable_authn = false }')), [
    'mqtt.strict_mode: has no effect yet in this version',
  ]);
  assert.match(warnings(config('mqtt.await_rel_timeout = 10s')).join(), /until its PUBREL/);
});

test('rules of a listener: the first that speaks of an address decides', () => {
  const rules = (text: string) => options(`listeners.tcp.default.access_rules = ${text}`).listeners[0]?.mayConnect;
  assert.equal(rules('["allow all"]'), undefined);
  const some = rules('["allow 10.1.0.0/16", "deny 10.0.0.0/8", "deny ::1"]');
  assert.deepEqual(
    ['10.1.2.3', '::ffff:10.1.2.3', '10.2.0.1', '::1', '192.0.2.1', '2001:db8::1'].map((host) => some?.(host)),
    [true, true, false, false, true, true],
  );
  const few = rules('["allow 127.0.0.1", "deny all"]');
  assert.deepEqual([few?.('127.0.0.1'), few?.('127.0.0.2'), few?.('::1')], [true, false, false]);
});

test('what waits for a client: priorities by topic name, and no limit is no limit', () => {
  const limits = (text: string) => options(text).broker?.limits;
  assert.equal(limits('')?.priorities, undefined);
  assert.equal(limits('mqtt.mqueue_priorities = disabled')?.priorities, undefined);
  const ranks = new Map([
    ['a/b.c', 10],
    ['x', 1],
  ]);
  const text = 'mqtt.mqueue_priorities { "a/b.c" = 10, x = 1 }';
  assert.deepEqual(limits(text)?.priorities, { ranks, otherwise: 0 });
  assert.deepEqual(limits(`${text}\nmqtt.mqueue_default_priority = highest`)?.priorities, { ranks, otherwise: 256 });
  assert.equal(limits('mqtt.max_mqueue_len = 0')?.maxQueuedMessages, Number.POSITIVE_INFINITY);
  assert.equal(limits('mqtt.upgrade_qos = true')?.upgradeQos, true);
});

test('a core without a file is a cluster of one that nobody can join', () => {
  const { core, listeners } = options('');
  assert.equal(core.listen, undefined);
  assert.deepEqual(
    core.cores.map((c) => c.name),
    [core.name],
  );
  assert.equal(listeners.length, 1);
});

test('bounds of the links are those of the configuration, and without one those of the links', () => {
  const { linkLimits } = options('').core;
  const usual: LinkLimits = defaultLimits;
  for (const [name, value] of Object.entries(linkLimits ?? {})) assert.deepEqual(value, usual[name as keyof LinkLimits], name);
  assert.deepEqual(
    options(`rpc {
      raft_buffer_size = 1MB, rlog_buffer_size = 2MB, call_buffer_size = 3MB, forward_buffer_size = 4MB, max_frame_size = 32MB
      max_outstanding_calls = 50, ping_interval = 100ms, quiet_ping_interval = 300ms, silence_timeout = 9s, redial_min = 3s, redial_max = 1s
      linger = 1s, max_unauthenticated = 7, max_assembling = 8, certificate_check_interval = 2m, connect_timeout = 4s, authentication_timeout = 3s
      call_receive_timeout = 6s
    }`).core.linkLimits,
    {
      connectTimeoutMs: 4000,
      handshakeMs: 3000,
      laneBufferBytesMax: { raft: 2 ** 20, rlog: 2 * 2 ** 20, rpc: 3 * 2 ** 20, forward: 4 * 2 ** 20 },
      frameBytesMax: 32 * 2 ** 20,
      rpcOutstandingMax: 50,
      rpcAnswerMsMax: 6000,
      pingIntervalMs: 100,
      quietPingMs: 300,
      silenceMs: 9000,
      redialMinMs: 3000,
      redialMaxMs: 3000,
      lingerMs: 1000,
      unauthenticatedMax: 7,
      assemblingMax: 8,
      certificateCheckMs: 120_000,
    },
  );
});

test('bounds of the database are those of the configuration, and without one those of the database', () => {
  const { core } = options('');
  for (const [name, value] of Object.entries(core.bounds ?? {})) assert.equal(value, dbBounds[name as keyof typeof dbBounds], name);
  const set = options(`database {
    lease = 700ms, lease_late = 3s, effective_timeout = 2s, core_silent = 4s, rebalance_interval = infinity
    leader_rebalance_interval = 7s, remote_read_rows = 11, remote_read_size = 1MB
    relay_log_size = 2MB, pending_proposals = 5, pending_proposals_size = 3MB
    table_commit_interval = 2s, table_commit_rows = 9, table_commit_size = 1MB
    scrub_interval = infinity, scrub_rows_per_second = 77, scrub_bytes_per_second = 1MB
  }`).core.bounds;
  assert.deepEqual(
    [set?.leaseMs, set?.lateMs, set?.effectiveWaitMs, set?.coreSilentMs, set?.rebalanceMs, set?.leaderSpreadMs],
    [700, 3000, 2000, 4000, Number.POSITIVE_INFINITY, 7000],
  );
  assert.deepEqual([set?.relayLogBytes, set?.pendingProposalsMax, set?.pendingProposalBytesMax], [2 ** 21, 5, 3 * 2 ** 20]);
  assert.equal(options('').core.coreWeight, 100);
  assert.equal(options('cluster.core_weight = 0').core.coreWeight, 0);
  assert.deepEqual([set?.remoteReadRowsMax, set?.remoteReadBytesMax], [11, 2 ** 20]);
  assert.deepEqual([set?.tableCommitMs, set?.tableCommitRows, set?.tableCommitBytes], [2000, 9, 2 ** 20]);
  assert.deepEqual([set?.scrubEveryMs, set?.scrubRowsPerSecond, set?.scrubBytesPerSecond], [Number.POSITIVE_INFINITY, 77, 2 ** 20]);
});

test('a core of several listens where the list of cores says', () => {
  const text = `
    node { name = "a@10.0.0.1", cookie = "long enough to be a secret" }
    cluster.core_nodes = ["a@10.0.0.1:5000", "b@10.0.0.2"]
  `;
  const { core } = options(text);
  assert.deepEqual(core.listen, { host: '0.0.0.0', port: 5000 });
  assert.deepEqual(core.advertise, { host: '10.0.0.1', port: 5000 });
  assert.deepEqual(
    core.cores.map((c) => `${c.name} ${c.role} ${c.host}:${c.port}`),
    ['a@10.0.0.1 core 10.0.0.1:5000', 'b@10.0.0.2 core 10.0.0.2:4370'],
  );
});

test('limits follow the zone mqtt, and no bound is lost in the units', () => {
  const { broker, registry, retained, listeners } = options(`
    mqtt { session_expiry_interval = infinity, max_inflight = 7, max_packet_size = 2MB, registration_timeout = 1s }
    retainer { enable = false, backend.max_retained_messages = 0 }
  `);
  assert.equal(broker?.limits?.sessionExpiryIntervalS, neverExpires);
  assert.equal(broker?.limits?.maxInflight, 7);
  assert.equal(broker?.limits?.maxPacketSizeBytes, 2 * 1024 * 1024);
  assert.equal(broker?.limits?.retainAvailable, false);
  assert.equal(retained?.messagesMax, 0);
  const { deadlineMs = 0, reserveAfterBeginMs = 0, reserveAfterFinishMs = 0 } = registry ?? {};
  assert.equal(deadlineMs, 1000);
  assert.ok(reserveAfterBeginMs + reserveAfterFinishMs < deadlineMs);
  // Client id, user name, password, will topic and will payload of 64 KiB each.
  assert.ok((listeners[0]?.maxConnectBytes ?? 0) >= 5 * 65_535);
  assert.equal(options('mqtt.session_expiry_interval = 1500ms').broker?.limits?.sessionExpiryIntervalS, 2);
});

test('how fast retained messages come and go, and which may stay', () => {
  const { retained, broker } = options(`
    retainer { max_publish_rate = "100/s", allow_never_expire = false, msg_expiry_interval_override = 1h, flow_control.batch_read_number = 50 }
  `);
  assert.deepEqual(
    [retained?.publishRate, retained?.allowNeverExpire, retained?.expiryOverrideMs, broker?.retainedRows],
    [100, false, 3_600_000, 50],
  );
  const plain = options('');
  assert.deepEqual([plain.retained?.publishRate, plain.retained?.allowNeverExpire, plain.broker?.retainedRows], [Infinity, true, 2000]);
});

test('a data-only core has no listener', () => {
  assert.deepEqual(options('listeners.tcp.default.enable = false').listeners, []);
});

test('listeners: what the file says, with defaults', () => {
  const [plain] = options('').listeners;
  assert.deepEqual(
    [plain?.id, plain?.port, plain?.maxConnections, plain?.maxConnRate, plain?.messagesRate, plain?.bytesRate, plain?.maxHandshakes],
    ['tcp:default', 1883, Infinity, Infinity, Infinity, Infinity, 10_000],
  );
  assert.deepEqual(
    [plain?.tls, plain?.webSocket, plain?.proxyProtocolTimeoutMs, plain?.maxPacketSizeBytes],
    [undefined, undefined, undefined, undefined],
  );
  assert.deepEqual(plain?.identity, { username: undefined, clientId: undefined, usernameAsClientId: false });
  const { listeners } = options(`
    mqtt { peer_cert_as_username = cn, peer_cert_as_clientid = dn, use_username_as_clientid = true }
    listeners.tcp.default.enable = false
    listeners.ssl.a { proxy_protocol = true, ssl_options { certfile = c, keyfile = k, ciphers = "A,B:C", handshake_timeout = 7s } }
    listeners.wss.b {
      max_conn_rate = "500/10s", messages_rate = "10/s", bytes_rate = "1MB/s", max_packet_size = 64KB, max_connections = 3
      ssl_options { certfile = c, keyfile = k, cacertfile = a, verify = verify_peer, ciphers = [A, B] }
      websocket { mqtt_path = "/ws", check_origin_enable = true, check_origins = ["https://a"] }
    }
  `);
  const [a, b] = listeners;
  assert.deepEqual(
    [a?.id, a?.proxyProtocolTimeoutMs, a?.handshakeTimeoutMs, a?.tls?.ciphers, a?.webSocket],
    ['ssl:a', 3000, 7000, 'A:B:C', undefined],
  );
  assert.deepEqual(a?.identity, { username: 'cn', clientId: 'dn', usernameAsClientId: true });
  assert.deepEqual([b?.maxConnRate, b?.messagesRate, b?.bytesRate, b?.maxPacketSizeBytes, b?.maxConnections], [50, 10, 1024 * 1024, 64 * 1024, 3]);
  assert.deepEqual([b?.tls?.verify, b?.tls?.cacertfile, b?.tls?.ciphers], ['verify_peer', 'a', 'A:B']);
  assert.deepEqual([b?.webSocket?.path, b?.webSocket?.origins, b?.webSocket?.messageBytesMax], ['/ws', ['https://a'], 128 * 1024]);
  const [, ws] = options('listeners.ws.c.bind = 8083').listeners;
  assert.deepEqual(
    [ws?.webSocket?.path, ws?.webSocket?.compress, ws?.webSocket?.failIfNoSubprotocol, ws?.webSocket?.origins, ws?.webSocket?.messageBytesMax],
    ['/mqtt', false, true, undefined, 1024 * 1024 + 64 * 1024],
  );
  assert.throws(() => config('listeners.tcp.default.messages_rate = "0/s"'), /messages_rate must be a rate above 0/);
});

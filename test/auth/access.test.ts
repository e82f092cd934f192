// Access control over the database double: caches and what voids them, bans by the feed, ends of
// proofs, published keys, all on a clock that the test moves.
import assert from 'node:assert/strict';
import { createHash, createHmac, generateKeyPairSync, pbkdf2Sync } from 'node:crypto';
import { test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { readAuthentication, readSources } from '#auth/options.js';
import type { PlainObject } from '#auth/plain.js';
import { bannedTable } from '#auth/schema.js';
import { utf8Encode } from '#base/utf8.js';
import type { Packet } from '#mqtt/packet.js';
import { type BenchClient, MqttBench } from '../mqtt/mqtt-bench.js';
import { AccessWorld, Client, noFiles } from './access-world.js';

const table = { type: 'built_in_database' };

test('nothing configured: everybody may everything, nothing is kept', () => {
  const world = new AccessWorld();
  const client = world.in('c');
  assert.equal(client.grant, undefined);
  assert.equal(world.may(client, '$SYS/x'), true);
  assert.equal(world.access.maySubscribe(client, '#', 2, 0), true);
  assert.equal(world.read('emqx_authentication_success_anonymous'), 1);
});

test('a verdict is kept until its time is up, the rules change, or others need the room', async () => {
  const cache = { enable: true, maxSize: 4, ttlMs: 1_000 };
  const world = new AccessWorld({ sources: [table], authorization: { noMatch: 'deny', cache } });
  const client = world.in('c');
  await world.change(world.admin.setRules({ kind: 'all' }, [{ permission: 'allow', action: 'publish', topic: 'a/#' }]));
  const misses = (): number => world.read('emqx_authorization_cache_miss');
  assert.equal(world.may(client, 'a/1'), true);
  const before = misses();
  assert.equal(world.may(client, 'a/1'), true);
  assert.equal(misses(), before);
  world.clock.advance(1_001);
  assert.equal(world.may(client, 'a/1'), true);
  assert.equal(misses(), before + 1);
  assert.equal(world.may(client, 'b'), false);
  assert.equal(world.may(client, 'b'), false);
  assert.equal(world.access.maySubscribe(client, 'a/1', 1, world.clock.now()), false);
  assert.equal(world.may(client, 'a/1', true), true);
  const kept = misses();
  for (const topic of ['a/2', 'a/3', 'a/4', 'a/5']) assert.equal(world.may(client, topic), true);
  assert.equal(world.may(client, 'a/1'), true);
  assert.equal(misses(), kept + 5);
  await world.change(world.admin.setRules({ kind: 'clientid', id: 'c' }, [{ permission: 'deny', action: 'all', topic: 'a/1' }]));
  assert.equal(world.may(client, 'a/1'), false);
  world.db.swap('auth');
  assert.equal(world.may(client, 'a/1'), false);
  assert.equal(world.may(client, 'a/2'), true);
});

test('verdicts are forgotten on one client or on all; a service that does not answer is said to be none that denies', async () => {
  const world = new AccessWorld({
    sources: [{ type: 'http', method: 'post', url: 'http://127.0.0.1:1/', body: { clientid: '${clientid}', topic: '${topic}' } }],
    authorization: { noMatch: 'deny', recheckMs: 60_000 },
  });
  let result: string | undefined = 'allow';
  let asked = 0;
  world.fetch = async () => {
    asked++;
    return result === undefined
      ? { kind: 'failed', reason: 'x' }
      : { kind: 'answer', status: 200, contentType: '', body: JSON.stringify({ result }) };
  };
  const cleaned: (string | undefined)[] = [];
  world.access.whenRulesChange((what) => what !== undefined && cleaned.push(what.clientId));
  const [a, b] = [world.in('a'), world.in('b')];
  const know = (client: Client): Promise<string> =>
    new Promise((done) => world.access.whenKnown(client, 'publish', 't', 1, false, (allowed, sure) => done(`${allowed} ${sure}`)));
  for (const client of [a, b]) {
    assert.equal(await know(client), 'true true');
    assert.equal(world.may(client, 't'), true);
  }
  world.access.forgetVerdicts('a');
  assert.deepEqual([world.may(a, 't'), world.may(b, 't'), asked], [undefined, true, 2]);
  world.access.forgetVerdicts();
  assert.deepEqual([world.may(a, 't'), world.may(b, 't')], [undefined, undefined]);
  result = 'deny';
  assert.equal(await know(a), 'false true');
  result = 'ignore';
  assert.equal(await know(b), 'false true');
  result = undefined;
  assert.equal(await know(b), 'false false');
  assert.deepEqual(cleaned, ['a', undefined]);
  world.clock.advance(120_000);
  assert.deepEqual(cleaned, ['a', undefined, undefined, undefined], 'authorization.recheck_interval');
  world.access.close();
  world.clock.advance(120_000);
  assert.equal(cleaned.length, 4);
});

test('rules of the client, then of the user, then of all', async () => {
  const world = new AccessWorld({ sources: [table], authorization: { noMatch: 'deny' } });
  const rule = (permission: string): PlainObject => ({ permission, action: 'publish', topic: 't' });
  await world.change(world.admin.setRules({ kind: 'all' }, [rule('allow')]));
  await world.change(world.admin.setRules({ kind: 'username', id: 'u' }, [rule('deny')]));
  await world.change(world.admin.setRules({ kind: 'clientid', id: 'c' }, [rule('allow')]));
  assert.equal(world.may(world.in('x'), 't'), true);
  assert.equal(world.may(world.in('x', 'u'), 't'), false);
  assert.equal(world.may(world.in('c', 'u'), 't'), true);
  assert.deepEqual(world.admin.rulesList('username', 10).items, [{ id: 'u', rules: [rule('deny')] }]);
  await assert.rejects(world.admin.setRules({ kind: 'all' }, [{ permission: 'allow', topic: 'a', clientid: 'x' }]), /clientid is not known/);
  await assert.rejects(world.admin.setRules({ kind: 'all' }, [{ permission: 'allow', action: 'publish' }]), /topic is missing/);
});

test('bans: found by all their kinds, until their time, and swept by the leader', async () => {
  const world = new AccessWorld();
  const clients = [
    world.in('by-id'),
    world.in('1', 'by-name'),
    world.in('2', undefined, '10.1.1.1:5'),
    world.in('3', undefined, '[::ffff:10.2.0.9]:5'),
    world.in('re-77'),
    world.in('4', 'admin-x'),
    world.in('innocent', 'user', '10.3.0.1:5'),
  ];
  const bans = [
    ['clientid', 'by-id'],
    ['username', 'by-name'],
    ['peerhost', '10.1.1.1'],
    ['peerhost_net', '10.2.0.0/16'],
    ['clientid_re', '^re-[0-9]+$'],
    ['username_re', 'admin'],
  ] as const;
  for (const [as, who] of bans) await world.change(world.admin.ban({ as, who, forMs: 10_000, by: 'me', reason: 'r' }));
  assert.deepEqual(
    clients.map((c) => c.ended),
    [0x98, 0x98, 0x98, 0x98, 0x98, 0x98, 0],
  );
  assert.equal(await world.login(new Client('by-id')), 0x8a);
  assert.equal(world.admin.bans(10).items.length, 6);
  assert.equal(world.admin.bans(2).items.length, 2);
  world.clock.advance(10_001);
  assert.equal(await world.login(new Client('by-id')), 0);
  assert.deepEqual(world.admin.bans(10).items, []);
  const rows = (): number => {
    let n = 0;
    world.db.range(bannedTable, new Uint8Array(0), undefined, () => ++n > 0);
    return n;
  };
  assert.equal(rows(), 6);
  world.clock.advance(61_000);
  assert.equal(rows(), 0);
  for (const [as, who] of [
    ['peerhost', 'x'],
    ['peerhost_net', '1.2.3.4/99'],
    ['clientid_re', '('],
    ['shoe', 'x'],
    ['clientid', ''],
  ] as const)
    await assert.rejects(world.admin.ban({ as, who }), { code: 'BAD_REQUEST' });
  await assert.rejects(world.change(world.admin.unban('clientid', 'x')), { code: 'NOT_FOUND' });
});

test('a client that is gone is neither closed nor kept', async () => {
  const world = new AccessWorld();
  const gone = world.in('c');
  world.access.closed(gone);
  await world.change(world.admin.ban({ as: 'clientid', who: 'c' }));
  assert.equal(gone.ended, 0);
});

test('users: only the right password, also after a change; remembered without the slow hash', async () => {
  const world = new AccessWorld({
    authentication: [{ mechanism: 'password_based', backend: 'built_in_database', password_hash_algorithm: { name: 'sha256' } }],
  });
  await world.change(world.admin.addUser('u', 'one', false));
  await assert.rejects(world.change(world.admin.addUser('u', 'two', false)), { code: 'ALREADY_EXISTS' });
  assert.equal(await world.login(new Client('c', 'u'), 'one'), 0);
  assert.equal(await world.login(new Client('c', 'u'), 'one'), 0);
  assert.equal(await world.login(new Client('c', 'u'), 'two'), 0x86);
  assert.equal(await world.login(new Client('c', 'nobody'), 'one'), 0x86);
  assert.equal(await world.login(new Client('c', 'u')), 0x86);
  assert.equal(await world.login(new Client('c')), 0x87);
  assert.equal(await world.login(new Client('c', 'x'.repeat(5_000)), 'one'), 0x86);
  await world.change(world.admin.updateUser('u', { password: 'two', superuser: true }));
  assert.equal(await world.login(new Client('c', 'u'), 'one'), 0x86);
  assert.equal(await world.login(new Client('c', 'u'), 'two'), 0);
  await world.change(world.admin.deleteUser('u'));
  assert.equal(await world.login(new Client('c', 'u'), 'two'), 0x86);
  await assert.rejects(world.change(world.admin.deleteUser('u')), { code: 'NOT_FOUND' });
  assert.deepEqual(world.admin.users(10).items, []);
});

test('published keys: fetched once, again for a key not seen yet, kept while nobody answers', async () => {
  const pair = (): { readonly privateKey: import('node:crypto').KeyObject; readonly publicKey: import('node:crypto').KeyObject } =>
    generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const [first, second] = [pair(), pair()];
  let keys = { keys: [{ ...(await exportJWK(first.publicKey)), kid: '1', alg: 'ES256' }] };
  let fetches = 0;
  let answers = true;
  const world = new AccessWorld({
    authentication: [{ mechanism: 'jwt', use_jwks: true, endpoint: 'http://keys.example/jwks', refresh_interval: '300s' }],
  });
  world.fetch = async () => {
    fetches++;
    return answers
      ? { kind: 'answer', status: 200, contentType: 'application/json', body: JSON.stringify(keys) }
      : { kind: 'failed', reason: 'down' };
  };
  const token = (kid: string, key: typeof first): Promise<string> =>
    new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', kid })
      .setExpirationTime(Math.floor(world.clock.wallNow() / 1000) + 100_000)
      .sign(key.privateKey);
  // The constructor has asked before the service was there.
  world.clock.advance(10_001);
  assert.equal(await world.login(new Client('c'), await token('1', first)), 0);
  assert.equal(fetches, 1);
  assert.equal(await world.login(new Client('c'), await token('1', second)), 0x86);
  assert.equal(await world.login(new Client('c'), await token('2', second)), 0x86);
  assert.equal(fetches, 1);
  keys = { keys: [...keys.keys, { ...(await exportJWK(second.publicKey)), kid: '2', alg: 'ES256' }] };
  world.clock.advance(10_001);
  assert.equal(await world.login(new Client('c'), await token('2', second)), 0);
  assert.equal(fetches, 2);
  answers = false;
  world.clock.advance(300_001);
  assert.equal(fetches, 3);
  assert.equal(await world.login(new Client('c'), await token('2', second)), 0);
  // A public key is no secret that anybody could sign with.
  const forged = await new SignJWT({}).setProtectedHeader({ alg: 'HS256', kid: '1' }).sign(utf8Encode(JSON.stringify(keys.keys[0])));
  assert.equal(await world.login(new Client('c'), forged), 0x86);
  world.access.close();
});

test('the end of a proof closes the connection and its rules', async () => {
  const secret = 'some secret that signs';
  const world = new AccessWorld({ authentication: [{ mechanism: 'jwt', secret }], authorization: { noMatch: 'deny' } });
  const exp = Math.floor(world.clock.wallNow() / 1000) + 7_200;
  const sign = (claims: Readonly<Record<string, unknown>>): Promise<string> =>
    new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(exp).sign(utf8Encode(secret));
  const client = new Client('c');
  assert.equal(await world.login(client, await sign({ acl: [{ permission: 'allow', action: 'publish', topic: 't' }] })), 0);
  assert.equal(world.may(client, 't'), true);
  world.clock.advance(7_000_000);
  assert.equal(client.ended, 0);
  assert.equal(world.may(client, 't'), true);
  world.clock.advance(201_000);
  assert.equal(client.ended, 0x87);
  assert.equal(world.may(client, 't'), false);
  const bad = new Client('d');
  assert.equal(await world.login(bad, await sign({ acl: [{ permission: 'allow', topic: 'a/#/b' }] })), 0x86);
});

test('a proof that has ended and may: other rules still hold', async () => {
  const secret = 'some secret that signs';
  const world = new AccessWorld({ authentication: [{ mechanism: 'jwt', secret, disconnect_after_expire: false }] });
  const exp = Math.floor(world.clock.wallNow() / 1000) + 10;
  const client = new Client('c');
  const token = await new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(exp).sign(utf8Encode(secret));
  assert.equal(await world.login(client, token), 0);
  world.clock.advance(100_000_000);
  for (let i = 0; i < 3; i++) assert.equal(world.may(client, 't'), true);
  assert.equal(client.ended, 0);
});

test('rules and requests can name the certificate', async () => {
  const asked: string[] = [];
  const world = new AccessWorld({
    authentication: [
      { mechanism: 'password_based', backend: 'http', method: 'get', url: 'http://h/', body: { cn: '${cert_common_name}', dn: '${cert_subject}' } },
    ],
    authorization: { noMatch: 'deny' },
    sources: [{ type: 'file', rules: [{ permission: 'allow', topics: ['by/${cert_common_name}/#'] }] }],
  });
  world.fetch = async (call) => {
    asked.push(call.url);
    return { kind: 'answer', status: 204, contentType: '', body: '' };
  };
  const bench = new MqttBench({ access: world.access, clock: world.clock });
  const client = bench.open();
  Object.assign(client.net, { certificateField: (field: string) => (field === 'cn' ? 'device 7' : 'CN=device 7,O=x') });
  client.send({ type: 'connect', protocolVersion: 5, clientId: 'c', cleanStart: true, keepAlive: 0 });
  const answered = (): boolean => client.connack !== undefined;
  for (let i = 0; i < 100 && !answered(); i++) {
    await new Promise((turn) => setImmediate(turn));
    bench.settle();
  }
  assert.deepEqual(asked, ['http://h/?cn=device%207&dn=CN%3Ddevice%207%2CO%3Dx']);
  assert.deepEqual([client.subscribe('by/device 7/#'), client.subscribe('by/device 8/#')], [[2], [0x87]]);
});

test('flapping: within the window only', async () => {
  const world = new AccessWorld({ flapping: { enable: true, windowMs: 10_000, maxCount: 3, banMs: 60_000 } });
  const comeAndGo = (): void => world.access.closed(world.in('c'));
  comeAndGo();
  comeAndGo();
  world.clock.advance(10_001);
  comeAndGo();
  comeAndGo();
  world.clock.advance(100);
  assert.equal(world.read('starmesh_flapping_banned_total'), 0);
  comeAndGo();
  world.clock.advance(100);
  assert.equal(await world.login(new Client('c')), 0x8a);
  world.clock.advance(60_001);
  assert.equal(await world.login(new Client('c')), 0);
});

/** The client's half of SCRAM-SHA-256. */
function scramFinal(password: string, bare: string, serverFirst: string): string {
  const [, nonce = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=([0-9]+)$/.exec(serverFirst) ?? [];
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256');
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  const withoutProof = `c=biws,r=${nonce}`;
  const signature = createHmac('sha256', createHash('sha256').update(clientKey).digest()).update(`${bare},${serverFirst},${withoutProof}`).digest();
  return `${withoutProof},p=${Buffer.from(clientKey.map((b, i) => b ^ (signature[i] ?? 0))).toString('base64')}`;
}

const method = 'SCRAM-SHA-256';

function authPacket(reasonCode: number, text: string, authenticationMethod: string = method): Packet {
  return { type: 'auth', reasonCode, properties: { authenticationMethod, authenticationData: utf8Encode(text) } };
}

/** What the broker's last AUTH says. */
function authText(client: BenchClient): string {
  const last = client.take().findLast((p) => p.type === 'auth');
  return last?.type === 'auth' ? Buffer.from(last.properties?.authenticationData ?? []).toString() : '';
}

function scramConnect(bench: MqttBench, user: string, wanted: string = method): { readonly client: BenchClient; readonly bare: string } {
  const bare = `n=${user},r=abcdef`;
  return { client: bench.connect({ properties: { authenticationMethod: wanted, authenticationData: utf8Encode(`n,,${bare}`) } }), bare };
}

test('SCRAM in AUTH packets: in, again, and not in', async () => {
  const world = new AccessWorld({ authentication: [{ mechanism: 'scram', backend: 'built_in_database' }], sources: [table] });
  await world.change(world.admin.addScramUser('u', 'right', false));
  const bench = new MqttBench({ access: world.access, clock: world.clock });
  const connack = (client: BenchClient): number | undefined => client.connack?.reasonCode;
  const { client, bare } = scramConnect(bench, 'u');
  assert.equal(connack(client), undefined);
  assert.equal(client.net.reading, true);
  client.send(authPacket(0x18, scramFinal('right', bare, authText(client))));
  assert.equal(connack(client), 0);
  assert.equal(client.connack?.properties?.authenticationMethod, method); // [MQTT-4.12.0-5]
  assert.match(Buffer.from(client.connack?.properties?.authenticationData ?? []).toString(), /^v=/);
  assert.deepEqual(
    [...bench.broker.clients()].map((c) => c.username),
    ['u'],
  );
  assert.deepEqual(client.subscribe('t'), [2]);

  client.send(authPacket(0x19, 'n,,n=u,r=again'));
  client.send(authPacket(0x18, scramFinal('right', 'n=u,r=again', authText(client))));
  assert.match(authText(client), /^v=/);
  assert.deepEqual(client.subscribe('t'), [2]);
  client.send(authPacket(0x19, 'n,,n=u,r=again'));
  client.send(authPacket(0x18, scramFinal('wrong', 'n=u,r=again', authText(client))));
  assert.deepEqual(client.seen(), ['disconnect 0x87']); // [MQTT-4.12.1-2]
  assert.ok(client.net.closed);

  for (const [user, password] of [
    ['u', 'wrong'],
    ['nobody', 'right'],
  ] as const) {
    const stranger = scramConnect(bench, user);
    stranger.client.send(authPacket(0x18, scramFinal(password, stranger.bare, authText(stranger.client))));
    assert.equal(connack(stranger.client), 0x87);
  }
  assert.equal(connack(scramConnect(bench, 'u', 'SCRAM-SHA-1').client), 0x8c); // [MQTT-4.12.0-1]
  assert.equal(connack(bench.connect({ username: 'u', password: utf8Encode('right') })), 0x86);
  assert.equal(connack(bench.connect()), 0x87);

  const hasty = scramConnect(bench, 'u').client;
  hasty.send({ type: 'pingreq' }); // [MQTT-3.1.2-30]
  assert.equal(connack(hasty), 0x82);
  const other = scramConnect(bench, 'u').client;
  other.send(authPacket(0x18, 'x', 'other')); // [MQTT-4.12.0-5]
  assert.equal(connack(other), 0x82);
  const slow = scramConnect(bench, 'u').client;
  world.clock.advance(15_001);
  assert.equal(connack(slow), 0x87);
  const plain = bench.connect();
  assert.ok(plain.net.closed);
  await world.change(world.admin.ban({ as: 'username', who: 'u' }));
  const banned = scramConnect(bench, 'u');
  banned.client.send(authPacket(0x18, scramFinal('right', banned.bare, authText(banned.client))));
  assert.equal(connack(banned.client), 0x8a);
  assert.equal(bench.broker.stats().connections, 0);
});

test('enable_authn = false lets in without a proof, within the rules and unless banned', async () => {
  const world = new AccessWorld({ authentication: [{ mechanism: 'jwt', secret: 'x' }], authorization: { noMatch: 'deny' } });
  const bench = new MqttBench({ access: world.access, clock: world.clock, listener: { enableAuthn: false } });
  const client = bench.connect({ clientId: 'free' });
  assert.equal(client.connack?.reasonCode, 0);
  assert.deepEqual(client.subscribe('t'), [0x87]);
  await world.change(world.admin.ban({ as: 'clientid', who: 'free' }));
  assert.deepEqual(client.seen(), ['disconnect 0x98']);
  assert.equal(bench.connect({ clientId: 'free' }).connack?.reasonCode, 0x8a);
});

test('settings that are wrong are named', () => {
  const problems: string[] = [];
  readAuthentication(
    [
      { mechanism: 'password_based', backend: 'built_in_database', user_id_typ: 'clientid' },
      { mechanism: 'jwt' },
      { mechanism: 'password_based', backend: 'http', url: 'http://h/', body: { a: '${nothing}' } },
      { mechanism: 'jwt', algorithm: 'public-key', public_key: 'x' },
      { mechanism: 'password_based', backend: 'redis' },
    ],
    noFiles,
    problems,
  );
  readSources([{ type: 'file', rules: [{ permission: 'allow', topics: ['a/#/b'] }, { action: 'all' }] }, { type: 'mongodb' }], noFiles, problems);
  const expected = [
    /authentication\.1\.user_id_typ is not known/,
    /authentication\.2\.secret is missing/,
    /authentication\.3\.body .*\$\{nothing\} is not known/,
    /authentication\.4\.public_key is no public key: no files here/,
    /authentication\.5 .*redis, which is not available/,
    /sources\.1\.rules\.1\.topics has a wrong topic/,
    /sources\.1\.rules\.2\.permission is missing/,
    /sources\.2\.type = mongodb is not available/,
  ];
  assert.equal(problems.length, expected.length, problems.join('\n'));
  for (const [i, pattern] of expected.entries()) assert.match(problems[i] ?? '', pattern);
});

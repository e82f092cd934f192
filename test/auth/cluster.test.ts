// Access control of real nodes, a core and a replicant: identities from the cluster's own users, tokens
// and an HTTP service; rules from the configuration, the cluster's table and an HTTP service; bans.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SignJWT } from 'jose';
import type { IClientOptions } from 'mqtt';
import { TestClient } from '../cluster/clients.js';
import { eventually, TestCluster, type TestNode } from '../cluster/nodes.js';

const secret = 'a secret of this test alone';
let folder: string;
let service: Server;
let cluster: TestCluster;
let core: TestNode;
let replicant: TestNode;
/** What the service was asked. */
const asked: { readonly path: string; readonly body: Readonly<Record<string, string>> }[] = [];

/** `http-*` may come in with the password `http`, and publish to `http/ok`. */
function answer(path: string, body: Readonly<Record<string, string>>): { readonly status: number; readonly body: string } {
  if (path === '/authn') {
    if (body.username?.startsWith('http-') !== true) return { status: 200, body: '{"result": "ignore"}' };
    return { status: 200, body: JSON.stringify({ result: body.password === 'http' ? 'allow' : 'deny' }) };
  }
  if (body.topic === 'http/ok') return { status: 204, body: '' };
  return { status: 200, body: JSON.stringify({ result: body.topic === 'http/no' ? 'deny' : 'ignore' }) };
}

before(async () => {
  service = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    request.on('end', () => {
      const body = JSON.parse(text) as Record<string, string>;
      asked.push({ path: request.url ?? '', body });
      const said = answer(request.url ?? '', body);
      response.writeHead(said.status, { 'content-type': 'application/json' }).end(said.body);
    });
  });
  await new Promise<void>((done) => service.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
  folder = mkdtempSync(join(tmpdir(), 'starmesh-auth-'));
  writeFileSync(join(folder, 'users.csv'), 'user_id,password,is_superuser\nfirst,the first password,false\n');
  const settings = `
    authentication = [
      { mechanism = password_based, backend = built_in_database, password_hash_algorithm { name = scrypt, n = 1024 }, bootstrap_file = "${join(folder, 'users.csv')}" }
      { mechanism = scram, backend = built_in_database }
      { mechanism = jwt, secret = "${secret}", verify_claims { username = "\${username}" } }
      { mechanism = password_based, backend = http, method = post, url = "${url}/authn"
        body { username = "\${username}", password = "\${password}", clientid = "\${clientid}", peer = "\${peerhost}" } }
    ]
    authorization {
      no_match = deny
      sources = [
        { type = file, rules = [
          { permission = allow, action = all, topics = ["own/\${clientid}/#", "open/#"] }
          { permission = deny, action = subscribe, topics = ["eq #"] }
          { permission = allow, action = publish, username = ann, qos = [0, 1], retain = false, topics = ["ann/+"] }
        ] }
        { type = built_in_database }
        { type = http, url = "${url}/authz", body { clientid = "\${clientid}", topic = "\${topic}", action = "\${action}", qos = "\${qos}" } }
      ]
    }
    flapping_detect { enable = true, max_count = 4, window_time = 1h, ban_time = 1h }
  `;
  cluster = await TestCluster.start({ cores: 1, replicants: 1, settings });
  core = cluster.node('core1');
  replicant = cluster.node('replicant1');
  for (const [name, ...flag] of [['ann'], ['bob'], ['root', 'superuser']] as const)
    await ok(core, 'users', 'add', name, `${name}'s password`, ...flag);
});

after(async () => {
  await cluster?.close();
  service?.closeAllConnections();
  service?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function ok(node: TestNode, ...words: string[]): Promise<unknown> {
  const reply = await node.ctl(...words);
  assert.ok(reply.ok, reply.text);
  return reply.data;
}

function connect(node: TestNode, username: string, password: string = `${username}'s password`, more: IClientOptions = {}): Promise<TestClient> {
  return TestClient.connect(node, { username, password, clientId: `of-${username}-${Math.random()}`, ...more });
}

/** Rejects with the code of CONNACK. */
async function refused(connecting: Promise<TestClient>, code: number): Promise<void> {
  await assert.rejects(connecting, (error) => {
    assert.equal((error as { code?: number }).code, code, String(error));
    return true;
  });
}

/** With a token that is good for seconds; for more of them where it ended before the client was in. */
async function shortLived(token: (expires: number) => Promise<string>): Promise<TestClient> {
  for (let seconds = 3; ; seconds *= 2) {
    try {
      return await connect(core, 'device', await token(Math.ceil(Date.now() / 1000) + seconds));
    } catch (error) {
      if ((error as { code?: number }).code !== 0x86 || seconds > 60) throw error;
    }
  }
}

async function publishCode(client: TestClient, topic: string, qos: 1 | 2 = 1, retain: boolean = false): Promise<number> {
  try {
    await client.mqtt.publishAsync(topic, 'x', { qos, retain });
    return 0;
  } catch (error) {
    return (error as { code?: number }).code ?? -1;
  }
}

async function subscribeCode(client: TestClient, topicFilter: string): Promise<number> {
  try {
    const [grant] = await client.mqtt.subscribeAsync(topicFilter, { qos: 1 });
    return grant?.qos ?? -1;
  } catch (error) {
    const code = /0x[0-9a-f]+|[0-9]{3}/i.exec(String((error as { packet?: unknown }).packet === undefined ? error : ''));
    return code === null ? 0x80 : Number(code[0]);
  }
}

test('users made on one node log in at every node; wrong passwords and strangers look alike', async () => {
  for (const node of [core, replicant]) {
    await (await connect(node, 'ann')).close();
    await (await connect(node, 'ann', undefined, { protocolVersion: 4 })).close();
    await refused(connect(node, 'ann', 'wrong'), 0x86);
    await refused(connect(node, 'ann', 'wrong', { protocolVersion: 4 }), 4);
    await refused(connect(node, 'nobody', 'wrong'), 0x86);
    await refused(TestClient.connect(node), 0x87);
    await refused(TestClient.connect(node, { protocolVersion: 4 }), 5);
  }
  assert.equal((await core.ctl('users', 'add', 'ann', 'x')).ok, false);
  await ok(core, 'scram', 'add', 'sam', 'x');
  assert.equal((await replicant.ctl('scram', 'add', 'sam', 'x')).ok, false);
  await ok(replicant, 'scram', 'delete', 'sam');
  await ok(replicant, 'users', 'add', 'short', 'lived');
  await eventually('the user of the file is there', async () => (await core.ctl('users', 'list')).text.includes('first'));
  await (await connect(replicant, 'first', 'the first password')).close();
  await ok(core, 'users', 'delete', 'first');
  await (await connect(core, 'short', 'lived')).close();
  await ok(replicant, 'users', 'update', 'short', 'changed');
  await refused(connect(core, 'short', 'lived'), 0x86);
  await ok(core, 'users', 'delete', 'short');
  await refused(connect(replicant, 'short', 'changed'), 0x86);
  assert.deepEqual(await ok(replicant, 'users', 'list'), [
    { user_id: 'ann', is_superuser: false },
    { user_id: 'bob', is_superuser: false },
    { user_id: 'root', is_superuser: true },
  ]);
});

test('tokens: right, of another key, expired, of somebody else; what they allow; their end closes', async () => {
  const key = new TextEncoder().encode(secret);
  const token = (claims: Readonly<Record<string, unknown>>, expires: string | number = '1h', with_: Uint8Array = key): Promise<string> =>
    new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(expires).sign(with_);
  const client = await connect(core, 'device', await token({ username: 'device', acl: { pub: ['token/${username}/up'] } }));
  assert.equal(await publishCode(client, 'token/device/up'), 0);
  assert.equal(await publishCode(client, 'token/other/up'), 0x87);
  assert.equal(await publishCode(client, 'open/x'), 0x87);
  await client.close();
  await refused(connect(core, 'other', await token({ username: 'device' })), 0x86);
  await refused(connect(core, 'device', await token({ username: 'device' }, 1_000_000_000)), 0x86);
  await refused(connect(core, 'device', await token({ username: 'device' }, '1h', new TextEncoder().encode('another secret of this test'))), 0x86);
  const short = await shortLived((expires) => token({ username: 'device' }, expires));
  assert.equal(await short.end(), 'disconnect 135');
});

test('an HTTP service says who may come in', async () => {
  const strange = 'http-"}, {"x": "${password}&a=b';
  const client = await connect(replicant, strange, 'http', { clientId: 'a/../b?c#d' });
  await client.close();
  await refused(connect(replicant, 'http-1', 'wrong'), 0x86);
  const question = asked.find((a) => a.path === '/authn' && a.body.username === strange);
  assert.deepEqual(question?.body, { username: strange, password: 'http', clientid: 'a/../b?c#d', peer: '127.0.0.1' });
});

test('rules of the configuration: own topics, QoS, retain, filters that are too wide', async () => {
  const client = await connect(core, 'ann', undefined, { clientId: 'me' });
  assert.equal(await subscribeCode(client, 'own/me/#'), 1);
  for (const wide of ['#', '+/#', 'own/#', 'own/+/x', 'own/you']) assert.ok((await subscribeCode(client, wide)) >= 0x80, wide);
  assert.equal(await publishCode(client, 'own/me/x'), 0);
  assert.equal(await publishCode(client, 'own/you/x'), 0x87);
  assert.equal(await publishCode(client, 'ann/x'), 0);
  assert.equal(await publishCode(client, 'ann/x', 2), 0x87);
  assert.equal(await publishCode(client, 'ann/x', 1, true), 0x87);
  await client.until('the own message', (all) => all.length === 1);
  await client.close();
  for (const clientId of ['+', '#', 'me/x', '+/#']) {
    const sly = await connect(core, 'bob', undefined, { clientId });
    assert.ok((await subscribeCode(sly, 'own/me/x')) >= 0x80, clientId);
    assert.ok((await subscribeCode(sly, `own/${clientId}`)) >= 0x80 || clientId === '', clientId);
    assert.equal(await publishCode(sly, 'own/me/x'), 0x87, clientId);
    await sly.close();
  }
  const old = await connect(core, 'ann', undefined, { protocolVersion: 4 });
  assert.equal(await subscribeCode(old, 'own/you'), 0x80);
  await old.close();
});

test('rules of the table: changed on one node, in force on the other at once', async () => {
  const client = await connect(replicant, 'bob', undefined, { clientId: 'table' });
  assert.equal(await publishCode(client, 'table/x'), 0x87);
  await ok(core, 'acl', 'set', 'username', 'bob', '[{"permission": "allow", "action": "publish", "topic": "table/#"}]');
  assert.equal(await publishCode(client, 'table/x'), 0);
  await ok(core, 'acl', 'set', 'clientid', 'table', '[{"permission": "deny", "action": "all", "topic": "table/x"}]');
  assert.equal(await publishCode(client, 'table/x'), 0x87);
  assert.equal(await publishCode(client, 'table/y'), 0);
  await ok(core, 'acl', 'delete', 'clientid', 'table');
  assert.equal(await publishCode(client, 'table/x'), 0);
  assert.equal((await core.ctl('acl', 'set', 'all', '[{"permission": "maybe", "topic": "a"}]')).ok, false);
  await client.close();
});

test('an HTTP service says what clients may do, and is asked once', async () => {
  const client = await connect(replicant, 'ann', undefined, { clientId: 'http-asks' });
  const codes = await Promise.all(['http/ok', 'open/x', 'http/no', 'http/ok', 'http/none'].map((topic) => publishCode(client, topic)));
  assert.deepEqual(codes, [0, 0, 0x87, 0, 0x87]);
  assert.equal(await publishCode(client, 'http/ok'), 0);
  assert.equal(asked.filter((a) => a.path === '/authz' && a.body.clientid === 'http-asks' && a.body.topic === 'http/ok').length, 1);
  assert.equal(await subscribeCode(client, 'http/ok'), 1);
  await client.close();
});

test('superusers may do everything', async () => {
  const client = await connect(replicant, 'root');
  assert.equal(await subscribeCode(client, 'own/+/x'), 1);
  assert.equal(await publishCode(client, 'own/you/x', 2, true), 0);
  await client.close();
});

test('a will that is not allowed is refused with CONNECT', async () => {
  const will = { topic: 'own/you', payload: Buffer.from('x'), qos: 0 as const, retain: false };
  await refused(connect(core, 'ann', undefined, { will }), 0x87);
});

test('bans: of connected clients, by name, address and pattern; lifted again', async () => {
  const there = await connect(replicant, 'ann', undefined, { clientId: 'banned-1' });
  const other = await connect(replicant, 'ann', undefined, { clientId: 'innocent' });
  await ok(core, 'banned', 'add', 'clientid', 'banned-1', '1h', 'a', 'reason');
  assert.equal(await there.end(), 'disconnect 152');
  for (const node of [core, replicant]) await refused(connect(node, 'ann', undefined, { clientId: 'banned-1' }), 0x8a);
  await refused(connect(core, 'ann', undefined, { clientId: 'banned-1', protocolVersion: 4 }), 5);
  await ok(replicant, 'banned', 'delete', 'clientid', 'banned-1');
  await (await connect(core, 'ann', undefined, { clientId: 'banned-1' })).close();
  await ok(core, 'banned', 'add', 'clientid_re', '^inno', 'infinity');
  assert.equal(await other.end(), 'disconnect 152');
  await ok(core, 'banned', 'delete', 'clientid_re', '^inno');
  await ok(core, 'banned', 'add', 'peerhost_net', '127.0.0.0/8');
  await refused(connect(replicant, 'bob'), 0x8a);
  assert.equal(((await ok(replicant, 'banned', 'list')) as unknown[]).length, 1);
  await ok(core, 'banned', 'delete', 'peerhost_net', '127.0.0.0/8');
  assert.equal((await core.ctl('banned', 'delete', 'clientid', 'nobody')).ok, false);
  assert.equal((await core.ctl('banned', 'add', 'shoe', 'x')).ok, false);
});

test('clients that come and go too often are banned', async () => {
  for (let i = 0; i < 4; i++) await (await connect(core, 'bob', undefined, { clientId: 'flaps' })).close();
  await eventually('the ban is everywhere', async () => {
    const bans = (await ok(replicant, 'banned', 'list')) as { who: string }[];
    return bans.some((b) => b.who === 'flaps');
  });
  await refused(connect(replicant, 'bob', undefined, { clientId: 'flaps' }), 0x8a);
});

test('counted, and no secret is said', async () => {
  assert.ok(((await core.metric('emqx_authentication_failure'))[0] ?? 0) > 0);
  assert.ok(((await replicant.metric('emqx_authorization_cache_hit'))[0] ?? 0) > 0);
  assert.ok(((await replicant.metric('emqx_authorization_superuser'))[0] ?? 0) > 0);
  for (const node of [core, replicant]) {
    const said = node.lines.join('\n');
    for (const hidden of [secret, "ann's password", 'wrong']) assert.ok(!said.includes(hidden), `${node.shortName} said ${hidden}`);
  }
});

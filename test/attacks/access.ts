// Without the right: A6, A7 (who comes in) and C1 to C3 (as whom); `rights.ts` has the rest.
import assert from 'node:assert/strict';
import type { ConnectPacket } from '#mqtt/packet.js';
import { type Attack, type AttackCase, publish, subscribe, utf8 } from './attack.js';
import type { ClassId } from './classes.js';
import { eventually, type LabOptions } from './lab.js';
import type { Peer } from './peer.js';

const users = ['honest', 'ann', 'bob'] as const;

export const accessLab: LabOptions = {
  settings: `
    authentication = [{ mechanism = password_based, backend = built_in_database, password_hash_algorithm { name = sha256, salt_position = prefix } }]
    authorization {
      no_match = deny
      sources = [
        { type = built_in_database }
        { type = file, rules = [
          { permission = allow, username = "honest", action = all, topics = ["#", "$SYS/#"] }
          { permission = deny, action = all, topics = ["secret/#"] }
          { permission = allow, action = all, topics = ["own/\${clientid}/#", "user/\${username}/#"] }
          { permission = deny, action = all, topics = ["own/#", "user/#"] }
          { permission = allow, action = all, topics = ["#"] }
        ] }
      ]
    }`,
  honest: { username: 'honest', password: 'honest password' },
  prepare: async ({ authAdmin }) => {
    for (const name of users) await authAdmin.addUser(name, `${name} password`, false);
  },
};

export function as(username: string, more: Partial<ConnectPacket> = {}): Partial<ConnectPacket> {
  return { username, password: utf8(`${username} password`), ...more };
}

export const lasting = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };
const will = (topicName: string, retain = false) => ({ topicName, payload: utf8('w'), qos: 1 as const, retain });

/** Somebody with every right, who hears `topicFilter`. */
export async function hearing(attack: Attack, topicFilter: string): Promise<Peer> {
  const peer = await attack.connect(as('honest', { clientId: 'hears' }));
  peer.send(subscribe([topicFilter], 1, 1));
  assert.deepEqual((await peer.next('suback')).reasonCodes, [1]);
  return peer;
}

export async function codesOf(peer: Peer, topicFilters: readonly string[]): Promise<number[]> {
  peer.send(subscribe(topicFilters));
  return (await peer.next('suback')).reasonCodes;
}

export async function publishCode(peer: Peer, topicName: string): Promise<number> {
  peer.send(publish(topicName, 'x', { qos: 1, packetId: 1 }));
  return (await peer.next('puback')).reasonCode;
}

// ---- A6 ----

const wrong: readonly (readonly [string, Partial<ConnectPacket>])[] = [
  ['wrong password', { username: 'ann', password: utf8('wrong') }],
  ['no credentials', {}],
  ['unknown user', { username: 'nobody', password: utf8('x') }],
];

const sideEffects: readonly AttackCase[] = wrong.map(([name, credentials]) => ({
  of: 'A6',
  name: `${name} with a victim's client id, clean start and a will`,
  run: async (attack) => {
    const hears = await hearing(attack, 'open/#');
    const online = await attack.connect(as('ann', { clientId: 'online' }));
    const away = await attack.connect(as('ann', { clientId: 'away', ...lasting }));
    assert.deepEqual(await codesOf(away, ['user/ann/#']), [0]);
    away.reset();
    for (const clientId of ['online', 'away', 'nobody']) {
      const { peer, code } = await attack.login({ ...credentials, clientId, will: will('open/will', true) });
      assert.ok(code === 0x86 || code === 0x87);
      assert.deepEqual(await peer.fate(), []);
    }
    assert.deepEqual(await online.alive(), []);
    assert.deepEqual(await hears.alive(), []);
    const { sessionPresent } = await attack.login(as('ann', { clientId: 'away', ...lasting }));
    assert.equal(sessionPresent, true);
    await attack.connect(as('ann', { clientId: 'away' }));
  },
}));

// ---- A7 ----

interface Credentials {
  readonly name: string;
  readonly connect: Partial<ConnectPacket>;
  readonly code: number;
}

const credentials: readonly Credentials[] = [
  { name: 'user name alone', connect: { username: 'ann' }, code: 0x86 },
  { name: 'empty password', connect: { username: 'ann', password: utf8('') }, code: 0x86 },
  { name: 'password alone', connect: { password: utf8('ann password') }, code: 0x86 },
  { name: 'neither', connect: {}, code: 0x87 },
  { name: 'empty user name', connect: { username: '', password: utf8('x') }, code: 0x86 },
  { name: 'the password of another', connect: { username: 'ann', password: utf8('bob password') }, code: 0x86 },
  { name: 'a user name in capitals', connect: { username: 'ANN', password: utf8('ann password') }, code: 0x86 },
  { name: 'a password with U+0000 behind it', connect: { username: 'ann', password: utf8('ann password\0') }, code: 0x86 },
  { name: '60,000 bytes of password', connect: { username: 'ann', password: new Uint8Array(60_000) }, code: 0x86 },
  { name: 'user name alone, 3.1.1', connect: { protocolVersion: 4, username: 'ann' }, code: 4 },
  { name: 'neither, 3.1.1', connect: { protocolVersion: 4 }, code: 5 },
  { name: 'an unknown method of authentication', connect: { properties: { authenticationMethod: 'PLAIN' } }, code: 0x8c },
];

const refusedLogins: readonly AttackCase[] = credentials.map(({ name, connect, code }) => ({
  of: 'A7',
  name,
  run: async (attack) => {
    const login = await attack.login(connect);
    assert.equal(login.code, code);
    assert.deepEqual(await login.peer.fate(), []);
  },
}));

// ---- C1, C2 ----

function identity(of: ClassId, clientId: string): AttackCase {
  return {
    of,
    name: `client id ${clientId}`,
    run: async (attack) => {
      const peer = await attack.connect(as('ann', { clientId }));
      for (const topicName of ['own/victim/x', 'own/x', 'user/bob/x', 'secret/x']) assert.equal(await publishCode(peer, topicName), 0x87, topicName);
      const filters = ['own/#', 'own/+/#', 'own/+/x', 'own/victim/#', '+/victim/x', 'user/+', '#'];
      assert.deepEqual(
        await codesOf(peer, filters),
        filters.map(() => 0x87),
      );
    },
  };
}

// ---- C3 ----

const wills: readonly AttackCase[] = [
  ...['secret/x', 'own/victim/x', '$SYS/x', 'secret'].map(
    (topicName): AttackCase => ({
      of: 'C3',
      name: `will to ${topicName}`,
      run: async (attack) => {
        const { peer, code } = await attack.login(as('ann', { will: will(topicName, true) }));
        assert.equal(code, 0x87);
        assert.deepEqual(await peer.fate(), []);
      },
    }),
  ),
  {
    of: 'C3',
    name: 'right taken between CONNECT and the will',
    run: async (attack) => {
      const { authAdmin } = attack.lab.node;
      const hears = await hearing(attack, 'open/#');
      const dies = await attack.connect(as('ann', { will: will('open/will') }));
      await authAdmin.setRules({ kind: 'clientid', id: 'attacker' }, [{ permission: 'deny', action: 'publish', topic: 'open/#' }]);
      dies.reset();
      await eventually(
        () => 'the connection ends',
        () => attack.lab.node.broker.client('attacker') === undefined,
      );
      assert.deepEqual(await hears.alive(), []);
      await authAdmin.setRules({ kind: 'clientid', id: 'attacker' }, []);
    },
  },
];

export const accessCases: readonly AttackCase[] = [
  ...sideEffects,
  ...refusedLogins,
  ...['#', '+', 'a/+', '../victim', '%u', '${clientid}', '${username}', '/', 'victim/x'].map((id) => identity('C1', id)),
  ...['.*', '[a-z]*', 'a|victim', '-', '\\', '^victim$', '(victim)', '(?:)'].map((id) => identity('C2', id)),
  ...wills,
];

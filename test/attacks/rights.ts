// What a client hears and reaches without the right, over the rules of `access.ts`: C4 to C8, C11, C12.
import assert from 'node:assert/strict';
import type { ConnectPacket } from '#mqtt/packet.js';
import { matches } from '#mqtt/topic.js';
import type { StarmeshNode } from '#node/create-node.js';
import { makeMessage } from '#session/message.js';
import { as, codesOf, hearing, lasting, publishCode } from './access.js';
import { type AttackCase, publish, subscribe, utf8 } from './attack.js';

/** The broker's own retained message, put there and taken away again. */
function retain(node: StarmeshNode, topicName: string, text: string): Promise<void> {
  return new Promise((done) => {
    node.broker.publishOwn(makeMessage(topicName, utf8(text), 1, true, undefined, Number.POSITIVE_INFINITY, ''), () => done());
  });
}

function kick(node: StarmeshNode, clientId: string): Promise<boolean> {
  return new Promise((done) => node.broker.kick(clientId, done));
}

// ---- C4, C5, C8 ----

const contents: readonly AttackCase[] = [
  ...['secret/r', 'secret/#', '+/r', '#', '$share/g/secret/r', '$share/g/#'].map(
    (topicFilter): AttackCase => ({
      of: 'C4',
      name: `retained secret by ${topicFilter}`,
      run: async (attack) => {
        await retain(attack.lab.node, 'secret/r', 'hidden');
        const peer = await attack.connect(as('ann'));
        const [code = 0] = await codesOf(peer, [topicFilter]);
        assert.ok(code >= 0x80);
        assert.deepEqual(await peer.alive(), []);
        await retain(attack.lab.node, 'secret/r', '');
      },
    }),
  ),
  {
    of: 'C4',
    name: 'the same filter again after the right was taken',
    run: async (attack) => {
      const { node } = attack.lab;
      await retain(node, 'open/r', 'hidden');
      const peer = await attack.connect(as('ann'));
      assert.deepEqual(await codesOf(peer, ['open/r']), [0]);
      await peer.next('publish');
      await node.authAdmin.setRules({ kind: 'username', id: 'ann' }, [{ permission: 'deny', action: 'subscribe', topic: 'open/#' }]);
      assert.deepEqual(await codesOf(peer, ['open/r']), [0x87]);
      assert.deepEqual(await peer.alive(), []);
      await node.authAdmin.setRules({ kind: 'username', id: 'ann' }, []);
      await retain(node, 'open/r', '');
    },
  },
  ...[true, false].map(
    (online): AttackCase => ({
      of: 'C5',
      name: `kicked while ${online ? 'connected' : 'away with a queue'}, right taken before`,
      run: async (attack) => {
        const { node } = attack.lab;
        const first = await attack.connect(as('ann', lasting));
        first.send(subscribe(['open/q'], 1, 1));
        await first.next('suback');
        if (!online) first.reset();
        const other = await attack.connect(as('bob', { clientId: 'other' }));
        if (!online) await publishCode(other, 'open/q');
        await node.authAdmin.setRules({ kind: 'username', id: 'ann' }, [{ permission: 'deny', action: 'subscribe', topic: 'open/#' }]);
        assert.equal(await kick(node, 'attacker'), true);
        if (online) assert.deepEqual(await first.fate(), ['disconnect 0x98']);
        assert.equal(await publishCode(other, 'open/q'), 0x10);
        const { peer, sessionPresent } = await attack.login(as('ann', lasting));
        assert.equal(sessionPresent, false);
        assert.deepEqual(await codesOf(peer, ['open/q']), [0x87]);
        assert.deepEqual(await peer.alive(), []);
        await node.authAdmin.setRules({ kind: 'username', id: 'ann' }, []);
        await kick(node, 'attacker');
      },
    }),
  ),
  {
    of: 'C5',
    name: 'account deleted while messages wait',
    run: async (attack) => {
      const { authAdmin } = attack.lab.node;
      await authAdmin.addUser('carl', 'carl password', false);
      const first = await attack.connect(as('carl', lasting));
      first.send(subscribe(['open/q'], 1, 1));
      await first.next('suback');
      first.reset();
      await publishCode(await attack.connect(as('bob', { clientId: 'other' })), 'open/q');
      await authAdmin.deleteUser('carl');
      const { peer, code } = await attack.login(as('carl', lasting));
      assert.equal(code, 0x86);
      assert.deepEqual(await peer.fate(), []);
      assert.equal(await kick(attack.lab.node, 'attacker'), true);
    },
  },
];

/** Bob comes with the client id of ann, whose session has a subscription and a message that waits. */
function hijack(name: string, online: boolean, more: Partial<ConnectPacket>): AttackCase {
  return {
    of: 'C8',
    name,
    run: async (attack) => {
      const victim = await attack.connect(as('ann', { ...lasting, clientId: 'victim' }));
      victim.send(subscribe(['user/ann/#'], 1, 1));
      await victim.next('suback');
      if (!online) victim.reset();
      const other = await attack.connect(as('honest', { clientId: 'other' }));
      if (!online) assert.equal(await publishCode(other, 'user/ann/x'), 0);
      const { peer, sessionPresent } = await attack.login(as('bob', { ...lasting, ...more, clientId: 'victim' }));
      assert.equal(sessionPresent, false);
      assert.equal(await publishCode(other, 'user/ann/x'), 0x10);
      assert.deepEqual(await peer.alive(), []);
      await kick(attack.lab.node, 'victim');
    },
  };
}

const hijacks: readonly AttackCase[] = [
  hijack('of a client that is away, with a queue', false, {}),
  hijack('of a client that is connected', true, {}),
  hijack('without Clean Start, 3.1.1', false, { protocolVersion: 4 }),
  hijack('with Clean Start', false, { cleanStart: true }),
];

// ---- C6, C7 ----

const refusedFilters = [
  '$share/g/secret/#',
  '$share/g/#',
  '$share/g/+/x',
  '$share//secret/#',
  '$share/secret/#',
  '$share/+/secret/#',
  '+/x',
  '+/+',
  '#',
  'secret',
  'secret/+/#',
  '+/#',
];

const filters: readonly AttackCase[] = [
  ...refusedFilters.map(
    (topicFilter): AttackCase => ({
      of: 'C6',
      name: `secret/# is denied: ${topicFilter}`,
      run: async (attack) => {
        const peer = await attack.connect(as('ann'));
        if (/^\$share\/(\+|)\//.test(topicFilter)) {
          // No name of a group: it costs the connection. [MQTT-4.8.2-2]
          peer.send(subscribe([topicFilter]));
          assert.deepEqual(await peer.fate(), ['disconnect 0x8f']);
          return;
        }
        const [code = 0] = await codesOf(peer, [topicFilter]);
        assert.ok([0x87, 0x8f, 0x9e].includes(code), `${code}`);
        const honest = await attack.connect(as('honest', { clientId: 'publishes' }));
        assert.equal(await publishCode(honest, 'secret/x'), 0x10);
        assert.deepEqual(await peer.alive(), []);
      },
    }),
  ),
  {
    of: 'C6',
    name: 'a topic alias set by a denied PUBLISH',
    run: async (attack) => {
      const hears = await hearing(attack, 'secret/#');
      const peer = await attack.connect(as('ann'));
      for (const topicName of ['secret/x', '', '']) peer.send(publish(topicName, 'x', { qos: 1, packetId: 1, properties: { topicAlias: 1 } }));
      assert.deepEqual(await peer.alive(), ['puback 0x87', 'puback 0x87', 'puback 0x87']);
      assert.deepEqual(await hears.alive(), []);
    },
  },
  ...['$SYS/brokers', '$SYS/', '$CONTROL/x', '$share/g/x', '$queue/x', '$delayed/1/secret/x', '$MQTT/x'].map(
    (topicName): AttackCase => ({
      of: 'C7',
      name: `PUBLISH to ${topicName}`,
      run: async (attack) => {
        const hears = await hearing(attack, '#');
        assert.equal(await publishCode(await attack.connect(as('ann')), topicName), 0x87);
        assert.deepEqual(await hears.alive(), []);
      },
    }),
  ),
  {
    of: 'C7',
    name: '# and + do not reach $SYS, whoever publishes there',
    run: async (attack) => {
      const hears = await hearing(attack, '#');
      assert.deepEqual(await codesOf(hears, ['+/x', '+/#']), [0, 0]);
      assert.equal(await publishCode(await attack.connect(as('honest', { clientId: 'publishes' })), '$SYS/x'), 0x10);
      assert.deepEqual(await hears.alive(), []);
    },
  },
];

// ---- C11, C12 ----

const looksAlike = [
  'secret/x',
  'Secret/x',
  'secret//x',
  'secret/',
  'secret',
  '/secret/x',
  'secre/x',
  'secret\u200b/x',
  'se\u0301cret/x',
  'sécret/x',
  'secretx',
  'secret /x',
  ' secret/x',
];

const both: readonly AttackCase[] = [
  {
    of: 'C11',
    name: 'names like secret/x: the rule holds exactly where the filter matches',
    run: async (attack) => {
      const peer = await attack.connect(as('ann'));
      for (const name of looksAlike) assert.equal(await publishCode(peer, name), matches('secret/#', name) ? 0x87 : 0x10, name);
    },
  },
  {
    of: 'C11',
    name: 'names like a client id: own/${clientid} in other shapes',
    run: async (attack) => {
      const peer = await attack.connect(as('ann'));
      for (const name of ['own/attacker/x', 'own/attacker', 'own/attacker//'] as const) assert.equal(await publishCode(peer, name), 0x10, name);
      for (const name of ['own/Attacker/x', 'own//attacker/x', 'own/attacker /x', 'own/attackers/x'])
        assert.equal(await publishCode(peer, name), 0x87, name);
    },
  },
  {
    of: 'C11',
    name: 'filters like secret/#: whoever hears a secret was denied',
    run: async (attack) => {
      const peer = await attack.connect(as('ann'));
      const tried = ['+', '+/', '/+', '+/x/y', 'Secret/#', '/secret/#', 'secret/+', '+/+/+', 'se/#'];
      const codes = await codesOf(peer, tried);
      for (const [i, filter] of tried.entries()) {
        const hits = ['secret', 'secret/', 'secret/x', 'secret/x/y'].some((name) => matches(filter, name));
        assert.equal(codes[i], hits ? 0x87 : 0, filter);
      }
    },
  },
  {
    of: 'C12',
    name: 'a rule that allowed is gone, on an open connection with the verdict in its cache',
    run: async (attack) => {
      const { authAdmin } = attack.lab.node;
      const peer = await attack.connect(as('ann'));
      assert.equal(await publishCode(peer, 'open/x'), 0x10);
      await authAdmin.setRules({ kind: 'username', id: 'ann' }, [{ permission: 'deny', action: 'publish', topic: 'open/x' }]);
      assert.equal(await publishCode(peer, 'open/x'), 0x87);
      await authAdmin.setRules({ kind: 'username', id: 'ann' }, []);
      assert.equal(await publishCode(peer, 'open/x'), 0x10);
    },
  },
  {
    of: 'C12',
    name: 'the password was changed, and the account deleted',
    run: async (attack) => {
      const { authAdmin } = attack.lab.node;
      await authAdmin.addUser('dora', 'dora password', false);
      await attack.connect(as('dora', { clientId: 'old' }));
      await authAdmin.updateUser('dora', { password: 'another' });
      assert.equal((await attack.login(as('dora'))).code, 0x86);
      await attack.connect({ username: 'dora', password: utf8('another') });
      await authAdmin.deleteUser('dora');
      assert.equal((await attack.login({ username: 'dora', password: utf8('another') })).code, 0x86);
    },
  },
  {
    of: 'C12',
    name: 'banned while connected',
    run: async (attack) => {
      const { authAdmin } = attack.lab.node;
      const peer = await attack.connect(as('ann'));
      await authAdmin.ban({ as: 'clientid', who: 'attacker' });
      assert.deepEqual(await peer.fate(), ['disconnect 0x98']);
      assert.equal((await attack.login(as('ann'))).code, 0x8a);
      await authAdmin.unban('clientid', 'attacker');
      await attack.connect(as('ann'));
    },
  },
];

export const rightCases: readonly AttackCase[] = [...contents, ...hijacks, ...filters, ...both];

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthClient } from './client.js';
import type { Plain } from './plain.js';
import { judge, type Rule, readRules, subscribeWish, type Wish } from './rule.js';
import { readTokenAcl } from './token-acl.js';

function rules(...list: readonly Plain[]): readonly Rule[] {
  const problems: string[] = [];
  const read = readRules(list, 'rules', problems);
  assert.deepEqual(problems, []);
  return read;
}

function client(clientId: string, username?: string, peer: string = '10.0.0.1:1'): AuthClient {
  return { clientId, username, peer, grant: undefined, disconnect: () => {} };
}

function publish(topic: string, qos: 0 | 1 | 2 = 0, retain: boolean = false): Wish {
  return { action: 'publish', topic, qos, retain };
}

test('every condition of a rule must hold', () => {
  const list = rules({
    permission: 'allow',
    action: 'publish',
    clientid: 'c',
    username_re: '^u[0-9]$',
    ipaddr: ['10.0.0.0/8', '::1'],
    qos: [1, 2],
    retain: true,
    topics: ['t/#'],
  });
  assert.equal(judge(list, client('c', 'u1'), publish('t/x', 1, true)), 'allow');
  for (const [who, wish] of [
    [client('d', 'u1'), publish('t/x', 1, true)],
    [client('c', 'u12'), publish('t/x', 1, true)],
    [client('c'), publish('t/x', 1, true)],
    [client('c', 'u1', '11.0.0.1:1'), publish('t/x', 1, true)],
    [client('c', 'u1', '[::2]:1'), publish('t/x', 1, true)],
    [client('c', 'u1'), publish('t/x', 0, true)],
    [client('c', 'u1'), publish('t/x', 1, false)],
    [client('c', 'u1'), publish('s/x', 1, true)],
    [client('c', 'u1'), subscribeWish('t/x', 1)],
  ] as const) {
    assert.equal(judge(list, who, wish), undefined);
  }
  assert.equal(judge(list, client('c', 'u1', '[::1]:1'), publish('t', 2, true)), 'allow');
});

test('the first rule that speaks of the wish decides; retain is no condition of a SUBSCRIBE', () => {
  const list = rules(
    { permission: 'deny', action: 'all', topics: ['a/b'] },
    { permission: 'allow', action: 'sub', retain: true, topic: 'a/#' },
    { permission: 'deny', action: 'pub' },
  );
  const who = client('c');
  assert.equal(judge(list, who, publish('a/b')), 'deny');
  assert.equal(judge(list, who, publish('$SYS/x')), 'deny');
  assert.equal(judge(list, who, subscribeWish('a/c', 0)), 'allow');
  assert.equal(judge(list, who, subscribeWish('a/+', 0)), 'deny');
  assert.equal(judge(list, who, subscribeWish('b', 0)), undefined);
});

test('how messages are shared out changes no right', () => {
  const list = rules({ permission: 'allow', action: 'subscribe', topics: ['open/+'] });
  assert.equal(judge(list, client('c'), subscribeWish('$share/group/open/+', 1)), 'allow');
  assert.equal(judge(list, client('c'), subscribeWish('$share/open/x', 1)), undefined);
  assert.equal(judge(rules({ permission: 'deny', topics: ['secret/#'] }), client('c'), subscribeWish('$share/g/#', 1)), 'deny');
});

test('rules of a token', () => {
  const lists = readTokenAcl({ pub: ['up/${clientid}'], sub: 'down/#' });
  assert.ok(typeof lists !== 'string');
  assert.equal(judge(lists, client('c'), publish('up/c')), 'allow');
  assert.equal(judge(lists, client('c'), publish('up/d')), 'deny');
  assert.equal(judge(lists, client('c'), subscribeWish('down/x', 0)), 'allow');
  assert.equal(judge(lists, client('c'), subscribeWish('up/c', 0)), 'deny');
  for (const bad of [7, 'x', { pub: [7] }, { shoe: [] }, [{ topic: 'x' }], { pub: ['a/#/b'] }] as const)
    assert.equal(typeof readTokenAcl(bad as Plain), 'string');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AclFileError, isAclFile, parseAclFile } from './acl-file.js';
import { readRules } from './rule.js';

const usual = `
%% -------- comment {deny, all}.
{allow, {username, {re, "^dashboard$"}}, subscribe, ["$SYS/#"]}.
{allow, {ipaddr, "127.0.0.1"}, all, ["$SYS/#", "#"]}.
{deny, all, subscribe, ["$SYS/#", {eq, "#"}, {eq, "+/#"}]}.
{allow, {'and', [{clientid, "c"}, {'or', [{username, <<"a">>}, {ipaddrs, ["10.0.0.0/8"]}]}]}, {publish, [{qos, [0, 1]}, {retain, false}]}, ["c/\${clientid}/x"]}.
{allow, all}.
`;

test('the usual file', () => {
  assert.ok(isAclFile(usual));
  const plain = parseAclFile(usual);
  const problems: string[] = [];
  const rules = readRules(plain, 'acl', problems);
  assert.deepEqual(problems, []);
  assert.deepEqual(
    rules.map((r) => `${r.permission} ${r.action} ${r.qosMask} ${r.topics.length}`),
    ['allow subscribe 7 1', 'allow all 7 2', 'deny subscribe 7 3', 'allow publish 3 1', 'allow publish 3 1', 'allow all 7 0'],
  );
  assert.deepEqual(plain[3], {
    clientid: 'c',
    username: 'a',
    permission: 'allow',
    action: 'publish',
    qos: [0, 1],
    retain: 'false',
    topics: ['c/${clientid}/x'],
  });
});

test('other files are not taken for one', () => {
  for (const other of ['{"rules": []}', 'rules = []', '[]', '{ allowed: 1 }']) assert.equal(isAclFile(other), false, other);
});

test('mistakes are named with their line', () => {
  for (const bad of [
    '{allow}.',
    '{allow, all}',
    '\n{maybe, all}.',
    '{allow, {shoe, "x"}}.',
    '{allow, all, subscribe, "x"}.',
    '{allow, "',
    '{{{{{{{{{{{{{{{{{{{',
  ]) {
    assert.throws(
      () => parseAclFile(bad),
      (error) => error instanceof AclFileError && /^line [0-9]+: /.test(error.message),
      bad,
    );
  }
});

test('whatever the text, it answers or refuses', () => {
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    '.',
    'allow',
    'deny',
    'all',
    '"a"',
    "'and'",
    'eq',
    're',
    '1',
    ' ',
    '\n',
    '%',
    'username',
    'publish',
    '<<"b">>',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      try {
        readRules(parseAclFile(pieces.join('')), 'acl', []);
      } catch (error) {
        assert.ok(error instanceof AclFileError);
      }
    }),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { defaultAlgorithm } from './password.js';
import { parseUserFile, UserFileError } from './user-file.js';

test('CSV and JSON, plain and hashed', () => {
  const csv = 'user_id,password,is_superuser\nann,"a,""b""",true\r\n\nbob,x,false';
  assert.deepEqual(parseUserFile(csv, 'plain', defaultAlgorithm), [
    { userId: 'ann', superuser: true, password: 'a,"b"' },
    { userId: 'bob', superuser: false, password: 'x' },
  ]);
  const json = JSON.stringify([{ user_id: 'ann', password_hash: 'ab12', salt: 's', is_superuser: true }]);
  assert.deepEqual(parseUserFile(json, 'hash', { name: 'sha256', saltPosition: 'prefix' }), [
    { userId: 'ann', superuser: true, password: { name: 'sha256', saltPosition: 'prefix', salt: 's', hash: 'ab12' } },
  ]);
});

test('mistakes say where, and no password', () => {
  for (const [text, type] of [
    ['', 'plain'],
    ['user,password\na,hidden', 'plain'],
    ['user_id,password\nhidden', 'plain'],
    ['user_id,password\n,hidden', 'plain'],
    ['user_id,password\na,', 'plain'],
    ['user_id,password_hash\na,hidden', 'hash'],
    ['[{"user_id": "a", "password": hidden}]', 'plain'],
    ['[1]', 'plain'],
    ['user_id,password\n"a,hidden', 'plain'],
  ] as const) {
    assert.throws(
      () => parseUserFile(text, type, { name: 'sha256', saltPosition: 'prefix' }),
      (e) => e instanceof UserFileError && !e.message.includes('hidden'),
      text,
    );
  }
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', '\r', 'user_id', '[', '{', '}', ']', ':') }), (text) => {
      try {
        parseUserFile(text, 'plain', defaultAlgorithm);
      } catch (error) {
        assert.ok(error instanceof UserFileError);
      }
    }),
  );
});

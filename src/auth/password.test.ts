import assert from 'node:assert/strict';
import { createHash, pbkdf2Sync } from 'node:crypto';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { utf8Encode } from '#base/utf8.js';
import type { Metrics } from '#env/metrics.js';
import { type HashAlgorithm, type PasswordHash, PasswordHasher } from './password.js';
import { isAffordable } from './rows.js';
import { Secret } from './secret.js';

const counters = new Map<string, { value: number }>();
const metrics: Metrics = {
  counter: (name) => counters.get(name) ?? counters.set(name, { value: 0 }).get(name) ?? { value: 0 },
  gauge: () => ({ value: 0 }),
  gaugeFn: () => {},
  histogram: () => ({ observe: () => {} }),
};

function make(hasher: PasswordHasher, password: string, algorithm: HashAlgorithm): Promise<PasswordHash | undefined> {
  return new Promise((done) => hasher.make(utf8Encode(password), algorithm, done));
}

function verify(hasher: PasswordHasher, password: string, hash: PasswordHash): Promise<string> {
  return new Promise((done) => hasher.verify(utf8Encode(password), hash, done));
}

test('every algorithm knows its own passwords and no others', async () => {
  const hasher = new PasswordHasher(metrics);
  const algorithms: HashAlgorithm[] = [
    { name: 'scrypt', n: 1024, r: 8, p: 1 },
    { name: 'bcrypt', saltRounds: 5 },
    { name: 'pbkdf2', macFun: 'sha256', iterations: 1000, dkLength: 32 },
    { name: 'sha256', saltPosition: 'prefix' },
    { name: 'sha512', saltPosition: 'suffix' },
    { name: 'sha', saltPosition: 'disable' },
    { name: 'md5', saltPosition: 'prefix' },
    { name: 'plain', saltPosition: 'disable' },
  ];
  for (const algorithm of algorithms) {
    const hash = await make(hasher, 'pass wörd', algorithm);
    assert.ok(hash !== undefined && isAffordable(hash), algorithm.name);
    assert.equal(await verify(hasher, 'pass wörd', hash), 'match', algorithm.name);
    assert.equal(await verify(hasher, 'pass word', hash), 'mismatch', algorithm.name);
    assert.equal(await verify(hasher, '', hash), 'mismatch', algorithm.name);
  }
  hasher.close();
});

test('hashes of other systems', async () => {
  const hasher = new PasswordHasher(metrics);
  const sha = createHash('sha256').update('saltpublic').digest('hex');
  assert.equal(await verify(hasher, 'public', { name: 'sha256', saltPosition: 'prefix', salt: 'salt', hash: sha }), 'match');
  const derived = pbkdf2Sync('public', 'salt', 4096, 20, 'sha1').toString('hex');
  assert.equal(await verify(hasher, 'public', { name: 'pbkdf2', macFun: 'sha1', iterations: 4096, salt: 'salt', hash: derived }), 'match');
  // Published test vector of bcrypt.
  const bcrypt = '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW';
  assert.equal(await verify(hasher, 'U*U', { name: 'bcrypt', hash: bcrypt }), 'match');
  assert.equal(await verify(hasher, 'U*V', { name: 'bcrypt', hash: bcrypt }), 'mismatch');
  hasher.close();
});

test('a hash that cannot be computed matches nothing', async () => {
  const hasher = new PasswordHasher(metrics);
  assert.equal(await verify(hasher, 'x', { name: 'scrypt', n: 3, r: 8, p: 1, salt: 's', hash: 'ab' }), 'mismatch');
  assert.equal(await verify(hasher, 'x', { name: 'pbkdf2', macFun: 'none', iterations: 1, salt: 's', hash: 'ab' }), 'mismatch');
  assert.equal(await verify(hasher, 'x', { name: 'bcrypt', hash: 'none' }), 'mismatch');
  hasher.close();
  assert.equal(isAffordable({ name: 'scrypt', n: 1 << 20, r: 8, p: 1, salt: '', hash: 'ab' }), false);
  assert.equal(isAffordable({ name: 'bcrypt', hash: `$2a$31$${'C'.repeat(53)}` }), false);
  assert.equal(isAffordable({ name: 'pbkdf2', macFun: 'sha256', iterations: 1e9, salt: '', hash: 'ab' }), false);
});

test('more logins than can wait are refused and counted', async () => {
  const hasher = new PasswordHasher(metrics);
  const hash = await make(hasher, 'x', { name: 'scrypt', n: 1024, r: 1, p: 1 });
  assert.ok(hash !== undefined);
  const outcomes = await Promise.all(Array.from({ length: 600 }, () => verify(hasher, 'x', hash)));
  assert.equal(outcomes.filter((o) => o === 'match').length, 502);
  assert.equal(outcomes.filter((o) => o === 'busy').length, 98);
  assert.equal(counters.get('starmesh_auth_hashing_refused_total')?.value, 98);
});

test('a secret does not show', () => {
  const secret = new Secret('hidden value');
  for (const shown of [`${secret}`, JSON.stringify({ secret }), inspect({ secret }, { showHidden: true, depth: 5 })])
    assert.ok(!shown.includes('hidden value'), shown);
  assert.equal(secret.reveal(), 'hidden value');
});

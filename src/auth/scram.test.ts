import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeScramKeys, type ScramKeys, ScramServer } from './scram.js';

const decoySecret = new Uint8Array(32);
// The example of RFC 7677, section 3.
const example = {
  keys: makeScramKeys('pencil', 'sha256', 4096, Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')),
  nonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal: 'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
};

function server(find: (name: string) => ScramKeys | undefined, nonce?: string): ScramServer {
  return new ScramServer({ hash: 'sha256', iterations: 4096, decoySecret, find, ...(nonce === undefined ? {} : { nonce }) });
}

test('the conversation of RFC 7677', () => {
  const scram = server((name) => (name === 'user' ? example.keys : undefined), example.nonce);
  assert.deepEqual(scram.step(example.clientFirst), { kind: 'continue', message: example.serverFirst });
  assert.deepEqual(scram.step(example.clientFinal), { kind: 'success', username: 'user', message: example.serverFinal });
  assert.equal(scram.step(example.clientFinal).kind, 'failed');
});

/** The client's side, from the RFC. */
function converse(scram: ScramServer, username: string, password: string): string {
  const bare = `n=${username.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=clientnonce`;
  const first = scram.step(`n,,${bare}`);
  if (first.kind !== 'continue') return first.kind;
  const [, nonce = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=([0-9]+)$/.exec(first.message) ?? [];
  assert.ok(nonce.startsWith('clientnonce') && nonce.length > 'clientnonce'.length + 16);
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256');
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  const withoutProof = `c=biws,r=${nonce}`;
  const signature = createHmac('sha256', createHash('sha256').update(clientKey).digest()).update(`${bare},${first.message},${withoutProof}`).digest();
  const proof = Buffer.from(clientKey.map((b, i) => b ^ (signature[i] ?? 0))).toString('base64');
  const last = scram.step(`${withoutProof},p=${proof}`);
  return last.kind === 'failed' ? last.reason : last.kind;
}

test('right, wrong and unknown', () => {
  const keys = makeScramKeys('right', 'sha256', 4096);
  const find = (name: string): ScramKeys | undefined => (name === 'a,b=c' ? keys : undefined);
  assert.equal(converse(server(find), 'a,b=c', 'right'), 'success');
  assert.equal(converse(server(find), 'a,b=c', 'wrong'), 'wrong');
  assert.equal(converse(server(find), 'nobody', 'right'), 'wrong');
});

test('a name without an account looks the same every time', () => {
  const saltOf = (name: string): string => {
    const step = server(() => undefined, 'fixed').step(`n,,n=${name},r=x`);
    return step.kind === 'continue' ? step.message : step.kind;
  };
  assert.equal(saltOf('nobody'), saltOf('nobody'));
  assert.notEqual(saltOf('nobody'), saltOf('somebody'));
});

test('another nonce, header or order is refused', () => {
  const first = example.clientFirst;
  for (const wrong of [
    example.clientFinal.replace('c=biws', 'c=eSws'),
    example.clientFinal.replace('r=rO', 'r=xO'),
    example.clientFinal.replace('p=d', 'p=e'),
    example.clientFinal.replace(/,p=.*/, ''),
    '',
  ]) {
    const scram = server(() => example.keys, example.nonce);
    scram.step(first);
    assert.equal(scram.step(wrong).kind, 'failed', wrong);
  }
  for (const wrong of ['p=tls-unique,,n=user,r=x', 'n,,m=x,n=user,r=x', 'n,a=other,n=user,r=x', 'n,,n=,r=x', 'n,,n=us=er,r=x', 'n,,r=x', '']) {
    assert.equal(server(() => example.keys).step(wrong).kind, 'failed', wrong);
  }
});

test('whatever is sent, it answers', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string(), fc.constant(example.clientFirst), fc.constant(example.clientFinal)), { maxLength: 4 }), (messages) => {
      const scram = server(() => example.keys);
      for (const m of messages) assert.notEqual(scram.step(m).kind, 'success');
    }),
  );
});

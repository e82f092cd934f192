import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type HttpCall, readHttpRequest } from './http-request.js';
import { type PlainObject, PlainReader } from './plain.js';

const known = ['clientid', 'username', 'password'];

function callOf(settings: PlainObject, values: Readonly<Record<string, string>>): HttpCall | undefined {
  const problems: string[] = [];
  const make = readHttpRequest(new PlainReader(settings, 'http', problems), known);
  assert.ok(make !== undefined, problems.join('; '));
  return make((name) => values[name]);
}

const anything = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('..', '.', '%2e%2e', 'a/../b', 'a&b=c', '"}, "x": "', '${password}', 'a\r\nb', '#', '?'),
);

test('values stay where they are put: path, query, form and JSON', () => {
  fc.assert(
    fc.property(anything, anything, (clientid, username) => {
      const expected = { clientid: Buffer.from(clientid).toString(), username: Buffer.from(username).toString() };
      const body = { id: '${clientid}', nested: { name: 'user:${username}' } };
      const json = callOf({ url: 'http://h:1/auth', body }, { clientid, username, password: 'never' });
      assert.deepEqual(JSON.parse(json?.body ?? ''), { id: expected.clientid, nested: { name: `user:${expected.username}` } });
      const flat = { id: '${clientid}', name: '${username}' };
      const form = callOf(
        { url: 'http://h:1/auth', body: flat, headers: { 'content-type': 'application/x-www-form-urlencoded' } },
        { clientid, username },
      );
      assert.deepEqual(Object.fromEntries(new URLSearchParams(form?.body)), { id: expected.clientid, name: expected.username });
      const get = callOf({ method: 'get', url: 'http://h:1/auth?fixed=1&u=${username}', body: { id: '${clientid}' } }, { clientid, username });
      const url = new URL(get?.url ?? '');
      assert.equal(url.origin + url.pathname, 'http://h:1/auth');
      assert.deepEqual(Object.fromEntries(url.searchParams), { fixed: '1', u: expected.username, id: expected.clientid });
    }),
  );
});

test('a value makes no steps in a path', () => {
  fc.assert(
    fc.property(anything, (clientid) => {
      const call = callOf({ url: 'http://h:1/auth/${clientid}/check' }, { clientid });
      if (call === undefined) return assert.ok(clientid === '.' || clientid === '..', clientid);
      const url = new URL(call.url);
      assert.equal(url.origin, 'http://h:1');
      const parts = url.pathname.split('/');
      assert.deepEqual(
        [parts[1], decodeURIComponent(parts[2] ?? ''), parts[3], parts.length],
        ['auth', Buffer.from(clientid).toString(), 'check', 4],
      );
      assert.equal(url.search + url.hash, '');
    }),
  );
});

test('refused settings say which and why', () => {
  const problemsOf = (settings: PlainObject): string => {
    const problems: string[] = [];
    assert.equal(readHttpRequest(new PlainReader(settings, 'http', problems), known), undefined);
    return problems.join('; ');
  };
  assert.match(problemsOf({ url: 'http://${clientid}.example.com/' }), /http\.url/);
  assert.match(problemsOf({ url: 'http://user@h/' }), /http\.url/);
  assert.match(problemsOf({ url: 'ftp://h/' }), /http\.url/);
  assert.match(problemsOf({}), /http\.url is missing/);
  assert.match(problemsOf({ url: 'http://h/', headers: { 'x-id': '${clientid}' } }), /placeholder/);
  assert.match(problemsOf({ url: 'http://h/', headers: { a: 'b\r\nc: d' } }), /no HTTP header/);
  assert.match(problemsOf({ url: 'http://h/', body: { a: '${secret}' } }), /\$\{secret\} is not known/);
});

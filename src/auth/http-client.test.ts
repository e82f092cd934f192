import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import type { Metrics } from '#env/metrics.js';
import { fetchHttp, HttpPool, type HttpResult } from './http-client.js';
import type { HttpCall } from './http-request.js';

let server: Server;
let url: string;

before(async () => {
  server = createServer((request, response) => {
    if (request.url === '/ok') response.writeHead(200, { 'content-type': 'application/json' }).end(`{"method": "${request.method}"}`);
    else if (request.url === '/moved') response.writeHead(302, { location: `${url}/ok` }).end();
    else if (request.url === '/large') response.end('x'.repeat(2_000_000));
    // `/never` is left open.
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

function call(path: string, method: 'GET' | 'POST' = 'POST'): HttpCall {
  return { method, url: url + path, headers: { 'content-type': 'application/json' }, body: method === 'POST' ? '{}' : undefined };
}

test('answers, and what counts as none', async () => {
  assert.deepEqual(await fetchHttp(call('/ok'), 5_000), { kind: 'answer', status: 200, contentType: 'application/json', body: '{"method": "POST"}' });
  assert.equal((await fetchHttp(call('/ok', 'GET'), 5_000)).kind, 'answer');
  for (const [path, reason] of [
    ['/moved', /./],
    ['/large', /longer/],
    ['/never', /timeout/],
  ] as const) {
    const result = await fetchHttp(call(path), path === '/never' ? 50 : 5_000);
    assert.ok(result.kind === 'failed' && reason.test(result.reason) && !result.reason.includes(url), path);
  }
  const nobody = await fetchHttp({ ...call('/'), url: 'http://127.0.0.1:1/' }, 5_000);
  assert.equal(nobody.kind, 'failed');
});

const counters = new Map<string, { value: number }>();
const metrics: Metrics = {
  counter: (name) => {
    const counter = counters.get(name) ?? { value: 0 };
    counters.set(name, counter);
    return counter;
  },
  gauge: () => ({ value: 0 }),
  gaugeFn: () => {},
  histogram: () => ({ observe: () => {} }),
};

test('so many at a time, so many that wait, the rest is refused', async () => {
  const waiting: ((result: HttpResult) => void)[] = [];
  const pool = new HttpPool(() => new Promise((done) => waiting.push(done)), { poolSize: 2, timeoutMs: 1 }, metrics, 'x');
  const results: HttpResult[] = [];
  for (let i = 0; i < 1_010; i++) pool.request(call('/ok'), (result) => results.push(result));
  assert.equal(waiting.length, 2);
  assert.equal(results.length, 8);
  assert.ok(results.every((r) => r.kind === 'failed'));
  assert.equal(counters.get('starmesh_auth_http_refused_total')?.value, 8);
  for (let done = waiting.shift(); done !== undefined; done = waiting.shift()) {
    done({ kind: 'answer', status: 204, contentType: '', body: '' });
    await new Promise((turn) => setImmediate(turn));
    assert.ok(waiting.length <= 2);
  }
  assert.equal(results.length, 1_010);
});

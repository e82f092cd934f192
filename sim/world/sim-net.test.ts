import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concatBytes } from '#base/bytes.js';
import type { Connection, NetError } from '#env/net.js';
import { World } from './scheduler.js';
import { createSimNode, type SimNode } from './sim-env.js';
import { SimNet } from './sim-net.js';

interface End {
  c: Connection | undefined;
  got: Uint8Array[];
  drains: number;
  closed: boolean;
  error: NetError | undefined;
}

function collect(end: End): (c: Connection) => void {
  return (c) => {
    end.c = c;
    c.handler = {
      onData: (chunk) => void end.got.push(chunk),
      onDrain: () => void end.drains++,
      onClose: (error) => {
        assert.equal(end.closed, false, 'onClose once');
        end.closed = true;
        end.error = error;
      },
    };
  };
}

function makeEnd(): End {
  return { c: undefined, got: [], drains: 0, closed: false, error: undefined };
}

function setup(seed: number = 1): { world: World; net: SimNet; a: SimNode; b: SimNode; near: End; far: End } {
  const world = new World({ seed });
  const net = new SimNet(world);
  const a = createSimNode(world, net, 'a@a');
  const b = createSimNode(world, net, 'b@b');
  const near = makeEnd();
  const far = makeEnd();
  b.env.net.listen(
    { host: '0.0.0.0', port: 1 },
    collect(far),
    () => {},
    () => assert.fail('cannot listen'),
  );
  a.env.net.connect({ host: 'b', port: 1 }, { timeoutMs: 1_000 }, collect(near), (e) => assert.fail(e));
  world.runFor(10);
  assert.ok(near.c !== undefined && far.c !== undefined);
  return { world, net, a, b, near, far };
}

function dial(node: SimNode, host: string, port: number, timeoutMs: number): { end: End; error: () => string | undefined } {
  const end = makeEnd();
  let code: string | undefined;
  node.env.net.connect({ host, port }, { timeoutMs }, collect(end), (e) => {
    code = e.code;
  });
  return { end, error: () => code };
}

test('bytes arrive complete and in order, in chunks of chance, with backpressure at both ends', () => {
  for (let seed = 1; seed < 20; seed++) {
    const { world, a, near, far } = setup(seed);
    const sent: Uint8Array[] = [];
    let full = false;
    far.c?.pause();
    for (let i = 0; i < 60; i++) {
      const bytes = a.env.random.bytes(a.env.random.int(20_000));
      sent.push(bytes);
      full = near.c?.write(bytes) === false || full;
    }
    world.runFor(1_000);
    assert.equal(full, true);
    assert.equal(far.got.length, 0);
    assert.equal(near.drains, 0);
    far.c?.resume();
    world.runFor(1_000);
    assert.deepEqual(concatBytes(far.got), concatBytes(sent));
    assert.equal(near.drains, 1);
    assert.equal(near.c?.bufferedBytes, 0);
  }
});

test('end delivers everything, then both ends close in order', () => {
  const { world, near, far } = setup();
  near.c?.write(new Uint8Array(700_000).fill(7));
  near.c?.end();
  assert.equal(near.c?.write(Uint8Array.of(1)), false);
  world.runFor(100);
  assert.equal(concatBytes(far.got).length, 700_000);
  assert.deepEqual([near.closed, near.error, far.closed, far.error], [true, undefined, true, undefined]);
});

test('changing bytes after write stops the run', () => {
  const { world, near } = setup();
  const bytes = new Uint8Array(100);
  near.c?.write(bytes);
  bytes[3] = 1;
  assert.throws(() => world.runFor(10), /changed after/);
});

test('a cut stalls the stream; after a heal nothing is missing', () => {
  const { world, net, near, far } = setup();
  net.cut('a@a', 'b@b');
  near.c?.write(Uint8Array.of(1, 2));
  far.c?.write(Uint8Array.of(3));
  world.runFor(5_000);
  assert.equal(far.got.length + near.got.length, 0);
  near.c?.write(Uint8Array.of(4));
  net.healAll();
  world.runFor(500);
  assert.deepEqual([...concatBytes(far.got)], [1, 2, 4]);
  assert.deepEqual([...concatBytes(near.got)], [3]);
  world.runFor(60_000);
  assert.equal(near.closed || far.closed, false);
});

test('one-way loss: bytes pass, acknowledgements do not, and the sender gives up; the other end hears at its next write', () => {
  const { world, net, near, far } = setup();
  net.cutOneWay('b@b', 'a@a');
  near.c?.write(Uint8Array.of(1));
  world.runFor(100);
  assert.deepEqual([...concatBytes(far.got)], [1]);
  world.runFor(60_000);
  assert.equal(near.error?.code, 'ETIMEDOUT');
  assert.equal(far.closed, false);
  net.healAll();
  far.c?.write(Uint8Array.of(2));
  world.runFor(1_000);
  assert.equal(far.error?.code, 'ECONNRESET');
});

test('a connection that breaks at one end: the other hears at its next write, and not across a cut', () => {
  const { world, net, near, far } = setup();
  net.cut('a@a', 'b@b');
  net.breakEnds('a@a', 'b@b');
  far.c?.write(Uint8Array.of(1));
  world.runFor(1_000);
  assert.equal(near.error?.code, 'ECONNRESET');
  assert.equal(far.closed, false);
  net.healAll();
  world.runFor(1_000);
  assert.equal(far.error?.code, 'ECONNRESET');
  assert.equal(near.got.length, 0);
});

test('a delay of one direction leaves the other alone', () => {
  const { world, net, near, far } = setup();
  net.setOneWay('a@a', 'b@b', { delayMs: 500, jitterMs: 0 });
  near.c?.write(Uint8Array.of(1));
  far.c?.write(Uint8Array.of(2));
  world.runFor(400);
  assert.deepEqual([...concatBytes(near.got)], [2]);
  assert.equal(far.got.length, 0);
  world.runFor(200);
  assert.deepEqual([...concatBytes(far.got)], [1]);
});

test('a killed process: connections close, dialling is refused; across a cut it only times out', () => {
  const { world, net, a, b, near } = setup();
  b.crash({ kind: 'kill' });
  world.runFor(10);
  assert.equal(near.closed, true);
  const refused = dial(a, 'b', 1, 500);
  world.runFor(10);
  assert.equal(refused.error(), 'ECONNREFUSED');
  net.cut('a@a', 'b@b');
  const lost = dial(a, 'b', 1, 500);
  world.runFor(450);
  assert.equal(lost.error(), undefined);
  world.runFor(100);
  assert.equal(lost.error(), 'ETIMEDOUT');
});

test('a host without power is silent; back again, it resets what it does not know', () => {
  const { world, a, b, near } = setup();
  b.crash({ silent: true });
  near.c?.write(Uint8Array.of(1));
  const lost = dial(a, 'b', 1, 500);
  world.runFor(1_000);
  assert.deepEqual([near.closed, lost.error()], [false, 'ETIMEDOUT']);
  b.restart();
  world.runFor(1_000);
  assert.equal(near.error?.code, 'ECONNRESET');
});

test('a paused process is dialled by its kernel and reads nothing', () => {
  const { world, a, b, near, far } = setup();
  b.pause();
  near.c?.write(new Uint8Array(1_000_000));
  const again = dial(a, 'b', 1, 500);
  world.runFor(2_000);
  assert.equal(far.got.length, 0);
  assert.ok(again.end.c !== undefined);
  assert.ok((near.c?.bufferedBytes ?? 0) > 500_000);
  b.resume();
  world.runFor(100);
  assert.equal(concatBytes(far.got).length, 1_000_000);
});

test('delay and bandwidth hold', () => {
  const { world, net, near, far } = setup();
  net.setWay('a@a', 'b@b', { delayMs: 100, jitterMs: 0, bytesPerMs: 1_000 });
  const from = world.now;
  near.c?.write(new Uint8Array(50_000));
  world.runUntil(() => concatBytes(far.got).length === 50_000, 10_000);
  assert.ok(Math.abs(world.now - from - 150) < 1, `${world.now - from}`);
});

test('connections that break at random still close once at both ends', () => {
  const { world, net, near, far } = setup();
  net.faults.resetChance = 0.05;
  for (let i = 0; i < 200; i++) near.c?.write(new Uint8Array(10));
  world.runFor(100);
  assert.deepEqual([near.error?.code, far.error?.code], ['ECONNRESET', 'ECONNRESET']);
});

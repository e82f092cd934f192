import assert from 'node:assert/strict';
import { test } from 'node:test';
import { World } from './scheduler.js';
import { createSimNode } from './sim-env.js';
import { SimNet } from './sim-net.js';

function chatter(seed: number): World {
  const world = new World({ seed });
  const net = new SimNet(world);
  const names = ['a@a', 'b@b', 'c@c'];
  for (const name of names) {
    const { env } = createSimNode(world, net, name);
    env.net.listen(
      { host: '0.0.0.0', port: 1 },
      (c) => {
        c.handler = { onData: (chunk) => void c.write(chunk), onDrain: () => {}, onClose: () => {} };
      },
      () => {},
      () => assert.fail('cannot listen'),
    );
    const other = names[(names.indexOf(name) + 1) % 3] as string;
    const say = (): void => {
      env.net.connect(
        { host: other.slice(2), port: 1 },
        { timeoutMs: 100 },
        (c) => {
          c.handler = {
            onData: (chunk) => void (env.random.int(4) > 0 ? c.write(chunk) : c.end()),
            onDrain: () => {},
            onClose: () => env.clock.endOfTurn(say),
          };
          c.write(env.random.bytes(10));
        },
        () => assert.fail('cannot connect'),
      );
    };
    env.clock.setTimer(5, say);
  }
  world.runFor(200);
  return world;
}

test('the same seed gives the same trace, another seed another', () => {
  const [a, b, c] = [chatter(7), chatter(7), chatter(8)];
  assert.ok(a.events > 300);
  assert.equal(a.hash, b.hash);
  assert.equal(a.events, b.events);
  assert.notEqual(a.hash, c.hash);
});

test('events at one time run in the order they were scheduled; cancelled ones do not', () => {
  const world = new World({ seed: 1 });
  const seen: number[] = [];
  world.at(5, () => seen.push(2));
  world.at(1, () => seen.push(1));
  world.at(5, () => seen.push(3));
  world.at(5, () => seen.push(9)).cancel();
  assert.equal(world.runToIdle(100), true);
  assert.deepEqual(seen, [1, 2, 3]);
});

test('a paused process does nothing until it is resumed, then in order', () => {
  const world = new World({ seed: 1 });
  const node = createSimNode(world, new SimNet(world), 'a@a', { timerLateMs: 0 });
  const seen: number[] = [];
  const started = node.env.clock.now();
  for (const ms of [10, 20, 30]) node.env.clock.setTimer(ms, () => seen.push(Math.round(node.env.clock.now() - started)));
  world.runTo(15);
  node.pause();
  world.runTo(100);
  assert.deepEqual(seen, [10]);
  node.resume();
  world.runTo(101);
  assert.deepEqual(seen, [10, 100, 100]);
});

test('clocks: drift changes how long timers take, wall jumps change only the wall', () => {
  const world = new World({ seed: 1 });
  const node = createSimNode(world, new SimNet(world), 'a@a', { timerLateMs: 0 });
  const { clock } = node.env;
  const mono = clock.now();
  const wall = clock.wallNow();
  node.setDrift(2);
  let rangAt = 0;
  clock.setTimer(100, () => {
    rangAt = world.now;
  });
  world.runTo(60);
  assert.equal(rangAt, 50);
  assert.equal(clock.now() - mono, 120);
  assert.equal(clock.wallNow() - wall, 120);
  node.jumpWall(-3_600_000);
  assert.equal(clock.now() - mono, 120);
  assert.equal(clock.wallNow() - wall, 120 - 3_600_000);
});

test('nothing of an ended life runs: timers, end of turn, connections', () => {
  const world = new World({ seed: 1 });
  const net = new SimNet(world);
  const node = createSimNode(world, net, 'a@a');
  let ran = 0;
  node.env.clock.setTimer(5, () => ran++);
  node.env.clock.endOfTurn(() => ran++);
  node.env.files.writeAtomic('f', Uint8Array.of(1), () => ran++);
  node.env.net.connect(
    { host: 'a', port: 9 },
    { timeoutMs: 10 },
    () => ran++,
    () => ran++,
  );
  node.crash();
  const env = node.restart();
  let second = 0;
  env.clock.setTimer(5, () => second++);
  world.runFor(1_000);
  assert.equal(ran, 0);
  assert.equal(second, 1);
});

test('with promises, every continuation runs before the next event', async () => {
  const world = new World({ seed: 1, usesPromises: true });
  const seen: string[] = [];
  world.at(1, () => {
    void (async () => {
      for (let i = 0; i < 10; i++) await Promise.resolve();
      seen.push('continued');
    })();
  });
  world.at(1, () => seen.push('next event'));
  await world.runForAsync(10);
  assert.deepEqual(seen, ['continued', 'next event']);
  assert.throws(() => world.runFor(1), /promises/);
});

test('an error says seed, time and node, and shows the logs', () => {
  const world = new World({ seed: 77 });
  const node = createSimNode(world, new SimNet(world), 'a@a');
  node.env.log.warn('something odd', { n: 3 });
  node.env.clock.setTimer(5, () => {
    throw new Error('boom');
  });
  assert.throws(() => world.runFor(10), /boom[\s\S]*node 1[\s\S]*seed 77[\s\S]*something odd {"n":3}/);
});

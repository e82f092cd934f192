// Links under random faults: whatever happens, frames of one link come in order and at most once, ups
// and downs alternate, every call ends exactly once, and after the last fault all links are up again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concatBytes } from '#base/bytes.js';
import type { Lane } from '#link/api.js';
import { FrameWriter, frameTypes } from '#link/frame.js';
import { DialerHandshake, refusals } from '#link/handshake.js';
import { encodeHello } from '#link/hello.js';
import { lanes } from '#link/options.js';
import { clusterPort, type LinkNode, linkWorld, text } from './link-bench.js';

interface Sender {
  readonly from: LinkNode;
  readonly to: LinkNode;
  next: number;
}

function chaos(seed: number): { hash: string; events: number; ups: number } {
  const { world, net, nodes } = linkWorld({ seed }, [{}, {}, { role: 'replicant' }, { role: 'replicant' }]);
  const prng = world.prng.fork('chaos');
  for (const n of nodes) n.setTargets(nodes);
  net.faults.splitChance = 0.5;
  const data: Lane[] = ['raft', 'rlog', 'forward'];
  const senders: Sender[] = nodes.flatMap((from) => nodes.filter((to) => to !== from).map((to) => ({ from, to, next: 0 })));
  const calls: { readonly by: LinkNode; readonly life: number; ended: number }[] = [];
  const act = (): void => {
    for (const s of senders) {
      // A process that does not run says nothing.
      if (!s.from.sim.up || s.from.sim.scope.paused) continue;
      const result = s.from.links.send(s.to.nodeId, prng.pick(data), text(`${s.from.name} ${s.next}`));
      if (result === 'sent') s.next++;
      if (!prng.chance(0.1)) continue;
      const call = { by: s.from, life: s.from.sim.lives, ended: 0 };
      calls.push(call);
      s.from.links.call(s.to.nodeId, prng.chance(0.5) ? 'echo' : 'never', text('x'), 1 + prng.int(3_000), () => void call.ended++);
    }
  };
  for (let round = 0; round < 40; round++) {
    fault(round);
    for (let i = 0; i < 25; i++) {
      world.runFor(prng.int(40));
      act();
    }
  }
  net.healAll();
  net.faults.resetChance = 0;
  for (const n of nodes) {
    n.sim.resume();
    if (!n.sim.up) n.restart();
  }
  const linked = (): boolean => nodes.every((n) => n.links.peers().length === nodes.length - 1);
  assert.ok(world.runUntil(linked, 20_000), 'all links are up again');
  world.runFor(6_000);
  assert.ok(linked(), 'and stay up');
  for (const { by, life, ended } of calls) {
    // A crash of the caller takes its calls along.
    if (life === by.sim.lives) assert.equal(ended, 1, 'every call ends exactly once');
    else assert.ok(ended <= 1);
  }
  let ups = 0;
  for (const n of nodes) {
    ups += n.events.filter((e) => e.startsWith('up')).length;
    checkOrder(n);
  }
  return { hash: world.hash, events: world.events, ups };

  function fault(round: number): void {
    const [a, b] = [prng.pick(nodes), prng.pick(nodes)];
    switch (prng.int(9)) {
      case 0:
        if (a !== b) net.cut(a.name, b.name);
        break;
      case 1:
        if (a !== b) net.cutOneWay(a.name, b.name);
        break;
      case 2:
        net.healAll();
        break;
      case 3:
        net.faults.resetChance = prng.pick([0, 0.001, 0.02]);
        break;
      case 4:
        if (a.sim.up) a.sim.crash(prng.pick([{ kind: 'kill' }, { silent: true }, {}] as const));
        break;
      case 5:
        for (const n of nodes) if (!n.sim.up && round % 2 === 0) n.restart();
        break;
      case 6:
        a.sim.pause();
        world.after(prng.int(8_000), () => a.sim.resume());
        break;
      case 7:
        net.setWay(a.name, b.name, { delayMs: prng.pick([0.1, 5, 100]), jitterMs: prng.pick([0, 50]) });
        break;
      default:
        a.sim.setDrift(prng.pick([0.9, 1, 1.1]));
    }
  }

  /** Per sender and lane the numbers only grow: nothing twice, nothing out of order. */
  function checkOrder(n: LinkNode): void {
    const last = new Map<string, number>();
    for (const { from, lane, text: said } of n.frames) {
      const number = Number(said.slice(said.indexOf(' ') + 1));
      assert.ok(said.startsWith(`${from}@`));
      assert.ok(number > (last.get(from + lane) ?? -1), `${n.name} heard ${said} late or twice on ${lane}`);
      last.set(from + lane, number);
    }
    const state = new Map<string, string>();
    for (const event of n.events) {
      const [what, who] = event.split(' ') as [string, string];
      if (what === 'up') assert.notEqual(state.get(who), 'up', 'one link per peer');
      // A crash of this node is no event of its own: an up may follow an up of an earlier life.
      if (what === 'up' || what === 'down') state.set(who, n.sim.lives > 1 ? '' : what);
      if (what === 'dead' && n.sim.lives === 1) assert.equal(state.get(who), 'down', 'dead only while down');
    }
  }
}

test('links under random faults keep order, end every call and come back', () => {
  let ups = 0;
  for (let seed = 1; seed <= 12; seed++) ups += chaos(seed).ups;
  assert.ok(ups > 12 * 20, `the faults do something: ${ups} links came up`);
});

test('the same seed gives the same trace with links, too', () => {
  assert.deepEqual(chaos(99), chaos(99));
});

test('an authenticated peer that sends junk is cut off with protocol, and harms nobody', () => {
  const junk: ((w: FrameWriter) => Uint8Array)[] = [
    () => new Uint8Array(64).fill(255),
    () => text('not a frame at all, but long enough to look at'),
    (w) => frameOf(w, 99, new Uint8Array(3)),
    (w) => frameOf(w, frameTypes.ping, new Uint8Array(3)),
    (w) => frameOf(w, frameTypes.bye, new Uint8Array(0)),
    (w) => frameOf(w, frameTypes.request, Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 255)),
    (w) => frameOf(w, frameTypes.reply, new Uint8Array(0)),
    (w) => frameOf(w, frameTypes.hello, Uint8Array.of(1, 2, 3)),
    (w) => frameOf(w, frameTypes.data, Uint8Array.of(1)),
  ];
  junk.forEach((make, i) => {
    const { world, nodes } = linkWorld({ seed: 20 + i }, [{}, {}, {}]);
    const [a, b, rude] = nodes as [LinkNode, LinkNode, LinkNode];
    a.setTargets([b]);
    assert.ok(world.runUntil(() => a.isUp(b), 1_000));
    const writers = rudeLink(rude, b);
    assert.ok(world.runUntil(() => b.count('up rude') === 1 && writers.size === lanes.length, 1_000));
    const writer = writers.get('rpc');
    assert.ok(writer !== undefined);
    writer.send(make(writer.frames));
    assert.ok(
      world.runUntil(() => b.count('down rude protocol') === 1, 6_000),
      `junk ${i}`,
    );
    world.runFor(3_000);
    assert.deepEqual([a.isUp(b), b.isUp(a)], [true, true]);
    assert.equal(b.count('up rude'), 1);
  });
});

function frameOf(w: FrameWriter, type: number, payload: Uint8Array): Uint8Array {
  w.frame(type, new Uint8Array(0), payload);
  return concatBytes(w.take());
}

interface RudeOptions {
  readonly nodeId?: string;
  /** Process and attempt per lane, in the order of `lanes`. */
  readonly linkIds?: readonly (readonly [number, number])[];
  readonly only?: readonly Lane[];
}

interface RudeLane {
  readonly frames: FrameWriter;
  readonly refusal: number;
  closed: boolean;
  send(bytes: Uint8Array): void;
  hangUp(): void;
}

/** Sets up a link by hand, so that anything can be said on it. Its lanes appear in the map once they are proved. */
function rudeLink(from: LinkNode, to: LinkNode, options: RudeOptions = {}): Map<Lane, RudeLane> {
  const { env } = from.sim;
  const proved = new Map<Lane, RudeLane>();
  const hello = encodeHello({ ...from.links.self, name: 'rude@nowhere', port: 0 });
  for (const lane of options.only ?? lanes) {
    const side = {
      hash: env.hash,
      cookie: text('secret'),
      nodeId: options.nodeId ?? 'e'.repeat(32),
      hello: lane === 'rpc' ? hello : new Uint8Array(0),
      challenge: env.random.bytes(32),
    };
    const linkId = new Uint8Array(16);
    [linkId[0], linkId[15]] = options.linkIds?.[lanes.indexOf(lane)] ?? [0, 0];
    const machine = new DialerHandshake(side, lanes.indexOf(lane), linkId);
    env.net.connect(
      { host: to.sim.host, port: clusterPort },
      { timeoutMs: 100 },
      (c) => {
        let open = false;
        c.handler = {
          onData: (chunk) => {
            if (open) return;
            const step = machine.push(chunk);
            if (step.kind === 'more' && step.send.length > 0) c.write(step.send);
            if (step.kind !== 'done') return;
            open = true;
            const frames = new FrameWriter(step.writeSeed);
            proved.set(lane, {
              frames,
              refusal: step.remote.refusal,
              closed: false,
              send: (bytes) => void c.write(bytes),
              hangUp: () => c.destroy(),
            });
          },
          onDrain: () => {},
          onClose: () => {
            const mine = proved.get(lane);
            if (mine !== undefined) mine.closed = true;
          },
        };
        c.write(machine.start());
      },
      () => assert.fail('cannot connect'),
    );
  }
  return proved;
}

test('lanes of two attempts never make one link', () => {
  const mixes: readonly (readonly [number, number])[][] = [
    [
      [1, 1],
      [1, 1],
      [2, 1],
      [2, 1],
    ],
    [
      [1, 1],
      [1, 2],
      [1, 1],
      [1, 2],
    ],
  ];
  mixes.forEach((linkIds, i) => {
    const { world, nodes } = linkWorld({ seed: 41 + i }, [{}, {}]);
    const [b, rude] = nodes as [LinkNode, LinkNode];
    rudeLink(rude, b, { linkIds });
    world.runFor(20_000);
    assert.deepEqual(b.events, []);
    assert.equal(b.sim.net.openCount(b.sim.scope), 0, 'and are not kept for ever');
  });
});

test('an attempt that was overtaken by a newer one of the same process is refused', () => {
  const { world, nodes } = linkWorld({ seed: 42 }, [{}, {}]);
  const [b, rude] = nodes as [LinkNode, LinkNode];
  rudeLink(rude, b, { linkIds: lanes.map(() => [0, 7]) });
  assert.ok(world.runUntil(() => b.count('up rude') === 1, 1_000));
  const late = rudeLink(rude, b, { linkIds: lanes.map(() => [0, 6]) });
  assert.ok(world.runUntil(() => late.size === lanes.length, 1_000));
  assert.deepEqual(
    [...late.values()].map((l) => l.refusal),
    [refusals.stale, refusals.stale, refusals.stale, refusals.stale],
  );
  assert.deepEqual(b.events, ['up rude']);
});

test('a peer with our own identity is refused by us, whatever it checks itself', () => {
  const { world, nodes } = linkWorld({ seed: 43 }, [{}, {}]);
  const [b, rude] = nodes as [LinkNode, LinkNode];
  const lanesOfTwin = rudeLink(rude, b, { nodeId: b.nodeId });
  assert.ok(world.runUntil(() => lanesOfTwin.size === lanes.length, 1_000));
  for (const lane of lanesOfTwin.values()) assert.equal(lane.refusal, refusals.self);
  world.runFor(100);
  for (const lane of lanesOfTwin.values()) assert.equal(lane.closed, true, 'and closed by us');
});

test('when one lane closes before the link is whole, the others are closed at once', () => {
  const { world, nodes } = linkWorld({ seed: 44 }, [{}, {}]);
  const [b, rude] = nodes as [LinkNode, LinkNode];
  const some = rudeLink(rude, b, { only: ['rpc', 'raft', 'rlog'] });
  assert.ok(world.runUntil(() => some.size === 3, 1_000));
  some.get('raft')?.hangUp();
  assert.ok(world.runUntil(() => [...some.values()].every((l) => l.closed), 100));
  assert.deepEqual(b.events, []);
});

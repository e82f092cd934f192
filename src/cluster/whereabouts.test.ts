import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Links, PeerHello, PeerTarget } from '#link/api.js';
import type { Member } from './schema.js';
import { encodeCores, readCores, Whereabouts, type WhereaboutsOptions } from './whereabouts.js';

function peer(name: string, role: 'core' | 'replicant' = 'core'): PeerHello {
  return { nodeId: `id of ${name}`, name, role, clusterId: 'c', incarnation: 0, host: name, port: 4370, info: new Uint8Array(0) };
}

function member(name: string, up: boolean): Member {
  return { nodeId: `id of ${name}`, name, role: 'core', host: name, port: 4370, incarnation: 1, up, changedMs: 0 };
}

function target(name: string): PeerTarget {
  return { name, role: 'core', host: name, port: 4370 };
}

/** A node `a` that is configured with `b`. */
function rig() {
  let now = 0;
  const peers: PeerHello[] = [];
  const members: Member[] = [];
  const asked: string[] = [];
  let answer: readonly PeerTarget[] = [];
  let targets: readonly PeerTarget[] = [];
  let serve: (() => Uint8Array) | undefined;
  const links: Pick<Links, 'peers' | 'handle' | 'call' | 'setTargets'> = {
    peers: () => peers,
    handle: (_method, handler) => {
      serve = () => {
        let body = new Uint8Array(0);
        handler(peer('x'), new Uint8Array(0), (_error, reply) => {
          if (reply !== undefined) body = new Uint8Array(reply);
        });
        return body;
      };
    },
    call: (to, _method, _body, _deadline, done) => {
      asked.push(to);
      done(undefined, encodeCores(answer));
    },
    setTargets: (all) => {
      targets = all;
    },
  };
  const options = { env: { clock: { now: () => now } }, links, name: 'a', host: 'a', port: 4370, cores: [target('a'), target('b')] };
  const w = new Whereabouts(options as unknown as WhereaboutsOptions, () => members);
  w.start();
  return {
    w,
    peers,
    members,
    asked,
    told: (...names: string[]) => {
      answer = names.map(target);
    },
    at: (ms: number, standing: 'forming' | 'joining' | 'lost' | 'joined') => {
      now = ms;
      let suspected = false;
      w.step(standing, () => {
        suspected = true;
      });
      return suspected;
    },
    targets: () => targets.map((t) => `${t.name}${t.dial === true ? '!' : ''}`).join(' '),
    known: () => readCores(serve?.() ?? new Uint8Array(0)).map((t) => t.name),
  };
}

test('a core that cannot join is told of cores that it has never heard of, and dials them', () => {
  const r = rig();
  r.peers.push(peer('b'), peer('r', 'replicant'));
  r.told('a', 'b', 'newer');
  r.at(1_000, 'joining');
  assert.deepEqual([r.asked, r.targets()], [[], 'b']);
  r.at(1_001, 'joining');
  assert.deepEqual([r.asked, r.targets()], [['id of b', 'id of r'], 'b! newer!']);
  r.at(1_500, 'joining');
  assert.equal(r.asked.length, 2, 'not at every look');
  r.at(2_001, 'joining');
  assert.equal(r.asked.length, 4);
});

test('one that has joined and is led by nobody asks too, and whether it was taken out', () => {
  const r = rig();
  r.peers.push(peer('b'));
  r.told('newer');
  assert.equal(r.at(5_000, 'lost'), false);
  assert.equal(r.at(5_001, 'lost'), true);
  assert.equal(r.targets(), 'b! newer!');
});

test('a replicant that reaches no core asks the replicants that it reaches', () => {
  const r = rig();
  r.peers.push(peer('r', 'replicant'));
  r.told('newer');
  r.at(5_001, 'lost');
  assert.deepEqual([r.asked, r.targets()], [['id of r'], 'b! newer!']);
});

test('what was told is forgotten when the node has joined, but no link is closed for that', () => {
  const r = rig();
  r.peers.push(peer('b'));
  r.told('linked', 'gone');
  r.at(1_001, 'joining');
  r.peers.push(peer('linked'));
  r.at(1_100, 'joined');
  assert.equal(r.targets(), 'b linked');
  r.peers.pop();
  r.w.set();
  assert.equal(r.targets(), 'b');
});

test('a core that belongs to no cluster yet asks nobody', () => {
  const r = rig();
  r.peers.push(peer('b'));
  r.told('newer');
  r.at(5_000, 'forming');
  assert.deepEqual([r.asked, r.targets()], [[], 'b!']);
});

test('asked, it names the cores that it is linked with and those of the members, each once', () => {
  const r = rig();
  r.peers.push(peer('unjoined'), peer('b'), peer('r', 'replicant'));
  r.members.push(member('b', true), member('down', false));
  assert.deepEqual(r.known(), ['unjoined', 'b', 'down']);
});

test('what is told is bounded, and bytes that are not ours are nothing', () => {
  const r = rig();
  r.peers.push(peer('b'));
  r.told(...Array.from({ length: 1_000 }, (_, i) => `n${i}`));
  r.at(1_001, 'joining');
  assert.equal(r.targets().split(' ').length, 257);
  assert.deepEqual(readCores(Uint8Array.of(5, 1)), []);
  assert.deepEqual(readCores(encodeCores([{ ...target('n'), port: 70_000 }, { ...target('n'), host: '' }, target('m')])), [target('m')]);
});

test('of many replicants a few are asked at a time, and others the next time', () => {
  const r = rig();
  for (let i = 0; i < 12; i++) r.peers.push(peer(`r${i}`, 'replicant'));
  r.peers.push(peer('b'));
  r.at(5_001, 'joining');
  assert.deepEqual([r.asked.length, r.asked[0], r.asked[8]], [9, 'id of b', 'id of r7']);
  r.at(6_001, 'joining');
  assert.deepEqual(r.asked.slice(9), ['id of b', 'id of r8', 'id of r9', 'id of r10', 'id of r11']);
  r.at(7_001, 'joining');
  assert.equal(r.asked.length, 14 + 9);
});

// A node that knows the cookie and sends nonsense: whatever arrives on any lane, in any request and in the hello
// of a peer, the nodes of the cluster go on, and what they were told before is as it was.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteWriter } from '#base/byte-writer.js';
import { concatBytes, copyBytes, emptyBytes } from '#base/bytes.js';
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import { encodeFormation } from '#cluster/formation.js';
import { ownLevel } from '#cluster/level.js';
import { decodeJoinReply, encodeFence, encodeJoin, encodeRecovered, encodeText } from '#cluster/schema.js';
import { writeLeaseGrants, writeLeaseRequests } from '#db/lease-codec.js';
import { answer, decodeAnswers, encodeCommand, encodeTransaction, encodeWrites, proposalKind, writeProposalBatch } from '#db/proposal-codec.js';
import { encodeRlog } from '#db/rlog-codec.js';
import type { Links } from '#link/api.js';
import { createLinks } from '#link/links.js';
import { encodeMessage } from '#raft/codec.js';
import type { RaftMessage } from '#raft/types.js';
import { createSimNode } from '../world/sim-env.js';
import { ClusterWorld, itemsTable } from './cluster-world.js';

const stranger = 'ab'.repeat(16);

/** Cut, flipped, lengthened, with a huge number in the middle, or made up. */
function damaged(bytes: Uint8Array, prng: Prng): Uint8Array {
  const out = copyBytes(bytes);
  const at = prng.int(Math.max(1, out.length));
  switch (prng.int(6)) {
    case 0:
      return out.subarray(0, at);
    case 1:
      for (let n = 1 + prng.int(4); n > 0 && out.length > 0; n--) out[prng.int(out.length)] = prng.int(256);
      return out;
    case 2:
      return concatBytes([out, noise(prng)]);
    case 3:
      // 2^53 - 1 as a varint: more than anybody has room for.
      return concatBytes([out.subarray(0, at), Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 15), out.subarray(at)]);
    case 4:
      return concatBytes([out.subarray(0, at), noise(prng), out.subarray(at)]);
    default:
      return noise(prng);
  }
}

function noise(prng: Prng): Uint8Array {
  return Uint8Array.from({ length: prng.int(40) }, () => prng.int(256));
}

function batch(incarnation: number, seq: number, kind: 0 | 1 | 2 | 3, body: Uint8Array, shard: string = 'items'): Uint8Array {
  const w = new ByteWriter(256);
  writeProposalBatch(w, { shard, incarnation, receivedUpTo: 0, effective: false, proposals: [{ seq, kind, body }] });
  return w.finish();
}

function text(s: string): Uint8Array {
  const w = new ByteWriter(32);
  w.string(s);
  return w.finish();
}

/** One well-formed body of each request, to be damaged. */
function requests(incarnation: number): readonly (readonly [string, Uint8Array])[] {
  const write = encodeWrites([{ kind: 'put', table: itemsTable, key: utf8Encode('mine'), value: utf8Encode('x') }]);
  const outcomes = new ByteWriter(32);
  outcomes.string('items');
  for (const n of [1, 2, 2, 1, 2]) outcomes.varint(n);
  return [
    ['db.propose', batch(incarnation, 1, proposalKind.ops, write)],
    ['db.propose', batch(0, 0, proposalKind.command, encodeCommand('fence', encodeFence('x', 1)), 'cluster')],
    ['db.outcomes', outcomes.finish()],
    ['db.readIndex', text('items')],
    ['rlog.load', text('items')],
    ['rlog.move', text('items')],
    ['cluster.groups', text(stranger)],
    ['cluster.cores', emptyBytes],
  ];
}

/** Bodies of commands and writes that the leader itself reads, in proposals that are well-formed. */
function bodies(prng: Prng): readonly [0 | 1 | 2 | 3, Uint8Array, string] {
  const join = encodeJoin({
    nodeId: stranger,
    name: 'mallory@mallory',
    role: 'replicant',
    level: ownLevel,
    host: 'mallory',
    port: 1,
    founders: [{ nodeId: 'a', name: 'b' }],
  });
  const commands: readonly (readonly [string, Uint8Array])[] = [
    ['join', join],
    ['fence', encodeFence(stranger, 1)],
    ['forget', encodeFence(stranger, 1)],
    ['leave', encodeText(stranger)],
    ['left', encodeText(stranger)],
    ['forceLeave', encodeText('mallory@mallory')],
    ['becomeCore', encodeText(stranger)],
    ['recovered', encodeRecovered({ nodeId: stranger, name: 'm' }, 'tag')],
    ['no such command', emptyBytes],
  ];
  const [name, body] = commands[prng.int(commands.length)] ?? ['', emptyBytes];
  switch (prng.int(3)) {
    case 0:
      // Cut only: what is damaged otherwise may be a command that is well-formed and does what it says.
      return [proposalKind.command, encodeCommand(name, body.subarray(0, prng.int(Math.max(1, body.length)))), 'cluster'];
    case 1:
      return [proposalKind.ops, damaged(encodeWrites([{ kind: 'delete', table: itemsTable, key: utf8Encode('mine') }]), prng), 'items'];
    default: {
      const reads = { snapshotIndex: 1, keys: [{ tableId: itemsTable.id, key: utf8Encode('mine') }], ranges: [] };
      return [proposalKind.transaction, damaged(encodeTransaction({ reads, ops: [], reply: emptyBytes }), prng), 'items'];
    }
  }
}

function frames(prng: Prng): readonly ['raft' | 'rlog' | 'forward', Uint8Array] {
  const raft: readonly RaftMessage[] = [
    { type: 'requestVote', term: 1, preVote: true, transfer: false, lastIndex: 1, lastTerm: 1 },
    { type: 'heartbeat', term: 1, commit: 1, round: 1 },
  ];
  const w = new ByteWriter(128);
  switch (prng.int(5)) {
    case 0: {
      w.u8(1);
      w.string('items');
      encodeMessage(w, raft[prng.int(raft.length)] ?? { type: 'heartbeat', term: 1, commit: 1, round: 1 });
      return ['raft', w.finish().subarray(0, w.length - 1 - prng.int(3))];
    }
    case 1:
      writeLeaseRequests(w, 1, [{ shard: 'items', kind: 'stream', n: 1, visible: 1 }]);
      return ['raft', damaged(w.finish(), prng)];
    case 2:
      writeLeaseGrants(w, 1, [{ shard: 'items', kind: 'follow', n: 1, ms: 1, floor: 1 }]);
      return ['raft', damaged(w.finish(), prng)];
    case 3:
      return ['rlog', damaged(encodeRlog({ type: 'ack', shard: 'items', stream: 1, visible: 1, bytes: 1 }), prng)];
    default:
      return [prng.int(2) === 0 ? 'raft' : 'rlog', noise(prng)];
  }
}

function connect(c: ClusterWorld, seed: number): Links {
  const sim = createSimNode(c.world, c.net, 'mallory@mallory');
  const clusterId = c.node('core1').core?.cluster.clusterId ?? '';
  const links = createLinks(sim.env, {
    self: {
      nodeId: stranger,
      name: sim.name,
      role: seed % 2 === 0 ? 'replicant' : 'core',
      clusterId,
      incarnation: 0,
      host: sim.host,
      port: 4370,
      info: emptyBytes,
    },
    cookie: 'simulated secret',
    listen: { host: sim.host, port: 4370 },
  });
  links.setTargets(c.nodes.map((n) => ({ name: n.name, role: n.role, host: n.sim.host, port: 4370, dial: true })));
  return links;
}

for (const seed of [1, 2, 3, 4]) {
  test(`nonsense from a peer that knows the cookie harms nobody (${seed})`, () => {
    const c = new ClusterWorld({ seed, cores: 3, replicants: 1 });
    c.startAll();
    assert.ok(
      c.world.runUntil(() => c.allServing, 20_000),
      c.world.report(),
    );
    const prng = new Prng(seed);
    const links = connect(c, seed);
    assert.ok(
      c.world.runUntil(() => links.peers().length === c.nodes.length, 10_000),
      c.world.report(),
    );
    const targets = c.nodes.map((n) => n.core?.nodeId ?? '');

    // A place in the cluster, so that its proposals are read and not just turned away.
    let incarnation = 0;
    const role = seed % 2 === 0 ? 'replicant' : 'core';
    const join = encodeJoin({ nodeId: stranger, name: 'mallory@mallory', role, level: ownLevel, host: 'mallory', port: 4370 });
    for (const to of targets) {
      links.call(to, 'db.propose', batch(0, 0, proposalKind.command, encodeCommand('join', join), 'cluster'), 2_000, (failure, body) => {
        const [a] = failure === undefined ? decodeAnswers(body) : [];
        if (a?.code === answer.done) incarnation = decodeJoinReply(a.reply).incarnation;
      });
    }
    assert.ok(
      c.world.runUntil(() => incarnation > 0, 5_000),
      c.world.report(),
    );

    let answered = 0;
    let unknown = 0;
    let seq = 0;
    for (let round = 0; round < 400; round++) {
      const to = targets[prng.int(targets.length)] ?? '';
      const all = requests(incarnation);
      const [method, body] = all[prng.int(all.length)] ?? ['', emptyBytes];
      links.call(to, method, damaged(body, prng), 1_000, (failure) => {
        answered++;
        if (failure?.kind === 'refused' && failure.message.startsWith('unknown method')) unknown++;
      });
      const [kind, inner, shard] = bodies(prng);
      const own = kind === proposalKind.command ? batch(0, 0, kind, inner, shard) : batch(incarnation, ++seq, kind, inner, shard);
      links.call(to, 'db.propose', own, 1_000, () => {});
      const [lane, frame] = frames(prng);
      links.send(to, lane, frame);
      if (round % 8 === 0)
        links.updateSelf({
          info: damaged(encodeFormation({ cores: ['a', 'b'], formed: undefined, gathering: { count: 3, seen: ['a'], bound: false } }), prng),
        });
      c.world.runFor(5);
    }
    c.world.runFor(3_000);
    assert.ok(answered > 200, `${answered} requests had an end`);
    assert.ok(unknown < answered / 2, `${unknown} of ${answered} requests name methods that no node has`);
    for (const n of c.nodes) assert.equal(n.fatal, undefined, n.name);

    let written: unknown = 'no answer';
    const put = { kind: 'put', table: itemsTable, key: utf8Encode('after'), value: utf8Encode('all is well') } as const;
    c.node('core2').core?.database.write('items', [put], { until: 'effective' }, (failure) => {
      written = failure;
    });
    assert.ok(
      c.world.runUntil(() => written !== 'no answer', 10_000),
      c.world.report(),
    );
    assert.equal(written, undefined);
    for (const n of c.nodes) assert.ok(n.core?.database.get(itemsTable, put.key) !== undefined, n.name);
  });
}

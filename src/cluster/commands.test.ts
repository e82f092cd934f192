// The commands of the members' shard, on tables in memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteString, compareBytes, fromByteString } from '#base/bytes.js';
import { type CommandContext, CommandRefused, type Row, type Table } from '#db/api.js';
import type { NodeRole } from '#link/api.js';
import { clusterSchema } from './commands.js';
import {
  coresTable,
  decodeCore,
  decodeJoinReply,
  decodeMember,
  encodeFence,
  encodeJoin,
  encodeLevel,
  encodeMember,
  encodeRecovered,
  encodeText,
  type KnownCore,
  type Member,
  memberKey,
  membersTable,
} from './schema.js';

class World {
  readonly rows: Map<string, Row> = new Map();
  /** Admissions and purges, in order. */
  readonly log: string[] = [];
  stampMs = 1_000;

  #name(table: Table, key: Uint8Array): string {
    return `${table.id}:${byteString(key)}`;
  }

  run(name: string, body: Uint8Array): Uint8Array {
    const handler = clusterSchema.commands[name];
    assert.ok(handler !== undefined, name);
    this.stampMs++;
    const context: CommandContext = {
      get: (table, key) => this.rows.get(this.#name(table, key)),
      range: (table, start, end, visit) => {
        for (const name of [...this.rows.keys()].filter((n) => n.startsWith(`${table.id}:`)).sort()) {
          const key = fromByteString(name.slice(name.indexOf(':') + 1));
          if (compareBytes(key, start) < 0 || (end !== undefined && compareBytes(key, end) >= 0)) continue;
          if (!visit(key, this.rows.get(name) as Row)) return;
        }
      },
      seek: () => assert.fail('not used'),
      put: (table, key, value, owner = 0) => {
        this.rows.set(this.#name(table, key), { value, owner });
      },
      delete: (table, key) => {
        this.rows.delete(this.#name(table, key));
      },
      admit: (nodeId, incarnation) => {
        this.log.push(`admit ${nodeId} ${incarnation}`);
      },
      purge: (nodeId, incarnation) => {
        this.log.push(`purge ${nodeId} ${incarnation}`);
      },
      liveIncarnation: () => 0,
      isLive: () => false,
      position: 1,
      stampMs: this.stampMs,
      incarnation: 0,
    };
    return handler(context, body);
  }

  join(nodeId: string, name: string = nodeId, role: NodeRole = 'replicant'): number {
    return decodeJoinReply(this.run('join', encodeJoin({ nodeId, name, role, host: 'h', port: 1 }))).incarnation;
  }

  /** As core; how it ended. */
  joinWith(nodeId: string, name: string, founders: readonly KnownCore[]): string {
    return decodeJoinReply(this.run('join', encodeJoin({ nodeId, name, role: 'core', host: 'h', port: 1, founders }))).outcome;
  }

  /** Rows of the set of cores: id, name, what is wanted. */
  cores(): string[] {
    const rows = [...this.rows].filter(([name]) => name.startsWith(`${coresTable.id}:`)).map(([, row]) => decodeCore(row.value));
    return rows.map((c) => `${c.nodeId} ${c.name} ${c.wanted}`).sort();
  }

  member(nodeId: string): Member | undefined {
    const row = this.rows.get(this.#name(membersTable, memberKey(nodeId)));
    return row === undefined ? undefined : decodeMember(row.value);
  }
}

test('join: whoever joins with a copy of a data directory that another process has joined with since is told so', () => {
  const w = new World();
  const join = (...lives: string[]): string => {
    const request = { nodeId: 'n1', name: 'core1@h', role: 'core', host: 'h', port: 1, lives } as const;
    return decodeJoinReply(w.run('join', encodeJoin(request))).outcome;
  };
  assert.equal(join('a'), 'joined');
  assert.equal(join('a'), 'joined', 'again, after a fence');
  assert.equal(join('a', 'b'), 'joined', 'a restart');
  assert.equal(join('a', 'b', 'c', 'd'), 'joined', 'a restart after two that never joined, and one that did not hear that it had');
  assert.equal(join('b', 'x'), 'copied', 'a copy of then');
  assert.equal(join('d'), 'joined');
  assert.equal(join(), 'joined', 'an older build says nothing');
  assert.equal(join('y'), 'joined');
  assert.equal(join('d', 'e'), 'copied');
});

test('a member’s row says what its build can do, and keeps it; one of an older build says nothing', () => {
  const w = new World();
  const join = (more: object): number =>
    decodeJoinReply(w.run('join', encodeJoin({ nodeId: 'n', name: 'n', role: 'replicant', host: 'h', port: 1, ...more }))).incarnation;
  w.join('old');
  const old = join({ lives: ['a'] });
  assert.deepEqual([w.member('n')?.level, w.member('n')?.life], [undefined, 'a']);
  w.run('level', encodeLevel('n', old - 1, 3));
  assert.equal(w.member('n')?.level, undefined, 'of an earlier process');
  w.run('level', encodeLevel('n', old, 3));
  assert.deepEqual([w.member('n')?.level, w.member('n')?.life], [3, 'a']);
  const incarnation = join({ lives: ['a', 'b'], level: 4 });
  w.run('fence', encodeFence('n', incarnation));
  assert.deepEqual([w.member('n')?.level, w.member('n')?.up, w.member('n')?.life], [4, false, 'b']);
  join({ lives: ['a', 'b', 'c'] });
  assert.equal(w.member('n')?.level, undefined, 'it went back to an older build, as one of that is a member still');
});

test('join: once all members have a level nobody joins with a lower one, neither those that had it nor new ones', () => {
  const w = new World();
  const join = (nodeId: string, level: number | undefined) => (): void => {
    w.run('join', encodeJoin({ nodeId, name: nodeId, role: 'replicant', host: 'h', port: 1, ...(level === undefined ? {} : { level }) }));
  };
  join('a', 1)();
  join('a', 2)();
  for (const older of [join('a', 1), join('b', 1), join('b', undefined)]) {
    assert.throws(older, (e) => e instanceof CommandRefused && /had level 2.*this build has level [01].*start a build of level 2/.test(e.message));
  }
  assert.equal(w.member('b'), undefined);
  join('b', 3)();
  join('b', 2)();
  join('a', 2)();
  assert.deepEqual([w.member('a')?.level, w.member('b')?.level], [2, 2]);
});

test('a row with a level and without the name of a process is read as such', () => {
  const member: Member = { nodeId: 'n', name: 'n', role: 'core', host: 'h', port: 1, incarnation: 2, up: true, changedMs: 5, level: 1 };
  assert.deepEqual(decodeMember(encodeMember(member)), member);
});

test('join: every one gets a number of its own, higher than all before', () => {
  const w = new World();
  assert.deepEqual([w.join('a'), w.join('b'), w.join('a')], [1, 2, 3]);
  assert.deepEqual(w.log, ['admit a 1', 'admit b 2', 'admit a 3']);
  assert.equal(w.member('a')?.incarnation, 3);
  assert.equal(w.member('a')?.up, true);
  assert.equal(w.member('a')?.changedMs, w.stampMs);
});

test('join: a replicant with a new data directory takes its name over, and the old one’s rows go', () => {
  const w = new World();
  w.join('old', 'r1');
  w.join('new', 'r1');
  assert.equal(w.member('old'), undefined);
  assert.deepEqual(w.log, ['admit old 1', 'purge old 1', 'admit new 2']);
});

test('join: a core does not become a replicant, and a copy of a running node’s directory is refused; nothing is written', () => {
  const w = new World();
  w.join('a', 'c1', 'core');
  const before = [...w.rows];
  assert.throws(() => w.join('a', 'c1', 'replicant'), /joined as core.*leave/);
  assert.throws(() => w.join('a', 'c2', 'core'), /copied/);
  assert.deepEqual([...w.rows], before);
  assert.deepEqual(w.log, ['admit a 1']);
});

test('join: the first core brings those that formed the cluster; a later one cannot add to them', () => {
  const w = new World();
  w.joinWith('a', 'c1', [
    { nodeId: 'a', name: 'c1' },
    { nodeId: 'b', name: 'c2' },
  ]);
  w.joinWith('c', 'c3', [{ nodeId: 'x', name: 'cx' }]);
  assert.deepEqual(w.cores(), ['a c1 voter', 'b c2 voter', 'c c3 voter']);
});

test('join: a core whose data directory was lost takes its place over as soon as the old id does not count as up', () => {
  const w = new World();
  w.join('a', 'c1', 'core');
  w.join('b', 'c2', 'core');
  assert.equal(w.joinWith('b2', 'c2', []), 'nameInUse');
  assert.deepEqual(w.cores(), ['a c1 voter', 'b c2 voter']);
  w.run('fence', encodeFence('b', 2));
  assert.equal(w.joinWith('b2', 'c2', []), 'joined');
  assert.deepEqual(w.cores(), ['a c1 voter', 'b c2 removed', 'b2 c2 voter']);
  assert.equal(w.member('b'), undefined);
  assert.equal(w.joinWith('b', 'c2', []), 'removed', 'the old directory was found again');
});

test('join: a founder that never came and lost its directory is replaced too', () => {
  const w = new World();
  w.joinWith('a', 'c1', [
    { nodeId: 'a', name: 'c1' },
    { nodeId: 'b', name: 'c2' },
  ]);
  assert.equal(w.joinWith('b2', 'c2', []), 'joined');
  assert.deepEqual(w.cores(), ['a c1 voter', 'b c2 removed', 'b2 c2 voter']);
});

test('join: a promoted replicant comes back as core; one that lost its directory as the replicant that it is configured as', () => {
  const w = new World();
  w.join('a', 'c1', 'core');
  w.join('r', 'r1', 'replicant');
  w.run('becomeCore', encodeText('r'));
  assert.deepEqual(w.cores(), ['a c1 voter', 'r r1 voter']);
  assert.equal(w.member('r')?.incarnation, 2, 'the same');
  assert.equal(w.joinWith('r', 'r1', []), 'joined');
  w.run('fence', encodeFence('r', 3));
  w.join('r2', 'r1', 'replicant');
  assert.deepEqual(w.cores(), ['a c1 voter', 'r r1 removed']);
});

test('leave: while the others have a majority; the last core stays unless it is alone', () => {
  const w = new World();
  w.join('a', 'c1', 'core');
  w.join('b', 'c2', 'core');
  w.join('c', 'c3', 'core');
  w.run('fence', encodeFence('c', 3));
  assert.throws(() => w.run('leave', encodeText('a')), /only 1 of the other 2 cores run/);
  w.run('leave', encodeText('c'));
  w.run('leave', encodeText('c'));
  w.run('left', encodeText('c'));
  assert.throws(() => w.run('left', encodeText('b')), /has not left/);
  w.run('leave', encodeText('b'));
  assert.throws(() => w.run('leave', encodeText('a')), /last core/);
  w.run('left', encodeText('b'));
  assert.deepEqual(w.cores(), ['a c1 voter', 'b c2 removed', 'c c3 removed']);
  w.run('leave', encodeText('a'));
});

test('force-leave: by name, but never the last core', () => {
  const w = new World();
  w.join('a', 'c1', 'core');
  w.join('b', 'c2', 'core');
  w.join('r', 'r1');
  w.run('forceLeave', encodeText('c2'));
  w.run('forceLeave', encodeText('r1'));
  assert.throws(() => w.run('forceLeave', encodeText('c1')), /last core/);
  assert.throws(() => w.run('forceLeave', encodeText('nobody')), /no node/);
  assert.deepEqual(w.cores(), ['a c1 voter', 'b c2 removed']);
  assert.deepEqual([w.member('b'), w.member('r')], [undefined, undefined]);
});

test('forget: cores only while three are left', () => {
  const w = new World();
  for (const id of ['a', 'b', 'c', 'd']) w.join(id, `n-${id}`, 'core');
  w.run('fence', encodeFence('d', 4));
  w.run('fence', encodeFence('c', 3));
  w.run('forget', encodeFence('d', 4));
  assert.throws(() => w.run('forget', encodeFence('c', 3)), /not too many/);
  assert.deepEqual(w.cores(), ['a n-a voter', 'b n-b voter', 'c n-c voter', 'd n-d removed']);
});

test('fence: only the incarnation named, once', () => {
  const w = new World();
  w.join('a');
  w.join('a');
  w.run('fence', encodeFence('a', 1));
  assert.equal(w.member('a')?.up, true, 'an older one');
  w.run('fence', encodeFence('x', 1));
  w.run('fence', encodeFence('a', 2));
  assert.equal(w.member('a')?.up, false);
  w.run('fence', encodeFence('a', 2));
  assert.deepEqual(w.log, ['admit a 1', 'admit a 2', 'purge a 2']);
  assert.equal(w.join('a'), 3, 'and it may come back');
  assert.equal(w.member('a')?.up, true);
});

test('forget: only who is down, and is still the same', () => {
  const w = new World();
  w.join('a');
  assert.throws(() => w.run('forget', encodeFence('a', 1)), CommandRefused);
  w.run('fence', encodeFence('a', 1));
  w.run('forget', encodeFence('a', 1));
  assert.equal(w.member('a'), undefined);
  w.run('forget', encodeFence('a', 1));
  w.join('b');
  w.join('b');
  assert.throws(() => w.run('forget', encodeFence('b', 2)), CommandRefused);
});

test('recovered by force: one core, every incarnation over, numbers above any that were lost; once per recovery', () => {
  const world = new World();
  const founders = ['a', 'b', 'c'].map((n) => ({ nodeId: `id-${n}`, name: n }));
  for (const { nodeId, name } of founders) assert.equal(world.joinWith(nodeId, name, founders), 'joined');
  const replicant = world.join('r');
  world.log.length = 0;
  const order = encodeRecovered({ nodeId: 'id-a', name: 'a' }, 'tag');
  world.run('recovered', order);
  assert.deepEqual(world.cores(), ['id-a a voter', 'id-b b removed', 'id-c c removed']);
  assert.deepEqual(world.log.sort(), ['purge id-a 1', 'purge id-b 2', 'purge id-c 3', `purge r ${replicant}`]);
  const renewed = world.join('r');
  assert.ok(renewed > replicant + 100_000);
  // It comes again: nobody who has joined meanwhile is thrown out.
  world.log.length = 0;
  world.run('recovered', order);
  assert.deepEqual(world.log, []);
  assert.equal(world.joinWith('id-b', 'b', founders), 'removed');
  assert.equal(world.joinWith('id-b2', 'b', founders), 'joined');
});

test('a node that had a higher incarnation than this copy of the table knows gets one above it', () => {
  const world = new World();
  world.join('a');
  const body = encodeJoin({ nodeId: 'r', name: 'r', role: 'replicant', host: 'h', port: 1, incarnation: 700 });
  assert.equal(decodeJoinReply(world.run('join', body)).incarnation, 701);
  assert.equal(world.join('b'), 702);
});

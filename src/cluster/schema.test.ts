// The commands of the members' shard, on tables in memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteString, compareBytes, fromByteString } from '#base/bytes.js';
import { type CommandContext, CommandRefused, type Row, type Table } from '#db/api.js';
import type { NodeRole } from '#link/api.js';
import { clusterSchema, decodeIncarnation, decodeMember, encodeFence, encodeJoin, type Member, memberKey, membersTable } from './schema.js';

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
    return decodeIncarnation(this.run('join', encodeJoin({ nodeId, name, role, host: 'h', port: 1 })));
  }

  member(nodeId: string): Member | undefined {
    const row = this.rows.get(this.#name(membersTable, memberKey(nodeId)));
    return row === undefined ? undefined : decodeMember(row.value);
  }
}

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

test('join: a core of the same name with another node id is refused, and so is another role; nothing is written', () => {
  const w = new World();
  w.join('a', 'c1', 'core');
  const before = [...w.rows];
  assert.throws(() => w.join('b', 'c1', 'core'), CommandRefused);
  assert.throws(() => w.join('a', 'c1', 'replicant'), /joined as core/);
  assert.deepEqual([...w.rows], before);
  assert.deepEqual(w.log, ['admit a 1']);
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

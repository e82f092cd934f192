// Which features a node may use, by what its copy of the members' table says of all.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Levels } from './level.js';
import { encodeLevel, type Member } from './schema.js';

function member(nodeId: string, level: number | undefined, up: boolean = true): Member {
  const m = { nodeId, name: nodeId, role: 'core', host: 'h', port: 1, incarnation: 7, up, changedMs: 0 } as const;
  return level === undefined ? m : { ...m, level };
}

function levels() {
  const clock = { at: 0, now: (): number => clock.at };
  const asked: { readonly name: string; readonly body: Uint8Array }[] = [];
  const database = { incarnation: 7, command: (_shard: string, name: string, body: Uint8Array) => void asked.push({ name, body }) };
  const said: string[] = [];
  const log = { info: (message: string) => void said.push(message) };
  return { clock, asked, said, levels: new Levels({ env: { clock, log }, database, nodeId: 'a' }) };
}

for (const [what, rows, has] of [
  ['nobody is known yet', [], false],
  ['all know it', [member('a', 1), member('b', 1)], true],
  ['some know more', [member('a', 1), member('b', 2)], true],
  ['one is of an older build', [member('a', 1), member('b', undefined)], false],
  ['one of an older build is down, and may come back', [member('a', 1), member('b', undefined, false)], false],
] as const) {
  test(`wills stand with the registry, or not: ${what}`, () => {
    const { levels: l } = levels();
    l.read(rows);
    assert.equal(l.hasFeature('registeredWills'), has);
  });
}

test('it begins when the last one is replaced, and pauses when an older one is back', () => {
  const { levels: l, said } = levels();
  const seen: boolean[] = [];
  for (const other of [undefined, 1, undefined]) {
    l.read([member('a', 1), member('b', other)]);
    seen.push(l.hasFeature('registeredWills'));
  }
  assert.deepEqual(seen, [false, true, false]);
  assert.equal(said.length, 2);
});

test('what all have had is kept, once, and nothing above what this build knows', () => {
  const kept: number[] = [];
  const log = { info: (): void => {} };
  const database = { incarnation: 7, command: (): void => {} };
  const saveRaised = (level: number): void => void kept.push(level);
  const l = new Levels({ env: { clock: { now: () => 0 }, log }, database, nodeId: 'a', level: 2, saveRaised });
  l.read([]);
  l.read([member('a', 2), member('b', undefined)]);
  assert.deepEqual(kept, []);
  l.read([member('a', 2), member('b', 1)]);
  l.read([member('a', 2), member('b', 1), member('c', 2)]);
  l.read([member('a', 2), member('b', 2)]);
  l.read([member('b', 3)]);
  assert.deepEqual(kept, [1, 2]);
});

test('a node whose row does not say its level has it written there, again and again until a leader knows how', () => {
  const { clock, asked, levels: l } = levels();
  l.tell(undefined);
  l.tell({ ...member('a', undefined), incarnation: 6 });
  assert.equal(asked.length, 0, 'it has not joined');
  for (let i = 0; i < 3; i++) l.tell(member('a', undefined));
  assert.deepEqual(asked, [{ name: 'level', body: encodeLevel('a', 7, l.own) }]);
  clock.at += 5_000;
  l.tell(member('a', undefined));
  assert.equal(asked.length, 2);
  clock.at += 5_000;
  l.tell(member('a', l.own));
  assert.equal(asked.length, 2);
});

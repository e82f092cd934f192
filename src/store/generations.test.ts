import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import { Generations, GenerationsError, shardsOnDisk } from './generations.js';
import { MemoryFiles } from './memory-files.js';
import { NodeFileError, readNodeFile, writeNodeFile } from './node-file.js';

class Disk {
  jobs: (() => void)[] = [];
  files: MemoryFiles = new MemoryFiles((fn) => this.jobs.push(fn));

  run(): void {
    for (let fn = this.jobs.shift(); fn !== undefined; fn = this.jobs.shift()) fn();
  }

  make(generations: Generations, content: string): number {
    const n = generations.create();
    const file = this.files.openAppend(`${generations.dir(n)}/data`);
    file.append([utf8Encode(content)]);
    file.sync((e) => assert.equal(e, undefined));
    this.run();
    return n;
  }

  switchTo(generations: Generations, n: number): void {
    let done = false;
    generations.switchTo(n, (e) => {
      assert.equal(e, undefined);
      done = true;
    });
    this.run();
    assert.ok(done);
  }
}

test('generations: built aside, switched to, the old one removed, leftovers removed at the next start', () => {
  const disk = new Disk();
  const g = new Generations(disk.files, 'route');
  assert.deepEqual([g.current, g.lost], [undefined, undefined]);
  const first = disk.make(g, 'one');
  disk.switchTo(g, first);
  assert.equal(g.current, first);
  const second = disk.make(g, 'two');
  assert.equal(new Generations(disk.files, 'route').current, first);
  assert.equal(disk.files.exists(`${g.dir(second)}/data`), false, 'the unfinished copy was left');
  const third = disk.make(g, 'three');
  disk.switchTo(g, third);
  g.removeOthers([first]);
  assert.ok(disk.files.exists(`${g.dir(first)}/data`), 'an open generation was removed');
  g.remove(first);
  assert.equal(disk.files.exists(`${g.dir(first)}/data`), false);
  assert.ok(g.create() > third, 'a number was used twice');
  assert.deepEqual(shardsOnDisk(disk.files), ['route']);
});

test('generations: whatever a crash leaves, the current one is whole and one that was switched to stays', () => {
  for (let seed = 0; seed < 200; seed++) {
    const disk = new Disk();
    const dice = new Prng(seed);
    const g = new Generations(disk.files, 's');
    const first = disk.make(g, 'one');
    disk.switchTo(g, first);
    const second = disk.make(g, 'two');
    let switched = false;
    g.switchTo(second, () => {
      switched = true;
    });
    for (let n = dice.int(6); n > 0; n--) disk.jobs.shift()?.();
    disk.files = disk.files.crash(dice);
    const again = new Generations(disk.files, 's');
    assert.ok(again.current === second || (!switched && again.current === first), `seed ${seed}: ${again.current}`);
    const content = again.current === second ? 'two' : 'one';
    assert.deepEqual(disk.files.read(`${again.dir(again.current)}/data`), utf8Encode(content), `seed ${seed}`);
  }
});

test("generations: the log's base completes a switch", () => {
  const disk = new Disk();
  const g = new Generations(disk.files, 's');
  disk.switchTo(g, disk.make(g, 'one'));
  const second = disk.make(g, 'two');
  g.prepare(second, (e) => assert.equal(e, undefined));
  disk.run();
  const again = new Generations(disk.files, 's', second);
  assert.deepEqual([again.current, again.switchPending], [second, true]);
  disk.switchTo(again, second);
  assert.equal(again.switchPending, false);
  assert.equal(new Generations(disk.files, 's').current, second);
});

test('generations: lost or foreign ones are told', () => {
  const disk = new Disk();
  const g = new Generations(disk.files, 's');
  const first = disk.make(g, 'one');
  disk.switchTo(g, first);
  disk.files.damage('tables/s/CURRENT', (bytes) => bytes.map((b, i) => (i === 18 ? b ^ 1 : b)));
  const damaged = new Generations(disk.files, 's');
  assert.equal(damaged.current, undefined);
  assert.match(damaged.lost ?? '', /CURRENT is damaged/);
  disk.switchTo(g, first);
  disk.files.removeTree(g.dir(first));
  assert.match(new Generations(disk.files, 's').lost ?? '', /0000000001 is missing/);
  const text = 'starmesh-tables 2 1';
  disk.files.damage('tables/s/CURRENT', () => utf8Encode(`${text} ${'a3c4cbf6'}\n`));
  assert.match(new Generations(disk.files, 's').lost ?? '', /damaged|missing/);
});

test('generations: a newer format is refused', async () => {
  const { crc32c } = await import('#base/crc32c.js');
  const disk = new Disk();
  const g = new Generations(disk.files, 's');
  disk.switchTo(g, disk.make(g, 'one'));
  const text = 'starmesh-tables 2 1';
  disk.files.damage('tables/s/CURRENT', () => utf8Encode(`${text} ${crc32c(utf8Encode(text)).toString(16).padStart(8, '0')}\n`));
  assert.throws(
    () => new Generations(disk.files, 's'),
    (e) => e instanceof GenerationsError && /version 2.*version 1/.test(e.message),
  );
});

test('node file: written as one step, read back, refused when it is of another version or damaged', () => {
  const disk = new Disk();
  assert.equal(readNodeFile(disk.files), undefined);
  const file = { nodeId: '0123456789abcdef0123456789abcdef', clusterId: '', role: 'core', formation: { cores: ['a', 'b'], at: 7 } } as const;
  writeNodeFile(disk.files, file, (e) => assert.equal(e, undefined));
  disk.run();
  assert.deepEqual(readNodeFile(disk.files), file);
  writeNodeFile(disk.files, { ...file, clusterId: 'c' }, (e) => assert.equal(e, undefined));
  disk.run();
  assert.equal(readNodeFile(disk.files.crash(new Prng(3)))?.clusterId, 'c');
  const written = (text: string): void => disk.files.damage('node.json', () => utf8Encode(text));
  written('{"format":2}');
  assert.throws(
    () => readNodeFile(disk.files),
    (e) => e instanceof NodeFileError && e.kind === 'version',
  );
  for (const text of ['', '{', 'null', '[]', '{"format":1}', '{"format":1,"nodeId":"zz","clusterId":"","role":"core"}']) {
    written(text);
    assert.throws(
      () => readNodeFile(disk.files),
      (e) => e instanceof NodeFileError && e.kind === 'damaged',
      text,
    );
  }
});

// A bit turns over in the data file of a running node's tables: what is read is right or refused, and the
// node gets its copy from another one, as it runs.
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DatabaseError, defineShard } from '#node/open-database.js';
import { eventually } from '../cluster/nodes.js';
import { LibraryCluster } from './nodes.js';

const bank = defineShard('bank');
const notes = bank.table<number, string>({ id: 1, name: 'notes' });
const rows = 200;
const text = (n: number): string => `the note with the number ${n}!`;

/** Changes a text wherever it stands in the tables that a node has now. */
class Damager {
  readonly #files: readonly string[];
  readonly #of: Buffer;

  constructor(dataDir: string, of: string) {
    const dir = join(dataDir, 'tables', 'bank');
    const generations = readdirSync(dir).filter((name) => /^\d+$/.test(name));
    this.#files = generations.map((generation) => join(dir, generation, 'data.mdb'));
    this.#of = Buffer.from(of);
  }

  /** Turns over a bit of each that is still right: a commit that was under way may have written another one since. */
  turnOver(): number {
    let found = 0;
    for (const path of this.#files) {
      // The node may have thrown it away by now.
      const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
      if (bytes.length === 0) continue;
      const fd = openSync(path, 'r+');
      for (let at = bytes.indexOf(this.#of); at >= 0; at = bytes.indexOf(this.#of, at + 1)) {
        writeSync(fd, Uint8Array.of((bytes[at + 4] as number) ^ 1), 0, 1, at + 4);
        found++;
      }
      closeSync(fd);
    }
    return found;
  }

  async begin(): Promise<void> {
    await eventually('the rows are in the file', async () => this.turnOver() > 0);
  }
}

function rightOrRefused(read: () => string | undefined, right: string = text(77)): boolean {
  try {
    return read() === right;
  } catch (error) {
    return error instanceof DatabaseError && (error.code === 'damaged' || error.code === 'failed');
  }
}

for (const name of ['core2', 'replicant1'])
  test(`changed bytes in the tables of ${name} are not served, and its copy is replaced while it runs`, async () => {
    const cluster = await LibraryCluster.start({ cores: 3, replicants: 1 }, [bank]);
    try {
      const writer = cluster.node('core1');
      await writer.batch(bank, (b) => {
        for (let n = 0; n < rows; n++) b.put(notes, n, text(n));
      });
      const db = cluster.node(name);
      await db.barrier(bank);
      const events = db.subscribe(notes)[Symbol.asyncIterator]();
      assert.equal((await events.next()).value?.kind, 'reset');
      const damager = new Damager(join(cluster.dir, name), text(77));
      await damager.begin();
      // Until another copy is in service, whether this reader or the node itself is the first to see it.
      let replaced = false;
      const next = events.next().then((event) => {
        replaced = true;
        return event;
      });
      while (!replaced) {
        damager.turnOver();
        assert.ok(rightOrRefused(() => db.get(notes, 77)));
        assert.ok(rightOrRefused(() => new Map(db.range(notes)).get(77)));
        await new Promise((done) => setImmediate(done));
      }
      assert.equal((await next).value?.kind, 'reset');
      assert.equal(db.get(notes, 77), text(77));
      assert.deepEqual(
        [...db.range(notes)],
        Array.from({ length: rows }, (_, n) => [n, text(n)]),
      );
      await writer.put(notes, 77, 'written later', { until: 'effective' });
      await db.barrier(bank);
      assert.equal(db.get(notes, 77), 'written later');
      await cluster.stop(name);
    } finally {
      await cluster.close();
    }
  });

test('the only node of a cluster ends with the reason, and makes its tables from its log when it starts again', async () => {
  const cluster = await LibraryCluster.start({ cores: 1, replicants: 0 }, [bank]);
  try {
    const db = cluster.node('core1');
    await db.batch(bank, (b) => {
      for (let n = 0; n < rows; n++) b.put(notes, n, text(n));
    });
    await db.barrier(bank);
    const damager = new Damager(join(cluster.dir, 'core1'), text(1));
    await damager.begin();
    let ended = false;
    void db.closed.then(() => {
      ended = true;
    });
    while (!ended) {
      damager.turnOver();
      assert.ok(rightOrRefused(() => db.get(notes, 1), text(1)));
      await new Promise((done) => setImmediate(done));
    }
    const failure = await db.closed;
    assert.equal(failure?.code, 'failed');
    assert.match(failure?.message ?? '', /tables of shard bank are damaged/);
    const again = await cluster.start(0);
    assert.equal(again.get(notes, 1), text(1));
  } finally {
    await cluster.close();
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { type BatchResult, type RouteBatch, type RouteOutcome, RouteSyncState } from './route-sync-state.js';

test('a filter is written once, its waiters share the answer, a later one is answered at once', () => {
  const s = new RouteSyncState();
  const got: RouteOutcome[] = [];
  assert.equal(
    s.add('a', (o) => got.push(o), 0),
    false,
  );
  const batch = s.take(0) as RouteBatch;
  assert.deepEqual(batch, { puts: ['a'], deletes: [], fresh: true });
  assert.equal(
    s.add('a', (o) => got.push(o), 0),
    false,
  );
  assert.equal(s.take(0), undefined);
  s.finished(batch, 'effective', 0);
  assert.deepEqual(got, ['effective', 'effective']);
  assert.equal(
    s.add('a', () => assert.fail(), 0),
    true,
  );
});

test('a route that is committed but not effective is put again for the next subscriber', () => {
  const s = new RouteSyncState();
  const got: RouteOutcome[] = [];
  s.add('a', (o) => got.push(o), 0);
  s.finished(s.take(0) as RouteBatch, 'committed', 0);
  assert.equal(
    s.add('a', (o) => got.push(o), 0),
    false,
  );
  s.finished(s.take(0) as RouteBatch, 'effective', 0);
  assert.deepEqual(got, ['committed', 'effective']);
  const keep = new RouteSyncState({ until: 'committed' });
  keep.add('a', (o) => got.push(o), 0);
  keep.finished(keep.take(0) as RouteBatch, 'committed', 0);
  assert.equal(got.pop(), 'committed');
  assert.equal(
    keep.add('a', () => assert.fail(), 0),
    true,
  );
});

test('a removal during a put is written after it, and an add during that after the removal', () => {
  const s = new RouteSyncState();
  const got: RouteOutcome[] = [];
  s.add('a', (o) => got.push(o), 0);
  const put = s.take(0) as RouteBatch;
  s.remove('a');
  assert.deepEqual(got, ['failed']);
  assert.equal(s.take(0), undefined);
  s.finished(put, 'effective', 0);
  const gone = s.take(0) as RouteBatch;
  assert.deepEqual(gone.deletes, ['a']);
  s.add('a', (o) => got.push(o), 0);
  assert.equal(s.take(0), undefined);
  s.finished(gone, 'committed', 0);
  assert.deepEqual((s.take(0) as RouteBatch).puts, ['a']);
});

test('a refused batch is tried one by one; only the culprit fails', () => {
  const s = new RouteSyncState();
  const got: string[] = [];
  for (const f of ['a', 'bad', 'b']) s.add(f, (o) => got.push(`${f} ${o}`), 0);
  for (let batch = s.take(0); batch !== undefined; batch = s.take(0)) s.finished(batch, batch.puts.includes('bad') ? 'refused' : 'effective', 0);
  assert.deepEqual(got.sort(), ['a effective', 'b effective', 'bad failed']);
  assert.equal(s.size, 2);
});

test('waiters give up at their deadline, the write goes on; failures wait before the next try', () => {
  const s = new RouteSyncState({ waitMs: 100, retryMinMs: 50 });
  const got: RouteOutcome[] = [];
  s.add('a', (o) => got.push(o), 0);
  s.finished(s.take(0) as RouteBatch, 'retry', 10);
  assert.equal(s.take(20), undefined);
  assert.equal(s.retryAt(20), 60);
  s.expire(99);
  assert.deepEqual(got, []);
  s.expire(100);
  assert.deepEqual(got, ['failed']);
  assert.equal(s.waiting, false);
  s.finished(s.take(100) as RouteBatch, 'effective', 100);
  assert.equal(s.quiet, true);
  assert.equal(s.wants('a'), true);
});

test('batches are bounded', () => {
  const s = new RouteSyncState({ batchMax: 10, flyingMax: 2 });
  for (let i = 0; i < 35; i++) s.add(`f${i}`, () => {}, 0);
  const first = s.take(0) as RouteBatch;
  const second = s.take(0) as RouteBatch;
  assert.equal(first.puts.length + second.puts.length, 20);
  assert.equal(s.take(0), undefined);
  s.finished(first, 'effective', 0);
  assert.equal(s.take(0)?.puts.length, 10);
});

// A model of the table: batches that end with 'retry' may or may not have happened, but never later than the next one.
test('stored = wanted after quiet, under random changes, failures and new incarnations', () => {
  for (let seed = 0; seed < 300; seed++) {
    const prng = new Prng(seed);
    const s = new RouteSyncState({ batchMax: 3, flyingMax: 3, waitMs: 500 });
    let stored = new Set<string>();
    const wanted = new Set<string>();
    const flying: RouteBatch[] = [];
    const flyingFilters = new Set<string>();
    let open = 0;
    let now = 0;
    const finish = (batch: RouteBatch, result: BatchResult) => {
      if (result !== 'retry' || prng.chance(0.5)) {
        for (const f of batch.puts) stored.add(f);
        for (const f of batch.deletes) stored.delete(f);
      }
      for (const f of [...batch.puts, ...batch.deletes]) flyingFilters.delete(f);
      s.finished(batch, result, now);
    };
    const take = () => {
      const batch = s.take(now);
      if (batch === undefined) return;
      for (const f of [...batch.puts, ...batch.deletes]) {
        assert.ok(!flyingFilters.has(f), 'two changes of one filter in flight');
        flyingFilters.add(f);
      }
      flying.push(batch);
    };
    for (let i = 0; i < 200; i++) {
      now += prng.int(30);
      const f = `f${prng.int(8)}`;
      const step = prng.int(10);
      if (step < 3) {
        wanted.add(f);
        open++;
        if (s.add(f, () => open--, now)) {
          open--;
          assert.ok(stored.has(f), 'answered effective without a row');
        }
      } else if (step < 5) {
        wanted.delete(f);
        s.remove(f);
      } else if (step < 7) take();
      else if (step < 9) {
        const batch = flying.splice(prng.int(flying.length || 1), 1)[0];
        if (batch !== undefined) finish(batch, prng.pick(['effective', 'effective', 'committed', 'retry']));
      } else if (prng.chance(0.2)) {
        stored = new Set();
        s.renew();
      } else s.expire(now);
    }
    for (let i = 0; i < 100 && !s.quiet; i++) {
      now += 3000;
      take();
      for (const batch of flying.splice(0)) finish(batch, 'effective');
    }
    s.expire(now);
    assert.equal(open, 0, `seed ${seed}: waiters left`);
    assert.ok(s.quiet, `seed ${seed}: not quiet`);
    assert.deepEqual([...stored].sort(), [...wanted].sort(), `seed ${seed}`);
    for (const f of wanted) assert.equal(s.wants(f), true);
  }
});

test('a write that was in flight when the incarnation changed is written again', () => {
  const s = new RouteSyncState();
  const got: RouteOutcome[] = [];
  s.add('a', (o) => got.push(o), 0);
  const batch = s.take(0) as RouteBatch;
  s.renew();
  s.finished(batch, 'effective', 0);
  assert.deepEqual(got, [], 'the row was purged with the old incarnation');
  assert.deepEqual((s.take(0) as RouteBatch).puts, ['a']);
});

test('mending writes again what the table lost, and deletes what nobody wants', () => {
  const s = new RouteSyncState();
  s.add('a', () => {}, 0);
  s.finished(s.take(0) as RouteBatch, 'effective', 0);
  const checked: string[] = [];
  s.sweep(10, (f) => checked.push(f));
  assert.deepEqual(checked, ['a']);
  s.mend('a');
  s.mend('ghost');
  assert.deepEqual(s.take(0), { puts: ['a'], deletes: ['ghost'], fresh: true });
});

test('a row whose content changes is written again, later subscribers do not wait for it', () => {
  const s = new RouteSyncState();
  s.touch('a');
  assert.equal(s.take(0), undefined, 'nobody wants it');
  const got: RouteOutcome[] = [];
  s.add('a', (o) => got.push(o), 0);
  const first = s.take(0) as RouteBatch;
  s.touch('a');
  s.touch('a');
  assert.equal(s.take(0), undefined, 'one change in flight');
  s.finished(first, 'effective', 0);
  assert.deepEqual(got, ['effective']);
  const again = (): void => assert.fail('waits');
  assert.equal(s.add('a', again, 0), true);
  const second = s.take(0) as RouteBatch;
  assert.deepEqual(second, { puts: ['a'], deletes: [], fresh: false });
  assert.equal(s.add('a', again, 0), true);
  s.finished(second, 'committed', 0);
  assert.equal(s.add('a', again, 0), true);
  assert.ok(s.quiet);
  // A removal in between ends that.
  s.touch('a');
  const third = s.take(0) as RouteBatch;
  s.remove('a');
  assert.equal(
    s.add('a', (o) => got.push(o), 0),
    false,
  );
  s.finished(third, 'effective', 0);
  assert.ok(s.quiet);
  s.touch('a');
  s.renew();
  assert.equal(
    s.add('a', (o) => got.push(o), 0),
    false,
  );
});

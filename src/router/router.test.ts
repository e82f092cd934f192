import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { byteString, compareBytes } from '#base/bytes.js';
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import { MatchCache } from './match-cache.js';
import { decodeRouteFilter, decodeSharedKey, decodeTopicKey, encodeRouteKey, encodeSharedKey, encodeTopicKey, sharedKeyEnd } from './route-key.js';
import { RouteMatcher, type RouteRows } from './route-match.js';
import { RouteShapes, shapePattern } from './route-shapes.js';
import { scanTopics } from './topic-scan.js';

// Letters that sort around the separators and wildcards, control characters, and a few of several bytes.
const letters = ['a', 'b', 'ab', '', '$x', '\u0001', '\u0002', 'a\u0001', 'é', '😀', ' ', '!', '0'];
const name = fc.array(fc.constantFrom(...letters), { minLength: 1, maxLength: 5 }).map((l) => l.join('/'));
const filter = fc
  .tuple(fc.array(fc.constantFrom('+', '+', ...letters), { minLength: 1, maxLength: 5 }), fc.boolean())
  .map(([l, multi]) => (multi ? [...l.slice(0, -1), '#'] : l).join('/'));

function matches(topicFilter: string, topicName: string): boolean {
  const f = topicFilter.split('/');
  const t = topicName.split('/');
  if (topicName.startsWith('$') && (f[0] === '+' || f[0] === '#')) return false;
  for (const [i, level] of f.entries()) {
    if (level === '#') return true;
    if (i >= t.length || (level !== '+' && level !== t[i])) return false;
    if (i === t.length - 1 && i === f.length - 2 && f[i + 1] === '#') return true;
  }
  return f.length === t.length;
}

function compareLevels(a: string, b: string): number {
  const x = a.split('/').map(utf8Encode);
  const y = b.split('/').map(utf8Encode);
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const d = compareBytes(x[i] as Uint8Array, y[i] as Uint8Array);
    if (d !== 0) return d;
  }
  return x.length - y.length;
}

class SortedKeys implements RouteRows {
  keys: Uint8Array[] = [];
  seeks = 0;
  add(key: Uint8Array): void {
    const i = this.#at(key);
    if (this.keys[i] === undefined || compareBytes(this.keys[i], key) !== 0) this.keys.splice(i, 0, key);
  }
  delete(key: Uint8Array): void {
    const i = this.#at(key);
    if (this.keys[i] !== undefined && compareBytes(this.keys[i], key) === 0) this.keys.splice(i, 1);
  }
  #at(key: Uint8Array): number {
    let lo = 0;
    let hi = this.keys.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (compareBytes(this.keys[mid] as Uint8Array, key) < 0) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }
  range(start: Uint8Array, visit: (key: Uint8Array) => boolean): void {
    this.seeks++;
    for (let i = this.#at(start); i < this.keys.length; i++) if (!visit(this.keys[i] as Uint8Array)) return;
  }
  prefix(prefix: Uint8Array, visit: (key: Uint8Array) => boolean): void {
    this.range(prefix, (key) => compareBytes(key.subarray(0, prefix.length), prefix) === 0 && visit(key));
  }
  has?(key: Uint8Array): boolean;
  seek(key: Uint8Array): Uint8Array | undefined {
    this.seeks++;
    return this.keys[this.#at(key)];
  }
}

/** Whose keys are a filter and a node, so that one can be asked for. */
class PlainKeys extends SortedKeys {
  override has(key: Uint8Array): boolean {
    const found = this.seek(key);
    return found !== undefined && compareBytes(found, key) === 0;
  }
}

const nodes = [new Prng(1).bytes(16), new Prng(2).bytes(16), new Uint8Array(16), new Uint8Array(16).fill(1)];

test('route keys: decode ∘ encode = identity, order by levels', () => {
  fc.assert(
    fc.property(name, name, (a, b) => {
      assert.equal(decodeTopicKey(encodeTopicKey(a)), a);
      assert.equal(Math.sign(compareBytes(encodeTopicKey(a), encodeTopicKey(b))), Math.sign(compareLevels(a, b)));
    }),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.constantFrom(...nodes), (f, node) => {
      const key = encodeRouteKey(f, node);
      assert.equal(decodeRouteFilter(key), f);
      assert.deepEqual(key.subarray(key.length - 16), node);
    }),
  );
  assert.equal(decodeTopicKey(Uint8Array.of(2, 9, 0)), undefined);
  assert.equal(decodeTopicKey(Uint8Array.of(0x61)), undefined);
  const long = 'x'.repeat(65_535);
  assert.equal(decodeRouteFilter(encodeRouteKey(long, nodes[0] as Uint8Array)), long);
});

test('shapes: what each level is', () => {
  const shape = (f: string) => shapePattern(encodeRouteKey(f, nodes[2] as Uint8Array));
  assert.equal(shape('a/+/b/#'), 'L+L#');
  assert.equal(shape('//+'), 'LL+');
  assert.equal(shape('#'), '#');
  assert.equal(shape('\u0001/\u0002'), 'LL');
});

function setUp(filters: readonly string[], shapesMax: number, counted: boolean, seeksMax?: number, rows: SortedKeys = new SortedKeys()) {
  const shapes = new RouteShapes(shapesMax);
  shapes.reset();
  if (counted) shapes.finishCount();
  for (const [i, f] of filters.entries()) {
    const key = encodeRouteKey(f, nodes[i % nodes.length] as Uint8Array);
    rows.add(key);
    shapes.put(key);
  }
  return { rows, shapes, matcher: new RouteMatcher(rows, shapes, seeksMax) };
}

for (const [way, shapesMax, counted, Rows = SortedKeys] of [
  ['by shape', 64, true],
  ['by shape and node', 64, true, PlainKeys],
  ['by skip-scan, shapes overflowing', 1, true],
  ['by skip-scan, shapes unknown', 64, false],
] as const) {
  test(`match ${way} finds exactly the filters that a naive matcher finds`, () => {
    fc.assert(
      fc.property(fc.array(filter, { maxLength: 40 }), fc.array(name, { maxLength: 5 }), (filters, names) => {
        const { rows, matcher } = setUp(filters, shapesMax, counted, undefined, new Rows());
        for (const topicName of names) {
          const found: string[] = [];
          assert.ok(
            matcher.match(topicName, (key) => {
              found.push(byteString(key));
              return true;
            }),
          );
          const expected = rows.keys.filter((k) => matches(decodeRouteFilter(k) ?? '', topicName)).map(byteString);
          assert.deepEqual(found.sort(), expected.sort());
        }
      }),
      { numRuns: 400 },
    );
  });
}

test('match stops when the visitor has enough, and gives up at its bound', () => {
  const filters: string[] = [];
  for (let bits = 0; bits < 1024; bits++) filters.push(Array.from({ length: 10 }, (_, i) => ((bits >> i) & 1 ? '+' : 'a')).join('/'));
  const topicName = Array.from({ length: 10 }, () => 'a').join('/');
  const { matcher } = setUp(filters, 64, true, 100);
  let seen = 0;
  assert.equal(
    matcher.match(topicName, () => ++seen < 5),
    true,
  );
  assert.equal(seen, 5);
  seen = 0;
  assert.equal(
    matcher.match(topicName, () => {
      seen++;
      return true;
    }),
    false,
  );
  assert.ok(seen > 0 && seen <= 100);
});

test('the rows of the node that asks are not looked up', () => {
  const rows = new PlainKeys();
  const { shapes } = setUp(['a/+', 'a/b', '#', 'a/#'], 64, true, undefined, rows);
  const found: string[] = [];
  const self = byteString(nodes[0] as Uint8Array);
  new RouteMatcher(rows, shapes, undefined, self).match('a/b', (key) => found.push(decodeRouteFilter(key) ?? '') > 0);
  assert.deepEqual(found.sort(), ['#', 'a/#', 'a/b']);
});

test('names and filters of 200 levels', () => {
  const deep = Array.from({ length: 200 }, (_, i) => `${i % 7}`);
  const topicName = deep.join('/');
  const filters = [
    topicName,
    `${deep.slice(0, 199).join('/')}/+`,
    `${deep.slice(0, 100).join('/')}/#`,
    deep.map((l, i) => (i % 2 ? '+' : l)).join('/'),
  ];
  for (const counted of [true, false]) {
    const { matcher, rows } = setUp([...filters, `${topicName}/x`, `${deep.slice(1).join('/')}/#`], 64, counted, undefined, new PlainKeys());
    const found: string[] = [];
    assert.ok(matcher.match(topicName, (key) => found.push(decodeRouteFilter(key) ?? '') > 0));
    assert.deepEqual(found.sort(), [...filters].sort());
    assert.ok(rows.seeks < 2_000, `${rows.seeks} seeks`);
  }
});

test('10,000 overlapping filters: the work is bounded, and giving up is said', () => {
  const levels = 14;
  const filters = Array.from({ length: 10_000 }, (_, bits) => Array.from({ length: levels }, (_, i) => ((bits >> i) & 1 ? '+' : 'a')).join('/'));
  const rows = new PlainKeys();
  const { matcher } = setUp(filters, 64, true, 500, rows);
  const topicName = Array.from({ length: levels }, () => 'a').join('/');
  assert.equal(
    matcher.match(topicName, () => true),
    false,
  );
  assert.ok(rows.seeks <= 1_002, `${rows.seeks} seeks`);
});

test('shapes: repeated puts and feeds that lie never lose a shape that has a row', () => {
  const key = encodeRouteKey('a/+', nodes[0] as Uint8Array);
  const other = encodeRouteKey('b/+', nodes[1] as Uint8Array);
  const { shapes, rows } = setUp(['a/+'], 64, true);
  shapes.remove(other);
  assert.equal(shapes.doubtful, true);
  assert.deepEqual(
    shapes.list().map((s) => s.pattern),
    ['L+'],
  );
  shapes.beginCount();
  for (const k of rows.keys) shapes.counted(k);
  shapes.put(other);
  shapes.finishCount();
  assert.equal(shapes.total, 2);
  shapes.purge(byteString(nodes[0] as Uint8Array));
  assert.equal(shapes.total, 1);
  shapes.remove(other);
  shapes.remove(key);
  assert.equal(shapes.doubtful, true);
  shapes.beginCount();
  shapes.finishCount();
  assert.deepEqual(shapes.list(), []);
  assert.equal(shapes.total, 0);
});

test('match cache: never serves a result that a change has made wrong', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(filter, name, fc.boolean()), { maxLength: 60 }), (steps) => {
      const cache = new MatchCache<string>(8);
      const stored = new Set<string>();
      // What somebody remembers beside the cache, while nothing has changed.
      let beside = { changes: -1, topicName: '', value: '' };
      const result = (t: string) =>
        [...stored]
          .filter((f) => matches(f, t))
          .sort()
          .join(' ');
      for (const [f, t, put] of steps) {
        if (put) stored.add(f);
        else stored.delete(f);
        if (t.length === 3) cache.clear();
        else cache.changed(f);
        for (const topicName of [t, f.replaceAll('+', 'a').replaceAll('#', 'b')]) {
          const hit = cache.get(topicName);
          if (hit !== undefined) assert.equal(hit, result(topicName));
          else cache.set(topicName, result(topicName));
          if (beside.changes === cache.changes) assert.equal(beside.value, result(beside.topicName));
          beside = { changes: cache.changes, topicName, value: result(topicName) };
          assert.equal(cache.get(topicName), result(topicName));
        }
        assert.ok(cache.size <= 8);
      }
    }),
    { numRuns: 500 },
  );
});

test('match cache: a change elsewhere leaves an entry alone', () => {
  const cache = new MatchCache<number>();
  cache.set('fleet/7/state', 1);
  cache.changed('fleet/8/+');
  cache.changed('other/+');
  assert.equal(cache.get('fleet/7/state'), 1);
  cache.changed('fleet/7/#');
  assert.equal(cache.get('fleet/7/state'), undefined);
});

test('topic scan visits exactly the matching names, in order, from any point on', () => {
  fc.assert(
    fc.property(fc.array(name, { maxLength: 60 }), filter, fc.option(name, { nil: undefined }), (names, f, after) => {
      const rows = new SortedKeys();
      for (const n of names) rows.add(encodeTopicKey(n));
      const found: string[] = [];
      scanTopics(
        rows,
        f,
        (key) => {
          found.push(decodeTopicKey(key) ?? '?');
          return true;
        },
        after,
      );
      const expected = rows.keys
        .map((k) => decodeTopicKey(k) ?? '')
        .filter((n) => matches(f, n) && (after === undefined || compareLevels(n, after) > 0));
      assert.deepEqual(found, expected);
    }),
    { numRuns: 2000 },
  );
});

test('topic scan skips what cannot match', () => {
  const rows = new SortedKeys();
  for (let i = 0; i < 50; i++) for (let k = 0; k < 50; k++) rows.add(encodeTopicKey(`d${i}/k${k}`));
  let n = 0;
  scanTopics(rows, '+/k7', () => ++n > 0);
  assert.equal(n, 50);
  assert.ok(rows.seeks < 160, `${rows.seeks} seeks`);
});

test('keys of shared routes: read as written, and in the shape of their filter', () => {
  const names = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(fc.array(fc.oneof(names, fc.constantFrom('+', '\u0001', '\u0002', '')), { minLength: 1, maxLength: 4 }), names, (levels, group) => {
      const topicFilter = levels.join('/');
      const node = new Uint8Array(16).fill(7);
      const key = encodeSharedKey(topicFilter, group, node);
      assert.deepEqual(decodeSharedKey(key), { topicFilter, group });
      assert.deepEqual(key.subarray(key.length - 16), node);
      assert.equal(shapePattern(key, sharedKeyEnd(key)), shapePattern(encodeRouteKey(topicFilter, node)));
    }),
  );
  assert.equal(decodeSharedKey(new Uint8Array(3)), undefined);
});

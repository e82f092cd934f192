// Topic Names and Topic Filters: tables from section 4.7, and the text they are made of.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '#base/prng.js';
import { fcOptions } from './arbitraries.test.js';
import { decodeText, isSendableText } from './text.js';
import {
  formatTopicFilter,
  hasWildcard,
  isSharedFilter,
  isTopicFilter,
  isTopicName,
  isWellFormedFilter,
  matches,
  parseTopicFilter,
} from './topic.js';

test('topic: names', () => {
  for (const name of ['a', '/', 'a/b', '//', ' ', '$SYS/x', 'a//b', 'grüße', '😀', '__proto__', '/'.repeat(127), 'é'.repeat(32_767)])
    assert.ok(isTopicName(name), name);
  for (const name of ['', '+', '#', 'a/+/b', 'a#', 'a\0b', '\ud800', '/'.repeat(128), 'é'.repeat(32_768), 'a'.repeat(65_536)])
    assert.ok(!isTopicName(name), name);
  assert.ok(isTopicName('/'.repeat(200), 201));
});

test('topic: filters', () => {
  for (const filter of ['a', '/', '#', '+', '+/+', '/+', 'a/#', '+/#', 'a/+/b', '+/', '$SYS/#', '/#', 'a//+'])
    assert.ok(isTopicFilter(filter), filter);
  for (const filter of ['', 'a#', '#/a', 'a/#/b', 'a+', '+a', 'a/+b', 'a/b+/c', '##', '#a', '++', 'a\0', '/'.repeat(128)])
    assert.ok(!isTopicFilter(filter), filter);
});

test('topic: shared subscriptions', () => {
  for (const [filter, group, topicFilter] of [
    ['$share/g/a', 'g', 'a'],
    ['$share/g/#', 'g', '#'],
    ['$share/g//', 'g', '/'],
    ['$share/g/a/+/b', 'g', 'a/+/b'],
    ['$share/__proto__/x/y', '__proto__', 'x/y'],
    ['$shared/g/a', undefined, '$shared/g/a'],
    ['a/$share/g', undefined, 'a/$share/g'],
  ] as const) {
    const parsed = parseTopicFilter(filter);
    assert.deepEqual(parsed, { topicFilter, group });
    assert.equal(formatTopicFilter({ topicFilter, group }), filter);
    assert.equal(isSharedFilter(filter), group !== undefined);
  }
  for (const filter of [
    '$share',
    '$share/',
    '$share/g',
    '$share/g/',
    '$share//a',
    '$share/+/a',
    '$share/#/a',
    '$share/g#/a',
    '$share/g/$share/x/y',
    '$share/g/$queue/x',
    '$queue/',
    '$queue/$queue/x',
    '$queue/a#',
    '$share/g/a#',
    `$share/g/${'/'.repeat(128)}`,
  ]) {
    assert.equal(parseTopicFilter(filter), undefined, filter);
  }
  assert.deepEqual(parseTopicFilter('$queue/a/+'), { topicFilter: 'a/+', group: '$queue' });
  assert.ok(isSharedFilter('$queue/a'));
  // Filters for the specification, though not for us.
  for (const filter of ['$share/g/$share/x/y', '$queue/', '$queue/$queue/x']) assert.ok(isWellFormedFilter(filter));
  for (const filter of ['$share/g', '$share/g/', '$share//a', '$share/g/a#', '$queue/a#']) assert.ok(!isWellFormedFilter(filter));
  assert.deepEqual(parseTopicFilter('$queue'), { topicFilter: '$queue', group: undefined });
  assert.deepEqual([hasWildcard('a/b'), hasWildcard('+'), hasWildcard('a/#')], [false, true, true]);
});

test('topic: matching', () => {
  const table: readonly [filter: string, names: string[], others: string[]][] = [
    [
      'sport/tennis/player1/#',
      ['sport/tennis/player1', 'sport/tennis/player1/ranking', 'sport/tennis/player1/score/x'],
      ['sport/tennis', 'sport/tennis/player2'],
    ],
    ['sport/#', ['sport', 'sport/', 'sport/x'], ['sports', '/sport']],
    ['#', ['a', '/', 'a/b', '/a'], ['$SYS', '$SYS/a']],
    ['sport/tennis/+', ['sport/tennis/player1', 'sport/tennis/'], ['sport/tennis/player1/ranking', 'sport/tennis']],
    ['sport/+', ['sport/'], ['sport']],
    ['+/+', ['/finance', 'a/b'], ['$SYS/a', 'a', 'a/b/c']],
    ['/+', ['/finance'], ['finance']],
    ['+', ['finance'], ['/finance', '$SYS']],
    ['+/monitor/Clients', ['a/monitor/Clients'], ['$SYS/monitor/Clients']],
    ['$SYS/#', ['$SYS', '$SYS/', '$SYS/monitor'], ['a']],
    ['$SYS/+', ['$SYS/a'], ['$SYS']],
    ['a/+/b', ['a/$x/b', 'a//b'], ['a/b']],
    ['ACCOUNTS', ['ACCOUNTS'], ['Accounts']],
  ];
  for (const [filter, names, others] of table) {
    for (const name of names) assert.ok(matches(filter, name), `${filter} ${name}`);
    for (const name of others) assert.ok(!matches(filter, name), `${filter} ${name}`);
  }
});

test('topic: matching agrees with a regular expression', () => {
  const level = fc.constantFrom('a', 'b', '', '$c');
  const filter = fc
    .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([levels, hash]) => [...levels, ...(hash ? ['#'] : [])].join('/'));
  const name = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'));
  fc.assert(
    fc.property(filter, name, (f, n) => {
      if (!isTopicFilter(f) || !isTopicName(n)) return;
      const pattern = f
        .replaceAll('$', '\\$')
        .replace(/^([+])/, '(?!\\$)$1')
        .replace(/^#$/, '(?!\\$).*')
        .replaceAll('+', '[^/]*')
        .replace(/\/#$/, '(/.*)?');
      assert.equal(matches(f, n), new RegExp(`^${pattern}$`).test(n));
    }),
    { ...fcOptions, numRuns: 3000 },
  );
});

test('text: agrees with the platform on what is UTF-8, U+0000 apart', () => {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const prng = new Prng(fcOptions.seed);
  const pieces = ['a', '/', 'é', '€', '😀', '\ufeff', '\uffff', 'plain ascii '].map((s) => Buffer.from(s));
  for (let round = 0; round < 5000; round++) {
    const parts: Uint8Array[] = [];
    for (let n = prng.int(prng.chance(0.05) ? 900 : 8); n > 0; n--) parts.push(prng.chance(0.03) ? prng.bytes(prng.range(1, 4)) : prng.pick(pieces));
    const bytes = Buffer.concat(parts);
    let expected: string | undefined;
    try {
      expected = strict.decode(bytes);
    } catch {
      expected = undefined;
    }
    if (expected?.includes('\0')) expected = undefined;
    assert.equal(decodeText(bytes, 0, bytes.length), expected);
    if (expected !== undefined) assert.ok(isSendableText(expected));
  }
  for (const hex of ['c1bf', 'e09fbf', 'f08fbfbf', 'f4908080', 'eda080', 'edbfbf', 'f5808080', '80', 'e282', 'c3']) {
    const bytes = Buffer.from(hex, 'hex'); // one too low, one too high, a surrogate, cut off
    assert.equal(decodeText(bytes, 0, bytes.length), undefined, hex);
  }
  for (let n = 1020; n < 1030; n++) {
    for (const s of ['é'.repeat(n), `${'é'.repeat(n)}😀😀`, '😀'.repeat(n), `a${'😀'.repeat(n)}`])
      assert.equal(decodeText(Buffer.from(s), 0, Buffer.byteLength(s)), s);
  }
  assert.equal(decodeText(new Uint8Array(60_000).fill(0x61), 0, 60_000), 'a'.repeat(60_000));
});

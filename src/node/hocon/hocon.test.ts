import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HoconError } from './errors.js';
import { type HoconInput, readHocon } from './hocon.js';
import type { Value } from './nodes.js';
import { parseBytes, parseDurationMs, parsePercent, parseRatePerSecond } from './units.js';

type Plain = string | number | boolean | null | Plain[] | { [key: string]: Plain };

function plain(value: Value): Plain {
  if (value.kind === 'scalar') return value.value;
  if (value.kind === 'list') return value.items.map(plain);
  return Object.fromEntries([...value.fields].map(([key, v]) => [key, plain(v)]));
}

function read(text: string, more: Partial<HoconInput> = {}): Plain {
  return plain(readHocon({ file: 'test.conf', text, readText: () => undefined, environment: () => undefined, ...more }));
}

function fails(text: string, message: RegExp, more: Partial<HoconInput> = {}): void {
  assert.throws(
    () => read(text, more),
    (error) => error instanceof HoconError && (message.test(error.message) || assert.fail(error.message)),
    text,
  );
}

test('plain settings: separators, comments, nesting, dotted and quoted keys', () => {
  const text = `
    # comment
    node { name = "core1@10.0.0.5", role = core } // another
    node.data_dir : /var/lib/starmesh
    listeners.tcp.default { bind = "0.0.0.0:1883" }
    listeners.tcp."my.listener".enable = false
    a-b_c = 1.50
    empty = {}
  `;
  assert.deepEqual(read(text), {
    node: { name: 'core1@10.0.0.5', role: 'core', data_dir: '/var/lib/starmesh' },
    listeners: { tcp: { default: { bind: '0.0.0.0:1883' }, 'my.listener': { enable: false } } },
    'a-b_c': 1.5,
    empty: {},
  });
  assert.deepEqual(read('{ a = 1, }'), { a: 1 });
  assert.deepEqual(read('\ufeffa = 1\r\nb = x\r\n'), { a: 1, b: 'x' });
  assert.deepEqual(read(''), {});
});

test('values: types, white space inside, addresses without quotes, raw strings', () => {
  assert.deepEqual(read('a = true\nb = 15s\nc = -1e3\nd = null\ne = 010\nf = hello   world  # x\ng = infinity\nh=80%'), {
    a: true,
    b: '15s',
    c: -1000,
    d: null,
    e: '010',
    f: 'hello   world',
    g: 'infinity',
    h: '80%',
  });
  assert.deepEqual(read('a = [core1@10.0.0.5:4370, "x y", core2@host]'), { a: ['core1@10.0.0.5:4370', 'x y', 'core2@host'] });
  assert.deepEqual(read('a = """SELECT "x"\n\\n FROM y"""" \nb = "tab\\t\\u00e9"'), { a: 'SELECT "x"\n\\n FROM y"', b: 'tab\té' });
  assert.deepEqual(read('a = foo "bar" 1'), { a: 'foo bar 1' });
});

test('objects merge, everything else replaces, later wins', () => {
  assert.deepEqual(read('a { b = 1, c = 2 }\na { c = 3, d { e = 1 } }\na.d.f = 2'), { a: { b: 1, c: 3, d: { e: 1, f: 2 } } });
  assert.deepEqual(read('a = [1, 2]\na = [3]'), { a: [3] });
  assert.deepEqual(read('a = {b = 1}\na = 2\na = {c = 3}'), { a: { c: 3 } });
});

test('lists: append, elements by 1-based index, elements on lines of their own', () => {
  assert.deepEqual(read('a += 1\na += 2'), { a: [1, 2] });
  assert.deepEqual(read('a = [1]\na += {b = 2}'), { a: [1, { b: 2 }] });
  assert.deepEqual(read('a = [{x = 1, on = true}, {x = 2}]\na.1.on = false\na.3.x = 3'), { a: [{ x: 1, on: false }, { x: 2 }, { x: 3 }] });
  assert.deepEqual(read('a = [\n 1\n 2,\n 3\n]'), { a: [1, 2, 3] });
  assert.deepEqual(read('a = [1] [2, 3]'), { a: [1, 2, 3] });
  fails('a = [1]\na.3 = 1', /test\.conf:2:\d: index 3 of a list of 1/);
});

test('substitutions: settings first, then the environment, optional ones leave nothing', () => {
  const environment = (name: string): string | undefined => (name === 'HOST' ? 'h1' : undefined);
  assert.deepEqual(read('a = ${b.c}\nb { c = 5 }'), { a: 5, b: { c: 5 } });
  assert.deepEqual(read('name = "core1@"${HOST}', { environment }), { name: 'core1@h1' });
  assert.deepEqual(read('a = x\na = ${?NONE}', { environment }), { a: 'x' });
  assert.deepEqual(read('a = [1, ${?NONE}]\nb = ${?NONE}', { environment }), { a: [1] });
  assert.deepEqual(read('base { x = 1, y = 1 }\nd = ${base} { y = 2 }'), { base: { x: 1, y: 1 }, d: { x: 1, y: 2 } });
  assert.deepEqual(read('p = "a"\np = ${p}":b"\np = ${p}":c"'), { p: 'a:b:c' });
  assert.deepEqual(read('l = [1]\nl = ${l} [2]'), { l: [1, 2] });
  assert.deepEqual(read('a { x = 1, y = ${a.x} }'), { a: { x: 1, y: 1 } });
  assert.deepEqual(read('a = ${b}\na { y = 2 }\nb { x = 1 }\nc = ${a.x}'), { a: { x: 1, y: 2 }, b: { x: 1 }, c: 1 });
  fails('a = 1\nb = ${c.d}', /test\.conf:2:5: \$\{c\.d\} is neither a setting nor/);
  fails('a = ${b}\nb = ${a}', /leads back to itself/);
  fails('a { b = ${a} }', /contains itself|leads back/);
  fails('a = ${b} [1]\nb = 1', /cannot follow/);
});

test('include: beside the including file, required or not, bounded', () => {
  const files = new Map([
    ['etc/more/x.conf', 'b = 2\ninclude "y.conf"'],
    ['etc/more/y.conf', 'c = ${a}'],
    ['etc/loop.conf', 'include "loop.conf"'],
    ['etc/bad.conf', '\n  b = = 2'],
  ]);
  const more = { file: 'etc/main.conf', readText: (path: string) => files.get(path) };
  assert.deepEqual(read('a = 1\ninclude "more/x.conf"\nnested { include file("more/y.conf") }', more), { a: 1, b: 2, c: 1, nested: { c: 1 } });
  assert.deepEqual(read('include "absent.conf"\ninclude = 1', more), { include: 1 });
  fails('include required(file("absent.conf"))', /etc\/main\.conf:1:1: there is no file etc\/absent\.conf/, more);
  fails('include "loop.conf"', /files that include each other/, more);
  fails('include "bad.conf"', /etc\/bad\.conf:2:7: expected a value, found =/, more);
});

test('overlays: parsed as HOCON values and laid over the file', () => {
  const overlays = [
    { path: ['node', 'role'], text: 'replicant', source: 'environment X' },
    { path: ['cluster', 'static', 'seeds'], text: '[a@h, "b@h"]', source: 'environment Y' },
    { path: ['auth', '1', 'enable'], text: 'false', source: 'environment Z' },
    { path: ['empty'], text: '', source: 'environment E' },
  ];
  assert.deepEqual(read('node { role = core, name = n }\nauth = [{enable = true, x = 1}]', { overlays }), {
    node: { role: 'replicant', name: 'n' },
    auth: [{ enable: false, x: 1 }],
    cluster: { static: { seeds: ['a@h', 'b@h'] } },
    empty: '',
  });
  assert.deepEqual(read('', { overlays: [{ path: ['a'], text: ' a#b, {c} ', source: 'X' }] }), { a: 'a#b, {c}' });
  fails('', /environment X:1:5: /, { overlays: [{ path: ['a'], text: '[a] , b', source: 'environment X' }] });
});

test('mistakes are named with file, line and column', () => {
  fails('a = 1\nb 2', /test\.conf:2:3: expected = or \{ after the key b, found 2/);
  fails('a {\n b = 1', /test\.conf:1:3: this \{ is never closed/);
  fails('a = [1, 2', /test\.conf:1:5: this \[ is never closed/);
  fails('a = "x\nb = 1', /test\.conf:1:5: this " is not closed on its line/);
  fails('a = """x', /never closed/);
  fails('a = 1 }', /test\.conf:1:7: this \} closes nothing/);
  fails('a =\n}', /no value/);
  fails('a = "\\x"', /no escape/);
  fails('a = http://host', /put the address in quotes/);
  fails('a = 1 b = 2', /unexpected =|expected/);
  fails('a = $b', /stands in quotes/);
  fails('= 1', /expected a key/);
});

test('keys of the object prototype are ordinary keys', () => {
  const value = readHocon({
    file: 'f',
    text: '__proto__ { x = 1 }\nconstructor.prototype.y = 2',
    readText: () => undefined,
    environment: () => undefined,
  });
  assert.deepEqual([...value.fields.keys()], ['__proto__', 'constructor']);
  assert.ok(!('x' in {}) && !('y' in {}));
});

test('a small text cannot unfold into a huge one, nor nest without end', () => {
  const lines = ['l0 = [x, x, x, x, x, x, x, x, x, x]', 's0 = "0123456789"'];
  for (let i = 1; i < 12; i++) lines.push(`l${i} = ${`\${l${i - 1}}`.repeat(10)}`);
  fails(lines.join('\n'), /unfold/);
  const strings = ['s0 = "0123456789"'];
  for (let i = 1; i < 30; i++) strings.push(`s${i} = \${s${i - 1}}\${s${i - 1}}\${s${i - 1}}`);
  fails(strings.join('\n'), /unfold/);
  fails('a = '.padEnd(100_000, '['), /inside each other/);
  fails('a{'.repeat(50_000), /inside each other/);
  fails(`${'a.'.repeat(40)}b = 1`, /parts/);
  fails(Array.from({ length: 100 }, () => 'a = ${x}').join('\n'), /assignments/);
});

test('property: whatever the text, the reader answers or throws its own error', () => {
  const pieces = [
    '{',
    '}',
    '[',
    ']',
    '=',
    ':',
    '+=',
    ',',
    '.',
    '"',
    '"""',
    '${',
    '${?',
    'a',
    'b',
    'a.b',
    '1',
    ' ',
    '\n',
    '#',
    '//',
    '\\',
    'include ',
    'include "f"',
    '$',
    '?',
    'null',
    '__proto__',
    'é',
    '\u0000',
  ];
  const environment = (name: string): string | undefined => (name === 'b' ? 'x' : undefined);
  const attempt = (text: string): void => {
    try {
      readHocon({ file: 'f', text, readText: (path) => (path === 'f' ? text : undefined), environment });
    } catch (error) {
      if (!(error instanceof HoconError)) throw error;
      assert.ok(error.at.line >= 1 && error.at.column >= 1);
    }
  };
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 40 }), (parts) => attempt(parts.join(''))),
    { numRuns: 5000, seed: 1 },
  );
  fc.assert(
    fc.property(fc.string({ maxLength: 60, unit: 'binary' }), (text) => attempt(text)),
    { numRuns: 2000, seed: 2 },
  );
  const assignments = fc.array(
    fc.tuple(
      fc.constantFrom('a', 'b', 'a.b', 'b.a', 'a.1'),
      fc.constantFrom('=', '+='),
      fc.constantFrom('1', '[1]', '{b=1}', '${a}', '${?b}', '${a.b}', '[${b}]', '{a=${b}}', '${a}${b}', '{1=${a.b}}'),
    ),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(assignments, (lines) => attempt(lines.map((l) => l.join('')).join('\n'))),
    { numRuns: 5000, seed: 3 },
  );
});

test('property: JSON is HOCON', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), (object) => {
      const expected = JSON.parse(JSON.stringify(object)) as Plain;
      assert.deepEqual(JSON.parse(JSON.stringify(read(JSON.stringify(object)))), expected);
    }),
    { numRuns: 500, seed: 4 },
  );
});

test('units: durations, sizes, shares, rates', () => {
  assert.deepEqual(['15s', '1h', '1h30m', '250ms', '1.5 s', '1d', '15', 'x', '', '5 parsecs'].map(parseDurationMs), [
    15_000,
    3_600_000,
    5_400_000,
    250,
    1500,
    86_400_000,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  assert.deepEqual(['1MB', '16KB', '10', '1 GB', '1.5kb', '1TBx', '-1'].map(parseBytes), [
    1_048_576,
    16_384,
    10,
    1_073_741_824,
    1536,
    undefined,
    undefined,
  ]);
  assert.deepEqual(['80%', '0.5', '1', '120%', 'x'].map(parsePercent), [0.8, 0.5, 1, undefined, undefined]);
  assert.deepEqual(['1000/s', '1MB/s', '500/10s', '10/m', '5', '5/0s'].map(parseRatePerSecond), [1000, 1_048_576, 50, 10 / 60, undefined, undefined]);
});

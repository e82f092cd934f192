import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { prometheusText } from './prometheus.js';

test('counters, gauges and labels are written as the format wants them', () => {
  const text = prometheusText([
    { type: 'counter', name: 'a_total', help: 'Two\nlines \\', samples: [{ labels: {}, value: 3 }] },
    { type: 'gauge', name: 'b', help: 'B', samples: [{ labels: { shard: 'a"b\\c\nd', node: 'n' }, value: Number.POSITIVE_INFINITY }] },
    { type: 'gauge', name: 'empty', help: 'left out', samples: [] },
  ]);
  assert.equal(
    text,
    [
      '# HELP a_total Two\\nlines \\\\',
      '# TYPE a_total counter',
      'a_total 3',
      '# HELP b B',
      '# TYPE b gauge',
      'b{shard="a\\"b\\\\c\\nd",node="n"} +Inf',
      '',
    ].join('\n'),
  );
});

test('a histogram has its buckets, the one without bound, sum and count', () => {
  const sample = { labels: { shard: 'x' }, buckets: [{ le: 0.5, count: 1 }], count: 2, sum: 1.5 };
  const text = prometheusText([{ type: 'histogram', name: 'h', help: 'H', samples: [sample] }]);
  assert.deepEqual(text.trimEnd().split('\n').slice(2), [
    'h_bucket{shard="x",le="0.5"} 1',
    'h_bucket{shard="x",le="+Inf"} 2',
    'h_sum{shard="x"} 1.5',
    'h_count{shard="x"} 2',
  ]);
});

test('a family that is given twice is announced once', () => {
  const family = (node: string) => ({ type: 'gauge', name: 'g', help: 'G', samples: [{ labels: { node }, value: 1 }] }) as const;
  const lines = prometheusText([family('a'), { type: 'gauge', name: 'other', help: '', samples: [{ labels: {}, value: 0 }] }, family('b')]).split(
    '\n',
  );
  assert.equal(lines.filter((l) => l.startsWith('# TYPE g ')).length, 1);
  assert.deepEqual(lines.slice(2, 4), ['g{node="a"} 1', 'g{node="b"} 1']);
});

test('no label value breaks out of its line', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (value) => {
      const lines = prometheusText([{ type: 'gauge', name: 'g', help: '', samples: [{ labels: { value }, value: 1 }] }]).split('\n');
      assert.equal(lines.length, 4);
      const quoted = /^g\{value="((?:[^"\\\n]|\\[\\"n])*)"\} 1$/s.exec(lines[2] ?? '');
      const back = quoted?.[1]?.replaceAll(/\\(.)/gs, (_, c: string) => (c === 'n' ? '\n' : c));
      assert.equal(back, value);
    }),
  );
});

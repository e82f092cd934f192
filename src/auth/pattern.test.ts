import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Pattern, PatternError } from './pattern.js';

const atom = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\d', '(?:ab)', '(a|b)', '\\.', '[a-c]');
const piece = fc.tuple(atom, fc.constantFrom('', '*', '+', '?', '{2}', '{1,2}', '{0,}', '*?')).map(([a, q]) => a + q);
const pattern = fc
  .tuple(fc.boolean(), fc.array(piece, { maxLength: 4 }), fc.boolean(), fc.option(fc.array(piece, { maxLength: 2 })))
  .map(([start, pieces, end, other]) => `${start ? '^' : ''}${pieces.join('')}${end ? '$' : ''}${other === null ? '' : `|${other.join('')}`}`);

test('matches what a RegExp matches', () => {
  fc.assert(
    fc.property(pattern, fc.string({ unit: fc.constantFrom('a', 'b', 'c', '1', '.', '\n'), maxLength: 8 }), (source, text) => {
      assert.equal(new Pattern(source).test(text), new RegExp(source).test(text), `${source} on ${JSON.stringify(text)}`);
    }),
    { numRuns: 3_000 },
  );
});

test('stays linear where backtracking would not', () => {
  assert.equal(new Pattern('^(a*)*(a|a)*(a?)*$').test(`${'a'.repeat(1_000)}b`), false);
  assert.equal(new Pattern('^(a*)*$').test('a'.repeat(1_000)), true);
});

test('says what it does not know, and is bounded', () => {
  for (const bad of ['(', ')', '[a', 'a{2,1}', '*', '(?=a)', '\\', '\\b', '((((a{99}){99}){99}){99}', '(){9999}{9999}', 'a'.repeat(600)]) {
    assert.throws(() => new Pattern(bad), PatternError, bad);
  }
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'ab()[]{}|*+?^$\\-,19.'), maxLength: 20 }), (source) => {
      try {
        new Pattern(source).test('aab');
      } catch (error) {
        assert.ok(error instanceof PatternError);
      }
    }),
    { numRuns: 2_000 },
  );
});

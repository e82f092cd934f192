import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isTopicFilter, matches } from '#mqtt/topic.js';
import {
  covers,
  overlaps,
  type PlaceholderValues,
  parseLevels,
  parseRuleTopic,
  type RuleTopic,
  ruleMatchesFilter,
  ruleMatchesName,
} from './rule-topic.js';

const depth = 3;
/** The empty name, which no packet can have, counts like the others. `z` stands in no filter: for all the levels that filters do not name. */
const nameLevels = ['a', 'b', '', '$s', 'z'];
const names: string[] = [];
function grow(prefix: string[], left: number): void {
  if (prefix.length > 0) names.push(prefix.join('/'));
  if (left > 0) for (const level of nameLevels) grow([...prefix, level], left - 1);
}
grow([], depth + 1);

const filter = fc
  .tuple(fc.array(fc.constantFrom('a', 'b', '', '$s', '+', '+'), { minLength: 0, maxLength: depth }), fc.boolean())
  .map(([levels, hash]) => [...levels, ...(hash ? ['#'] : [])].join('/'))
  .filter((f) => isTopicFilter(f));

test('covers and overlaps against every name', () => {
  fc.assert(
    fc.property(filter, filter, (a, b) => {
      const inA = names.filter((n) => matches(a, n));
      const inB = names.filter((n) => matches(b, n));
      const all = inB.every((n) => matches(a, n));
      assert.equal(covers(parseLevels(a), parseLevels(b)), all, `${a} covers ${b}`);
      assert.equal(
        overlaps(parseLevels(a), parseLevels(b)),
        inA.some((n) => matches(b, n)),
        `${a} overlaps ${b}`,
      );
    }),
    { numRuns: 3_000 },
  );
});

function topic(text: string): RuleTopic {
  const parsed = parseRuleTopic(text, isTopicFilter);
  assert.ok(typeof parsed !== 'string', String(parsed));
  return parsed;
}

const as =
  (clientid: string, username?: string): PlaceholderValues =>
  (name) =>
    name === 'clientid' ? clientid : name === 'username' ? username : undefined;

test('a client id widens nothing, whatever is in it', () => {
  const id = fc.string({ unit: fc.constantFrom('a', 'b', '/', '+', '#', '$', '{', '}', '\0', 'clientid'), minLength: 1, maxLength: 6 });
  const rules = ['c/${clientid}/#', '${clientid}', 'x-${clientid}-y/+', '${clientid}/#'].map(topic);
  fc.assert(
    fc.property(id, fc.constantFrom(...rules), filter, (clientid, rule, wanted) => {
      const values = as(clientid);
      const plain = !/[/+#\0]/.test(clientid);
      const literal = rule.kind === 'template' ? rule.text.replaceAll('${clientid}', () => clientid) : '';
      for (const name of names) {
        const expected = plain && matches(literal, name);
        assert.equal(ruleMatchesName(rule, name, values, false), expected, `${literal} for ${name}`);
      }
      if (!plain) assert.equal(ruleMatchesFilter(rule, wanted, values, false), false);
    }),
    { numRuns: 300 },
  );
});

test('a rule that denies is never narrower for a strange id than for any plain one', () => {
  const strange = fc.string({ unit: fc.constantFrom('a', '/', '+', '#'), minLength: 1, maxLength: 4 }).filter((s) => /[/+#]/.test(s));
  const rule = topic('c/${clientid}/d');
  fc.assert(
    fc.property(strange, fc.constantFrom('a', 'b'), (id, plain) => {
      for (const name of ['c/a/d', 'c/b/d', 'c', 'c/a']) {
        if (ruleMatchesName(rule, name, as(plain), true)) assert.ok(ruleMatchesName(rule, name, as(id), true));
      }
    }),
  );
});

test('a missing value matches nothing that is allowed and everything that is denied', () => {
  const rule = topic('u/${username}/#');
  assert.equal(ruleMatchesName(rule, 'u/x', as('c'), false), false);
  assert.equal(ruleMatchesName(rule, 'u/x', as('c'), true), true);
  assert.equal(ruleMatchesName(rule, 'v/x', as('c'), true), false);
  assert.equal(ruleMatchesFilter(rule, 'u/me/+', as('c', 'me'), false), true);
});

test('eq takes a topic literally', () => {
  const rule = topic('eq #');
  assert.equal(ruleMatchesFilter(rule, '#', as('c'), true), true);
  assert.equal(ruleMatchesFilter(rule, 'a/#', as('c'), true), false);
  assert.equal(ruleMatchesName(topic('eq t/${clientid}'), 't/${clientid}', as('c'), false), true);
});

test('a rule that allows must cover the filter, one that denies must only touch it', () => {
  assert.equal(ruleMatchesFilter(topic('a/+'), 'a/b', as('c'), false), true);
  assert.equal(ruleMatchesFilter(topic('a/b'), 'a/+', as('c'), false), false);
  assert.equal(ruleMatchesFilter(topic('a/b'), 'a/+', as('c'), true), true);
  assert.equal(ruleMatchesFilter(topic('secret/#'), '#', as('c'), true), true);
  assert.equal(ruleMatchesFilter(topic('$SYS/#'), '#', as('c'), true), false);
});

test('unknown placeholders and bad filters are named', () => {
  for (const bad of ['a/${password}', 'a/#/b', 'a${', 'x+/${clientid}', '']) {
    const parsed = parseRuleTopic(bad, isTopicFilter);
    if (bad === 'a${') assert.equal(typeof parsed, 'object');
    else assert.equal(typeof parsed, 'string', bad);
  }
});

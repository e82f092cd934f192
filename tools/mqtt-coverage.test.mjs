// The coverage of MQTT's statements must notice what is missing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { citationsOf, makeReport, parseStatements } from './mqtt-coverage.mjs';

const statements = parseStatements(`# a comment
5.0 1.1.1-1 server done
5.0 1.1.1-2 both not cited
5.0 1.1.1-3 server left out ! for a reason
5.0 1.1.1-4 client theirs

3.1.1 2.2.2-2 server = 1.1.1-1 the same
3.1.1 2.2.2-3 server its own
`);

test('citations: of both versions, with the test around them or right below', () => {
  const source = `// [MQTT-1.1.1-1] [MQTT-2.2.2-3] of 3.1.1
const x = 1;

// [MQTT-1.1.1-2]
test('below', () => {
  f(); // [MQTT-1.1.1-3]
});

test(\`named [MQTT-1.1.1-4]\`, () => {});
`;
  assert.deepEqual(citationsOf(source, true), [
    { key: '5.0 1.1.1-1', test: '' },
    { key: '3.1.1 2.2.2-3', test: '' },
    { key: '5.0 1.1.1-2', test: 'below' },
    { key: '5.0 1.1.1-3', test: 'below' },
    { key: '5.0 1.1.1-4', test: 'named [MQTT-1.1.1-4]' },
  ]);
  assert.equal(citationsOf(source, false)[0].test, undefined);
});

test('what is missing, or names nothing, is a problem', () => {
  const cited = (...keys) => new Map(keys.map((key) => [key, new Set(['somewhere'])]));
  const { problems, counts } = makeReport(statements, { code: cited('5.0 1.1.1-1', '5.0 9.9.9-9'), tests: cited('5.0 1.1.1-1', '3.1.1 2.2.2-3') });
  assert.deepEqual(problems.sort(), [
    'MQTT 3.1.1 [MQTT-2.2.2-3] (its own) is cited by no code',
    'MQTT 5.0 [MQTT-1.1.1-2] (not cited) is cited by no code',
    'MQTT 5.0 [MQTT-1.1.1-2] (not cited) is named by no test',
    'somewhere cites [MQTT-9.9.9-9], which MQTT 5.0 does not have',
  ]);
  assert.match(counts[0], /^MQTT 5\.0: 4 statements; 3 bind a server, of which 1 are cited/);
  const all = ['5.0 1.1.1-1', '5.0 1.1.1-2', '3.1.1 2.2.2-3'];
  const whole = makeReport(statements, { code: cited(...all), tests: cited(...all) });
  assert.deepEqual(whole.problems, []);
  assert.match(whole.text, /\| 2\.2\.2-2 \(5\.0: 1\.1\.1-1\) \| the same \| `somewhere` \| somewhere \|/);
  assert.match(whole.text, /not done: for a reason/);
});

test('a line that is no statement is refused', () => {
  assert.throws(() => parseStatements('5.0 1.1.1-1 nobody words'), /not a statement/);
});

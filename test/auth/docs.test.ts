// The settings shown in docs/access.md are settings that a node takes.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { accessSettings } from '#node/access-settings.js';
import { loadConfig } from '#node/config/load.js';

test('every example of docs/access.md can be used', () => {
  const text = readFileSync(new URL('../../../docs/access.md', import.meta.url), 'utf8');
  const examples = [...text.matchAll(/```hocon\n([\s\S]*?)```|<<'CONF'\n([\s\S]*?)CONF/g)].map((m) => m[1] ?? m[2] ?? '');
  assert.ok(examples.length >= 7);
  for (const example of examples) {
    const { config } = loadConfig({ file: 'example', text: example, readText: () => undefined, environment: {} });
    assert.deepEqual(accessSettings(config).problems, [], example);
  }
});

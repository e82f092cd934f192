// Commands about what the broker has: delayed messages, exclusive subscriptions, cached verdicts, evacuation.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EvacuationOptions, type EvacuationStatus, evacuationDefaults } from '#broker/evacuation.js';
import { runCtl } from './commands.js';
import type { CtlHandlers } from './handlers.js';

/** None of these commands asks for the rest. */
function fake(name: string): CtlHandlers {
  return { status: () => ({ node: name, role: 'core', version: '0.1.0', state: 'running' }) } as CtlHandlers;
}

test('commands: delayed messages and exclusive subscriptions', async () => {
  const message = {
    msgid: 'a1',
    topic: 'later/t',
    qos: 1,
    retain: false,
    from_clientid: 'c',
    expected_at: '2030-01-01T00:00:00.000Z',
    delayed_remaining: 9,
    payload_bytes: 2,
  };
  const asked: string[] = [];
  const node: CtlHandlers = {
    ...fake('core1@h'),
    delayed: {
      count: () => 1,
      max: 0,
      list: () => [message],
      show: (id) => (id === 'a1' ? { ...message, payload: 'aGk=' } : undefined),
      delete: async (id) => (id === 'a1' ? undefined : 'there is no such message'),
    },
    exclusive: {
      list: () => [{ topic: 't/1', clientid: 'c1' }],
      delete: async (topic) => {
        asked.push(topic);
        return topic === 't/1' ? undefined : `nobody has $exclusive/${topic}`;
      },
    },
  };
  const run = (...words: string[]) => runCtl(words, node);
  assert.deepEqual(await run('delayed', 'info'), {
    ok: true,
    text: 'Number of delayed messages: 1 (no limit)',
    data: { count: 1, max_delayed_messages: 0 },
  });
  assert.equal((await run('delayed', 'list')).text, 'a1 later/t qos:1 from:c at:2030-01-01T00:00:00.000Z (in 9 s)');
  assert.match((await run('delayed', 'show', 'a1')).text, /^msgid +: a1\n(?:.*\n)+payload +: aGk=$/);
  assert.deepEqual(await run('delayed', 'show', 'b'), { ok: false, text: 'there is no delayed message b' });
  assert.equal((await run('delayed', 'delete', 'a1')).text, 'ok');
  assert.deepEqual(await run('delayed', 'delete', 'b'), { ok: false, text: 'b is not deleted: there is no such message' });
  assert.equal((await run('exclusive', 'list')).text, 't/1 -> c1');
  assert.equal((await run('exclusive', 'delete', '$exclusive/t/1')).ok, true);
  assert.deepEqual(await run('exclusive', 'delete', 'x'), { ok: false, text: 'x is not free: nobody has $exclusive/x' });
  assert.deepEqual(asked, ['t/1', 'x']);
  for (const words of [
    ['delayed', 'show'],
    ['delayed', 'delete'],
    ['exclusive', 'delete'],
  ])
    assert.match((await run(...words)).text, /^usage: /);
  assert.match((await runCtl(['delayed', 'list'], fake('core1@h'))).text, /delayed\.enable = false/);
});

test('commands: cached verdicts of access control', async () => {
  const asked: unknown[] = [];
  const node: CtlHandlers = {
    ...fake('core1@h'),
    authz: {
      clean: async (where, clientId) => {
        asked.push([where, clientId]);
        return clientId === 'far' ? ['core2@h'] : [];
      },
    },
  };
  const run = (...words: string[]) => runCtl(['authz', 'cache-clean', ...words], node);
  assert.equal((await run('all')).text, 'the cached verdicts are forgotten');
  assert.equal((await run('node')).ok, true);
  assert.equal((await run('node', 'core1@h')).text, 'the cached verdicts are forgotten on this node');
  assert.equal((await run('c1')).text, 'the cached verdicts on c1 are forgotten');
  assert.deepEqual(await run('far'), { ok: false, text: 'core2@h did not answer; the cached verdicts on far are forgotten on the others' });
  assert.match((await run('node', 'core2@h')).text, /^this is core1@h: ask core2@h itself/);
  for (const words of [[], ['a', 'b'], ['node', 'a', 'b']]) assert.match((await run(...words)).text, /^usage: /);
  assert.deepEqual(asked, [
    ['everywhere', undefined],
    ['here', undefined],
    ['here', undefined],
    ['everywhere', 'c1'],
    ['everywhere', 'far'],
  ]);
});

test('commands: evacuation', async () => {
  let options: Partial<EvacuationOptions> | undefined;
  const status: EvacuationStatus = {
    state: 'evicting_sessions',
    options: evacuationDefaults,
    initialConnections: 10,
    connections: 0,
    initialSessions: 7,
    sessions: 3,
    stuck: 1,
    recipients: ['core2@h'],
  };
  const node: CtlHandlers = {
    ...fake('core1@h'),
    evacuation: {
      start: (given) => {
        options = given;
        return undefined;
      },
      stop: () => {
        const was = options !== undefined;
        options = undefined;
        return was;
      },
      status: () => (options === undefined ? undefined : status),
    },
  };
  const run = (...words: string[]) => runCtl(['rebalance', ...words], node);
  assert.deepEqual(await run('node-status'), { ok: true, text: 'Rebalance disabled', data: { status: 'disabled' } });
  assert.equal((await run('stop')).ok, false);
  const flags = [
    '--conn-evict-rate',
    '20',
    '--sess-evict-rate',
    '10',
    '--wait-health-check',
    '0',
    '--wait-takeover',
    '2m',
    '--redirect-to',
    'b:1883',
  ];
  assert.equal((await run('start', '--evacuation', ...flags, '--migrate-to', 'a@h b@h')).ok, true);
  assert.deepEqual(options, {
    connectionRate: 20,
    sessionRate: 10,
    waitHealthCheckMs: 0,
    waitTakeoverMs: 120_000,
    redirectTo: 'b:1883',
    migrateTo: ['a@h', 'b@h'],
  });
  const said = await run('node-status');
  assert.match(
    said.text,
    /^Rebalance type: evacuation\nRebalance state: evicting_sessions\nConnections: 0 of 10, 500 a second\nSessions: 3 of 7, 500 a second; 1 that/,
  );
  const { stats, state } = said.data as { readonly stats: Record<string, number>; readonly state: string };
  assert.deepEqual([state, stats.current_sessions, stats.stuck_sessions], ['evicting_sessions', 3, 1]);
  assert.equal((await run('stop')).ok, true);
  assert.equal((await runCtl(['cluster', 'evacuate', '--wait-takeover', '0'], node)).ok, true);
  assert.deepEqual(options, { waitTakeoverMs: 0 });
  for (const words of [[], ['--evacuation', '--conn-evict-rate'], ['--evacuation', '--conn-evict-rate', '0'], ['--evacuation', '--fast', '1']])
    assert.match((await run('start', ...words)).text, /usage: starmesh ctl rebalance start/);
});

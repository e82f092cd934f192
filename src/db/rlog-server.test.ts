import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import { dbBounds } from './bounds.js';
import { decodeRlog, type RlogMessage } from './rlog-codec.js';
import { RlogServer, type ServedSource } from './rlog-server.js';

/** How a core that stands like this answers a node that opens a stream without anything of its own. */
function answer(standing: { readonly readyToServe: boolean; readonly leads: boolean }, role: 'core' | 'replicant'): string {
  const sent: RlogMessage[] = [];
  const env = { clock: { now: () => 0, endOfTurn: () => {} }, log: { info: () => {} }, metrics: { counter: () => ({ value: 0 }) } } as unknown as Env;
  const links = {
    send: (_to: string, _lane: string, frame: Uint8Array) => {
      sent.push(decodeRlog(frame));
      return 'sent';
    },
    peer: () => undefined,
  } as unknown as Links;
  const source = {
    shard: 'items',
    historyId: 'h',
    commitIndex: 9,
    committedTransactions: 9,
    firstIndex: 10,
    appliedIndex: 9,
    leaseUntil: 0,
    leaseFloor: 0,
    store: { stat: () => ({ rows: 3 }) },
    ...standing,
  } as unknown as ServedSource;
  const server = new RlogServer(env, links, dbBounds, source, () => {});
  server.receive({ nodeId: 'n', name: 'n', role }, {
    type: 'open',
    shard: 'items',
    stream: 1,
    clusterId: 'c',
    historyId: 'h',
    appliedIndex: 0,
    appliedTerm: 0,
    force: true,
  } as unknown as RlogMessage);
  const [opened] = sent;
  return opened?.type === 'opened' ? opened.mode : 'nothing';
}

test('a leader that cannot commit without a core gives it its tables, though it is not in service itself', () => {
  assert.equal(answer({ readyToServe: false, leads: true }, 'core'), 'bootstrap');
  assert.equal(answer({ readyToServe: false, leads: true }, 'replicant'), 'later');
  assert.equal(answer({ readyToServe: false, leads: false }, 'core'), 'later');
  assert.equal(answer({ readyToServe: true, leads: false }, 'replicant'), 'bootstrap');
});

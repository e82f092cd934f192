import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeOutcomes } from '#broker/outcomes.js';
import type { AckOutcome } from '#broker/ports.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryNetwork } from '../doubles/memory-links.js';

const id = (i: number): string => i.toString(16).padStart(32, '0');

function cluster(n: number) {
  const clock = new ManualClock();
  const net = new MemoryNetwork(clock);
  const nodes = Array.from({ length: n }, (_, i) => new NodeOutcomes(clock, net.start(id(i + 1), i + 1), id(i + 1), 77));
  net.linkAll();
  clock.advance(10);
  return { clock, net, nodes: nodes as [NodeOutcomes, NodeOutcomes] };
}

const outcomes: readonly AckOutcome[] = [
  { packetId: 7, reasonCode: 0x10 },
  { packetId: 65_535, reasonCode: 0x97 },
];

test('who asks before, after, or on the same node gets the answer once', () => {
  const { clock, nodes } = cluster(2);
  let known: readonly AckOutcome[] | undefined;
  const ticket = nodes[0].offer(() => known);
  const answers: (readonly AckOutcome[] | undefined)[] = [];
  nodes[1].ask(ticket, (a) => void answers.push(a));
  nodes[0].ask(ticket, (a) => void answers.push(a));
  clock.advance(1_000);
  assert.equal(answers.length, 0);
  known = outcomes;
  clock.advance(100);
  nodes[1].ask(ticket, (a) => void answers.push(a));
  clock.advance(100);
  assert.deepEqual(answers, [outcomes, outcomes, outcomes]);
});

test('a broken link is waited for; a dead node, a forgotten ticket and the bound end the wait', () => {
  const { clock, net, nodes } = cluster(2);
  const answers: (readonly AckOutcome[] | undefined)[] = [];
  const ask = (ticket: string): void => nodes[1].ask(ticket, (a) => void answers.push(a));
  const ticket = nodes[0].offer(() => outcomes);
  net.cut(id(1), id(2));
  ask(ticket);
  clock.advance(1_000);
  assert.equal(answers.length, 0);
  net.heal(id(1), id(2));
  clock.advance(1_000);
  assert.deepEqual(answers.splice(0), [outcomes]);

  clock.advance(40_000);
  ask(ticket);
  clock.advance(10);
  assert.deepEqual(answers.splice(0), [undefined]);

  ask(nodes[0].offer(() => undefined));
  clock.advance(11_000);
  assert.equal(answers.length, 0);
  clock.advance(2_000);
  assert.deepEqual(answers.splice(0), [undefined]);

  ask(nodes[0].offer(() => undefined));
  clock.advance(100);
  net.kill(id(1));
  clock.advance(500);
  assert.deepEqual(answers, [undefined]);
});

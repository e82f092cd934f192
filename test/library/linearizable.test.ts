// Real processes: three cores and a replicant, clients on all of them at a few registers, the leader
// killed with SIGKILL in the middle and started again. What the clients were told must have one order.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { checkParts, partition } from '../../sim/linearizability/checker.js';
import { explain } from '../../sim/linearizability/explain.js';
import { unknownOutput } from '../../sim/linearizability/model.js';
import { Recorder } from '../../sim/linearizability/recorder.js';
import { type RegisterInput, type RegisterOutput, register, registerKey, withFewerOpenEnds } from '../../sim/linearizability/register.js';
import { freePorts, within } from '../cluster/nodes.js';
import { type Asked, RegisterProcess } from './register-process.js';

const seed = 20_260;
const names = ['core1', 'core2', 'core3', 'replicant1'];
const keys = ['a', 'b', 'c', 'd'];
const clientsPerNode = 2;
/** Answers after which the leader is killed, it is started again, and everything ends. */
const killAfter = 1_200;
const restartAfter = 2_400;
const endAfter = 4_800;
const runMsMax = 120_000;
const visitsMax = 5_000_000;

function draw(prng: Prng, value: number, believed: ReadonlyMap<string, number>): { readonly input: RegisterInput; readonly request: Asked } {
  const key = prng.pick(keys);
  const roll = prng.next();
  if (roll < 0.4) return { input: { kind: 'read', key }, request: { op: 'read', key } };
  if (roll < 0.6) {
    const until = prng.pick(['committed', 'applied', 'effective'] as const);
    return { input: { kind: 'write', key, value }, request: { op: 'write', key, value, until } };
  }
  if (roll < 0.7) return { input: { kind: 'swap', key, value }, request: { op: 'swap', key, value } };
  const expect = believed.get(key) ?? 0;
  return { input: { kind: 'cas', key, expect, value }, request: { op: roll < 0.85 ? 'cas' : 'transaction', key, expect, value } };
}

/** All clients, and the counting of their answers that decides what happens when. */
class Load {
  readonly history: Recorder<RegisterInput, RegisterOutput> = new Recorder();
  answers = 0;
  unknown = 0;
  #nextValue = 1;
  #nextClient = 1;
  #waiting: { readonly at: number; readonly then: () => void }[] = [];

  reached(at: number): Promise<void> {
    if (this.answers >= at) return Promise.resolve();
    return new Promise((then) => this.#waiting.push({ at, then }));
  }

  #answered(): void {
    this.answers++;
    const due = this.#waiting.filter((w) => w.at <= this.answers);
    this.#waiting = this.#waiting.filter((w) => w.at > this.answers);
    for (const w of due) w.then();
  }

  /** One operation after the other, until all clients together have had enough, or the node is gone. */
  async client(node: RegisterProcess): Promise<void> {
    const client = this.#nextClient++;
    const prng = new Prng(seed).fork(`client ${client}`);
    const believed = new Map<string, number>();
    while (this.answers < endAfter) {
      const { input, request } = draw(prng, this.#nextValue++, believed);
      const call = this.history.called(`${client} on ${node.name}`, input);
      const reply = await node.ask(request);
      if (reply === undefined) {
        this.unknown++;
        return;
      }
      if ('value' in reply) {
        const output = Number(reply.value);
        call.returned(output);
        believed.set(input.key, input.kind === 'read' || (input.kind === 'cas' && output !== input.expect) ? output : input.value);
      } else if ('failed' in reply) call.failed();
      else this.unknown++;
      this.#answered();
    }
  }
}

async function run(nodes: readonly RegisterProcess[], load: Load): Promise<void> {
  await Promise.all(nodes.map((n) => n.start()));
  const clients = (n: RegisterProcess): Promise<void>[] => Array.from({ length: clientsPerNode }, () => load.client(n));
  const running = nodes.flatMap(clients);
  await load.reached(killAfter);
  const found = await (nodes[0] as RegisterProcess).ask({ op: 'leader' });
  assert.ok(found !== undefined && 'value' in found);
  const leader = nodes.find((n) => n.name === found.value);
  assert.ok(leader !== undefined, `a leader is known, not ${JSON.stringify(found)}`);
  await leader.kill();
  await load.reached(restartAfter);
  await leader.start();
  running.push(...clients(leader));
  await Promise.all(running);
}

test('what clients of real processes were told has one order, a leader killed in the middle', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-linearizable-'));
  const ports = await freePorts(names.length);
  const host = '127.0.0.1';
  const cores = names.slice(0, 3).map((name, i) => ({ name, host, port: ports[i] ?? 0 }));
  const nodes = names.map((name, i) => {
    const role = i < 3 ? 'core' : 'replicant';
    return new RegisterProcess(name, {
      name,
      role,
      dataDir: join(dir, name),
      cores,
      cookie: 'a cookie of this test alone',
      listen: { host, port: ports[i] },
    });
  });
  const load = new Load();
  try {
    await within(runMsMax, () => `the run; ${load.answers} answers so far`, run(nodes, load));
  } finally {
    await Promise.all(nodes.map((n) => n.kill()));
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  }
  const { operations } = load.history;
  const parts = new Map([...partition(operations, registerKey)].map(([key, part]) => [key, withFewerOpenEnds(part)]));
  const result = checkParts(register, parts, { visitsMax });
  assert.equal(result.verdict, 'ok', explain(register, result));
  t.diagnostic(`${operations.length} operations, ${load.unknown} of them without a certain outcome, ${result.visits} steps`);
  // What was checked is worth it: every kind happened, comparisons were won and lost.
  const told = operations.filter((o) => o.output !== unknownOutput);
  const won = told.filter((o) => o.input.kind === 'cas' && o.output === o.input.expect).length;
  const lost = told.filter((o) => o.input.kind === 'cas' && o.output !== o.input.expect).length;
  assert.ok(won > 20 && lost > 20, `${won} comparisons won, ${lost} lost`);
  assert.ok(told.length > endAfter / 2);
  // And the verdict is one: with the last read changed to what nobody wrote, it is refused.
  const last = told.findLast((o) => o.input.kind === 'read');
  assert.ok(last !== undefined);
  const bent = operations.map((o) => (o === last ? { ...o, output: -1 } : o));
  assert.equal(checkParts(register, partition(bent, registerKey), { visitsMax }).verdict, 'illegal');
});

// A steady load on nodes of register-node.ts, with what every client was told. Some operations are on a
// few registers that change all the time, whose history is checked for linearizability; the others write
// rows of their own once, which must all be there at the end if they were acknowledged, and must not be
// if the node said that they will not happen.
import assert from 'node:assert/strict';
import { Prng } from '#base/prng.js';
import { checkParts, partition } from '../../sim/linearizability/checker.js';
import { explain } from '../../sim/linearizability/explain.js';
import { Recorder } from '../../sim/linearizability/recorder.js';
import { type RegisterInput, type RegisterOutput, register, registerKey } from '../../sim/linearizability/register.js';
import type { Dump } from '../library/register-node.js';
import type { Asked, RegisterProcess } from '../library/register-process.js';

/** Registers are left behind after so many operations: the search for an order stays short, whatever is never answered. */
const operationsPerWindow = 80;
const registersPerWindow = 2;
const visitsMax = 20_000_000;
const goneLookMs = 20;

export interface LoadShape {
  /** Begins the names of its rows and registers, so that several loads can follow each other. */
  readonly name: string;
  readonly seed: number;
  readonly clientsPerNode: number;
  /** Pause of a client between an answer and its next operation. */
  readonly pauseMs: number;
}

/** 'gone': the process ended first. */
export type Told = 'done' | 'failed' | 'unknown' | 'gone';

export interface Outcome {
  readonly node: string;
  readonly kind: string;
  /** By the clock of the process that runs the load, in ms. */
  readonly calledAt: number;
  endedAt: number;
  told: Told;
  why: string;
}

interface Row {
  readonly value: number;
  readonly outcome: Outcome;
}

export interface LoadCounts {
  readonly operations: number;
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
}

export class Load {
  readonly history: Recorder<RegisterInput, RegisterOutput> = new Recorder();
  readonly outcomes: Outcome[] = [];
  readonly #rows: Map<string, Row> = new Map();
  readonly #shape: LoadShape;
  #clients: Promise<void>[] = [];
  #nextClient = 1;
  #nextValue = 1;
  #registerOperations = 0;
  #stopping = false;

  constructor(shape: LoadShape) {
    this.#shape = shape;
  }

  /** Begins, or goes on after `stop`, on these nodes. */
  start(nodes: readonly RegisterProcess[]): void {
    this.#stopping = false;
    for (const node of nodes) for (let i = 0; i < this.#shape.clientsPerNode; i++) this.#clients.push(this.#client(node));
  }

  /** Resolves when every operation has been answered, or its process is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#clients);
    this.#clients = [];
  }

  async #client(node: RegisterProcess): Promise<void> {
    const name = `${this.#nextClient++} on ${node.name}`;
    const prng = new Prng(this.#shape.seed).fork(name);
    const believed = new Map<string, number>();
    while (!this.#stopping) {
      if (!node.running) await pause(goneLookMs);
      else if (prng.next() < 0.5) await this.#row(node);
      else await this.#operation(node, name, prng, believed);
      await pause(this.#shape.pauseMs * (0.5 + prng.next()));
    }
  }

  async #ask(node: RegisterProcess, kind: string, request: Asked): Promise<{ readonly outcome: Outcome; readonly value: number }> {
    const outcome: Outcome = { node: node.name, kind, calledAt: performance.now(), endedAt: Number.POSITIVE_INFINITY, told: 'gone', why: '' };
    this.outcomes.push(outcome);
    const reply = await node.ask(request);
    outcome.endedAt = performance.now();
    if (reply === undefined) return { outcome, value: 0 };
    if ('value' in reply) {
      outcome.told = 'done';
      return { outcome, value: Number(reply.value) };
    }
    outcome.told = 'failed' in reply ? 'failed' : 'unknown';
    outcome.why = 'failed' in reply ? reply.failed : reply.unknown;
    return { outcome, value: 0 };
  }

  async #row(node: RegisterProcess): Promise<void> {
    const value = this.#nextValue++;
    const key = `${this.#shape.name}/row/${value}`;
    const { outcome } = await this.#ask(node, 'row', { op: 'write', key, value, until: 'committed' });
    this.#rows.set(key, { value, outcome });
  }

  async #operation(node: RegisterProcess, client: string, prng: Prng, believed: Map<string, number>): Promise<void> {
    const window = Math.floor(this.#registerOperations++ / (operationsPerWindow * registersPerWindow));
    const key = `${this.#shape.name}/register/${window}/${prng.int(registersPerWindow)}`;
    const value = this.#nextValue++;
    const { input, request } = draw(prng, key, value, believed.get(key) ?? 0);
    const call = this.history.called(client, input);
    const { outcome, value: output } = await this.#ask(node, request.op, request);
    if (outcome.told === 'failed') call.failed();
    if (outcome.told !== 'done') return;
    call.returned(output);
    believed.set(key, input.kind === 'read' || (input.kind === 'cas' && output !== input.expect) ? output : input.value);
  }

  get counts(): LoadCounts {
    const told = (what: readonly Told[]): number => this.outcomes.filter((o) => what.includes(o.told)).length;
    return { operations: this.outcomes.length, acknowledged: told(['done']), refused: told(['failed']), unknown: told(['unknown', 'gone']) };
  }

  /** After `stop`: rows that were acknowledged are in the copy with their values, refused ones are not. */
  checkRows(who: string, dump: Dump): void {
    const found = new Map(dump.rows);
    const wrong: string[] = [];
    for (const [key, { value, outcome }] of this.#rows) {
      const is = found.get(key);
      const bad = is === undefined ? outcome.told === 'done' : is !== value || outcome.told === 'failed';
      if (bad) wrong.push(`${key} (${outcome.told} ${outcome.why}, by ${outcome.node}) is ${is ?? 'missing'}`);
    }
    assert.deepEqual(wrong, [], `${who} at ${dump.index}, ${this.#rows.size} rows written`);
  }

  /** After `stop`: what the clients of registers were told has one order. Returns the number of operations. */
  checkOrder(): number {
    const { operations } = this.history;
    const result = checkParts(register, partition(operations, registerKey), { visitsMax });
    assert.equal(result.verdict, 'ok', explain(register, result));
    return operations.length;
  }
}

function draw(prng: Prng, key: string, value: number, expect: number): { readonly input: RegisterInput; readonly request: Asked } {
  const roll = prng.next();
  if (roll < 0.4) return { input: { kind: 'read', key }, request: { op: 'read', key } };
  if (roll < 0.6) {
    const until = prng.pick(['committed', 'applied', 'effective'] as const);
    return { input: { kind: 'write', key, value }, request: { op: 'write', key, value, until } };
  }
  if (roll < 0.75) return { input: { kind: 'swap', key, value }, request: { op: 'swap', key, value } };
  return { input: { kind: 'cas', key, expect, value }, request: { op: roll < 0.9 ? 'cas' : 'transaction', key, expect, value } };
}

export function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

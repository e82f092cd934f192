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

/** A core with so many receivers that are in step, and a clock that is moved by hand. */
class Served {
  at = 1_000;
  commitIndex = 9;
  /** Who was sent entries, in order. */
  readonly sent: string[] = [];
  readonly sentUpTo: Map<string, number> = new Map();
  readonly server: RlogServer;
  #ends: (() => void)[] = [];
  #timers: { readonly at: number; readonly fn: () => void }[] = [];

  constructor(receivers: number) {
    const clock = {
      now: () => this.at,
      endOfTurn: (fn: () => void) => this.#ends.push(fn),
      setTimer: (ms: number, fn: () => void) => {
        const timer = { at: this.at + ms, fn };
        this.#timers.push(timer);
        return { cancel: () => (this.#timers = this.#timers.filter((t) => t !== timer)) };
      },
    };
    const env = { clock, log: { info: () => {} }, metrics: { counter: () => ({ value: 0 }) } } as unknown as Env;
    const links = {
      send: (to: string, _lane: string, frame: Uint8Array, shared?: Uint8Array) => {
        if (shared !== undefined && frame.length === 0) {
          this.sent.push(to);
          this.sentUpTo.set(to, this.commitIndex);
        }
        return 'sent';
      },
      peer: () => undefined,
      speaks: () => true,
    } as unknown as Links;
    const of = this;
    const source = {
      shard: 'items',
      historyId: 'h',
      get commitIndex() {
        return of.commitIndex;
      },
      get committedTransactions() {
        return of.commitIndex;
      },
      firstIndex: 1,
      appliedIndex: 9,
      term: () => 1,
      readyToServe: true,
      store: { stat: () => ({ rows: 3 }) },
      encodedEntries: () => ({ frame: Uint8Array.of(1), next: of.commitIndex + 1, bytes: 1 }),
    } as unknown as ServedSource;
    this.server = new RlogServer(env, links, dbBounds, source, () => {});
    for (let i = 0; i < receivers; i++) {
      const open = {
        type: 'open',
        shard: 'items',
        stream: 1,
        historyId: 'h',
        appliedIndex: 9,
        appliedTerm: 1,
        force: false,
        copy: undefined,
      } as const;
      this.server.receive({ nodeId: `r${i}`, name: `r${i}`, role: 'replicant' }, open);
    }
    this.pass(1_000);
    this.sent.length = 0;
  }

  commit(): void {
    this.commitIndex++;
    this.server.committed();
    this.#turn();
  }

  pass(ms: number): void {
    this.#turn();
    for (const end = this.at + ms; this.at < end; this.at++) {
      const due = this.#timers.filter((t) => t.at <= this.at);
      this.#timers = this.#timers.filter((t) => t.at > this.at);
      for (const t of due) t.fn();
      this.#turn();
    }
  }

  #turn(): void {
    for (let ends = this.#ends; ends.length > 0; ends = this.#ends) {
      this.#ends = [];
      for (const fn of ends) fn();
    }
  }
}

test('two receivers are sent a round at once; of many only two, the others with the next commits, or soon', () => {
  const two = new Served(2);
  two.commit();
  assert.deepEqual(two.sent, ['r0', 'r1']);

  const many = new Served(7);
  many.commit();
  assert.deepEqual(many.sent, ['r0', 'r1']);
  many.commit();
  assert.deepEqual(many.sent, ['r0', 'r1', 'r2', 'r3'], 'the next ones go with the next commit');
  many.pass(20);
  assert.deepEqual(many.sent.slice(0, 7), ['r0', 'r1', 'r2', 'r3', 'r4', 'r5', 'r6'], 'and without one');
  for (const [receiver, last] of many.sentUpTo) assert.equal(last, many.commitIndex, `${receiver} has what was committed in between`);
});

test('what somebody waits for goes to all receivers at once, also to those whose group has not had its turn', () => {
  const many = new Served(7);
  many.commit();
  assert.equal(many.sent.length, 2);
  many.server.want(many.commitIndex);
  many.pass(0);
  assert.deepEqual([...new Set(many.sent)].length, 7);
});

test('under a steady load every receiver has its turn within the pause, and none twice before another', () => {
  const many = new Served(7);
  for (let n = 0; n < 200; n++) {
    many.commit();
    many.pass(2);
  }
  const turns = [...Array(7).keys()].map((i) => many.sent.filter((to) => to === `r${i}`).length);
  assert.ok(Math.max(...turns) - Math.min(...turns) <= 1, `turns: ${turns.join(' ')}`);
  // In 400 ms: a round takes 7.5 ms from the first commit that it carries on.
  assert.ok(Math.min(...turns) >= 35, `turns: ${turns.join(' ')}`);
});

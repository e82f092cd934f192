// The life cycle of a replicated copy of a shard, as a pure machine (Mria's states):
//
//   disconnected → bootstrap → local_replay → normal
//   disconnected → local_replay → normal            (resumed from its own index)
//   normal → local_replay                           (its lease ran out)
//   any → disconnected                              (the core is gone, or closed the stream)
//   disconnected → bootstrap or local_replay        (another core goes on with the copy that was begun)
//
// It decides; `replica.ts` does: dials nobody itself, touches no table.
import { assert } from '#base/assert.js';
import type { ReplicaStateName } from './api.js';
import type { RlogMessage } from './rlog-codec.js';

export type ReplicaInput =
  | { readonly type: 'start' }
  /** A core was chosen and its link is up. */
  | { readonly type: 'chosen'; readonly core: string }
  | { readonly type: 'no-core' }
  | { readonly type: 'core-down'; readonly core: string }
  | { readonly type: 'message'; readonly from: string; readonly message: RlogMessage }
  /** Everything up to `index` is applied in the copy under construction (or in service), and seen by the feeds. */
  | { readonly type: 'applied'; readonly index: number }
  /** Rows of the last chunk are in the store. */
  | { readonly type: 'chunks-written' }
  /** The new generation is durable and in service. */
  | { readonly type: 'swapped' }
  /** The lease that was asked for is held; it has run out. */
  | { readonly type: 'leased' }
  | { readonly type: 'lapsed' }
  /** Another core would be better. */
  | { readonly type: 'move'; readonly to: string }
  /** The upstream has not answered for long: it may have become something else in the moment in which it was asked. */
  | { readonly type: 'unanswered' }
  /** A row of the copy in service is damaged. */
  | { readonly type: 'damaged'; readonly why: string }
  /** The bytes received, or the copy that is being made of them, are not usable. */
  | { readonly type: 'failed'; readonly why: string };

export type ReplicaEffect =
  | { readonly type: 'choose-core'; readonly delayMs: number; readonly not: string | undefined }
  | { readonly type: 'open'; readonly core: string; readonly stream: number; readonly force: boolean }
  | { readonly type: 'close'; readonly core: string; readonly stream: number; readonly why: string }
  | { readonly type: 'begin-bootstrap'; readonly historyId: string; readonly rows: number }
  | { readonly type: 'drop-bootstrap' }
  | { readonly type: 'write-chunk'; readonly message: Extract<RlogMessage, { type: 'chunk' }> }
  | { readonly type: 'enqueue'; readonly message: Extract<RlogMessage, { type: 'entries' }> }
  | { readonly type: 'swap' }
  /** In step with its core: ask for a lease, without waiting for the next round. */
  | { readonly type: 'ask-lease' }
  | { readonly type: 'state'; readonly state: ReplicaStateName };

/** Pause before another core is tried after a refusal or a failure. */
export const reopenDelayMs = 100;

export class ReplicaMachine {
  state: ReplicaStateName = 'disconnected';
  upstream: string | undefined;
  stream = 0;
  /** Waiting for `opened`: everything else of the shard belongs to an older stream. */
  #opening = false;
  /** Index that local replay must reach before the copy counts. */
  #target = 0;
  #bootstrapping = false;
  #lastStamp = 0;
  /** Written, and not put in service yet. */
  #chunksWritten = false;
  #allRows = false;
  /** What is in service is of no use: no core may go on with it. */
  #force = false;
  /** In step since the stream was opened: to be in service it needs a lease, now and again. */
  asking = false;
  applied = 0;
  commitIndex = 0;

  /** Highest stamp of the rows received. */
  get lastStamp(): number {
    return this.#lastStamp;
  }

  get bootstrapping(): boolean {
    return this.#bootstrapping;
  }

  /** The upstream was asked for a stream, and has not answered. */
  get opening(): boolean {
    return this.#opening;
  }

  /** The next stream begins with a copy of the tables, whatever the position. */
  forceBootstrap(): void {
    this.#force = true;
  }

  step(input: ReplicaInput, effects: ReplicaEffect[]): void {
    switch (input.type) {
      case 'start':
        effects.push({ type: 'choose-core', delayMs: 0, not: undefined });
        return;
      case 'no-core':
        effects.push({ type: 'choose-core', delayMs: reopenDelayMs, not: undefined });
        return;
      case 'chosen':
        this.#open(input.core, effects);
        return;
      case 'core-down':
        if (input.core === this.upstream) this.#lose(input.core, 0, effects);
        return;
      case 'message':
        if (input.from === this.upstream) this.#message(input.message, effects);
        return;
      case 'applied':
        this.applied = input.index;
        this.#progress(effects);
        return;
      case 'chunks-written':
        this.#chunksWritten = this.#allRows = true;
        // The core may be gone by now: then the next one is asked for the log alone.
        if (this.state === 'bootstrap') this.#enter('local_replay', effects);
        return;
      case 'swapped':
        this.#bootstrapping = false;
        this.#force = false;
        // What was asked for before said where the old copy was: an answer to that could take the new one back.
        if (this.#opening && this.upstream !== undefined) this.#ask(this.upstream, effects);
        this.#progress(effects);
        return;
      case 'leased':
        if (this.state === 'local_replay' && this.asking) this.#enter('normal', effects);
        return;
      case 'lapsed':
        if (this.state === 'normal') this.#enter('local_replay', effects);
        return;
      case 'move':
        return this.#move(input.to, effects);
      case 'unanswered':
        if (!this.#opening || this.upstream === undefined) return;
        effects.push({ type: 'close', core: this.upstream, stream: this.stream, why: 'no answer' });
        return this.#lose(this.upstream, 0, effects);
      case 'damaged':
        this.#force = true;
        if (!this.#bootstrapping) return this.#fail(input.why, effects);
        // A copy is being made that takes its place. Whoever was asked before may still answer that the log will do.
        if (this.#opening && this.upstream !== undefined) this.#ask(this.upstream, effects);
        return;
      case 'failed':
        // A copy that could not be made says nothing of what is in service: from there the next core may go on.
        if (!this.#bootstrapping) this.#force = true;
        return this.#fail(input.why, effects);
    }
  }

  #fail(why: string, effects: ReplicaEffect[]): void {
    if (this.upstream === undefined) return this.#dropCopy(effects);
    effects.push({ type: 'close', core: this.upstream, stream: this.stream, why });
    this.#lose(this.upstream, reopenDelayMs, effects, false);
  }

  #enter(state: ReplicaStateName, effects: ReplicaEffect[]): void {
    if (this.state === state) return;
    this.state = state;
    effects.push({ type: 'state', state });
  }

  #open(core: string, effects: ReplicaEffect[]): void {
    if (this.upstream !== undefined) return;
    this.upstream = core;
    this.#opening = true;
    this.asking = false;
    this.#ask(core, effects);
  }

  #ask(core: string, effects: ReplicaEffect[]): void {
    this.stream++;
    effects.push({ type: 'open', core, stream: this.stream, force: this.#force });
  }

  /** Out of service first, then goodbye: nobody has to wait for the lease. */
  #move(to: string, effects: ReplicaEffect[]): void {
    const from = this.upstream;
    if (this.state === 'disconnected' || this.#bootstrapping || from === undefined || from === to) return;
    this.upstream = undefined;
    this.#opening = false;
    this.#enter('disconnected', effects);
    effects.push({ type: 'close', core: from, stream: this.stream, why: 'moving' });
    this.#open(to, effects);
  }

  #dropCopy(effects: ReplicaEffect[]): void {
    if (!this.#bootstrapping) return;
    this.#bootstrapping = false;
    this.#chunksWritten = false;
    this.applied = 0;
    effects.push({ type: 'drop-bootstrap' });
  }

  #lose(core: string, delayMs: number, effects: ReplicaEffect[], keepCopy: boolean = true): void {
    this.upstream = undefined;
    this.#opening = false;
    this.asking = false;
    // What was copied so far is kept: another core may go on with it.
    if (!keepCopy) this.#dropCopy(effects);
    this.#enter('disconnected', effects);
    effects.push({ type: 'choose-core', delayMs, not: core });
  }

  #message(m: RlogMessage, effects: ReplicaEffect[]): void {
    if (this.#opening) {
      if (m.type === 'opened' && m.stream === this.stream) this.#opened(m, effects);
      // Its answer did not get through, and the stream has ended there: nothing more will come.
      if (m.type === 'close' && m.stream === this.stream && this.upstream !== undefined) this.#lose(this.upstream, reopenDelayMs, effects);
      return;
    }
    switch (m.type) {
      case 'chunk':
        if (m.stream !== this.stream || !this.#bootstrapping || this.#allRows) return;
        if (m.stamp > this.#lastStamp) this.#lastStamp = m.stamp;
        effects.push({ type: 'write-chunk', message: m });
        return;
      case 'entries':
        if (this.state === 'disconnected') return;
        if (m.commitIndex > this.commitIndex) this.commitIndex = m.commitIndex;
        effects.push({ type: 'enqueue', message: m });
        return;
      case 'close':
        if (m.stream === this.stream && this.upstream !== undefined) this.#lose(this.upstream, reopenDelayMs, effects);
        return;
    }
  }

  #opened(m: Extract<RlogMessage, { type: 'opened' }>, effects: ReplicaEffect[]): void {
    this.#opening = false;
    if (m.mode === 'later') {
      assert(this.upstream !== undefined, 'opened comes from the upstream');
      return this.#lose(this.upstream, reopenDelayMs, effects);
    }
    this.#target = m.commitIndex;
    if (m.mode === 'bootstrap') {
      this.#bootstrapping = true;
      this.#chunksWritten = this.#allRows = false;
      this.#lastStamp = 0;
      this.applied = 0;
      this.commitIndex = m.commitIndex;
      this.#enter('bootstrap', effects);
      effects.push({ type: 'begin-bootstrap', historyId: m.historyId, rows: m.rows });
      return;
    }
    this.commitIndex = Math.max(this.commitIndex, m.commitIndex);
    // Its tables as they are will do after all: the log reaches back to them here.
    if (m.mode === 'resume') this.#dropCopy(effects);
    this.#enter(this.#bootstrapping && !this.#allRows ? 'bootstrap' : 'local_replay', effects);
    this.#progress(effects);
  }

  #progress(effects: ReplicaEffect[]): void {
    if (this.state !== 'local_replay' || this.upstream === undefined) return;
    if (this.#bootstrapping) {
      if (this.#chunksWritten && this.applied >= this.#lastStamp && this.applied >= this.#target) {
        this.#chunksWritten = false;
        effects.push({ type: 'swap' });
      }
      return;
    }
    if (this.applied < this.#target || this.asking) return;
    this.asking = true;
    effects.push({ type: 'ask-lease' });
  }
}

// What makes a replicant a relay (`cluster.relay`): it sends the entries that it receives on to other
// replicants, and copies its tables to those that need them. replica.ts owns one per shard and tells it what
// comes and goes. Relays are fed by cores alone, and others by relays: there are no loops.
//
// Invariants: it sends only what it was sent as committed; while it copies tables itself, or has lost touch
// with the cores for longer than a lease, it feeds nobody.
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { AppliedEntry } from './apply.js';
import type { DbBounds } from './bounds.js';
import { RelayLog } from './relay-log.js';
import { EntriesEncoder } from './rlog-agent.js';
import { RlogServer, type ServedSource } from './rlog-server.js';
import type { ShardState } from './shard-state.js';

export interface RelayOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly state: ShardState;
  /** In service, as the replica is. */
  readonly ready: () => boolean;
  readonly leaseUntil: () => number;
  readonly leaseFloor: () => number;
  /** Somebody below has seen more, or is not waited for any more. */
  readonly onVisible: () => void;
}

export class Relay implements ServedSource {
  readonly server: RlogServer;
  readonly #o: RelayOptions;
  readonly #log: RelayLog;
  readonly #encoder: EntriesEncoder = new EntriesEncoder();
  #committedTransactions = 0;
  /** Since when the relay is without a core. */
  #aloneSince: number | undefined;

  constructor(options: RelayOptions) {
    this.#o = options;
    const { env, links, bounds, state } = options;
    this.#log = new RelayLog(bounds.relayLogBytes, state.queuedIndex, state.queuedTerm);
    // Who is let go by the relay must be let go before the relay itself seems late to its core.
    this.server = new RlogServer(env, links, { ...bounds, lateMs: bounds.lateMs / 2 }, this, options.onVisible);
  }

  // ---- what its agents read ----

  get source(): ServedSource {
    return this;
  }
  get shard(): string {
    return this.#o.state.schema.name;
  }
  get historyId(): string {
    return this.#o.state.position.historyId;
  }
  get commitIndex(): number {
    return this.#log.lastIndex;
  }
  get committedTransactions(): number {
    return this.#committedTransactions;
  }
  get firstIndex(): number {
    return this.#log.firstIndex;
  }
  term(index: number): number | undefined {
    return this.#log.term(index);
  }
  entries(from: number, to: number, maxBytes: number): readonly AppliedEntry[] {
    return this.#log.read(from, to, maxBytes);
  }
  get store(): ShardState['store'] {
    return this.#o.state.store;
  }
  get appliedIndex(): number {
    return this.#o.state.appliedIndex;
  }
  get readyToServe(): boolean {
    return this.#o.ready();
  }
  get leads(): boolean {
    return false;
  }
  get leaseUntil(): number {
    return this.#o.leaseUntil();
  }
  get leaseFloor(): number {
    return this.#o.leaseFloor();
  }
  encodedEntries(from: number, maxBytes: number): { readonly frame: Uint8Array; readonly next: number; readonly bytes: number } | undefined {
    return this.#encoder.encode(this, from, maxBytes);
  }

  // ---- told by the replica ----

  /** Entries for the copy in service, perhaps none. */
  received(entries: readonly AppliedEntry[], committedTransactions: number): void {
    this.#committedTransactions = committedTransactions;
    this.#log.push(entries);
    this.server.committed();
  }

  /** The tables are about to be replaced, or were. */
  reset(): void {
    this.server.dismiss('this relay copies tables itself');
    this.#log.reset(this.#o.state.queuedIndex, this.#o.state.queuedTerm);
  }

  /** Now and then, and when the upstream changes. */
  tick(hasUpstream: boolean): void {
    const now = this.#o.env.clock.now();
    if (hasUpstream) this.#aloneSince = undefined;
    else if (this.#aloneSince === undefined) this.#aloneSince = now;
    else if (now - this.#aloneSince > this.#o.bounds.leaseMs) this.server.dismiss('this relay has no core');
  }

  close(): void {
    this.server.close();
  }
}

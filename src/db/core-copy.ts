// A core whose log does not reach back to where the leader's begins copies the leader's tables, as a
// replicant would, and begins its log anew behind them. core-shard.ts owns it.
// Invariant: one copy at a time; the Raft machine hears of its end once, durable or given up.
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { WalShard } from '#store/types.js';
import type { DbBounds } from './bounds.js';
import { type GenerationMaker, Replica } from './replica.js';
import type { RlogMessage } from './rlog-codec.js';
import type { ShardState } from './shard-state.js';

export interface CoreCopyOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly generations: GenerationMaker;
  readonly state: ShardState;
  readonly wal: WalShard;
  /** Tables and log begin at `base`, durably. */
  readonly installed: (base: { readonly index: number; readonly term: number; readonly config: Uint8Array }) => void;
  readonly aborted: () => void;
  readonly failed: (error: Error) => void;
}

export class CoreCopy {
  readonly #o: CoreCopyOptions;
  #replica: Replica | undefined;
  #closed = false;

  constructor(options: CoreCopyOptions) {
    this.#o = options;
  }

  get active(): boolean {
    return this.#replica !== undefined;
  }

  begin(from: string): void {
    const { env, links, bounds, generations, state } = this.#o;
    env.log.info('copying the tables of the leader: the log does not reach back', { shard: state.schema.name, from });
    this.#replica = new Replica(
      {
        env,
        links,
        bounds,
        schema: state.schema,
        generations,
        chooseCore: (_shard, not, _index, chosen) => {
          if (not === undefined) return chosen(from);
          this.#replica?.close();
          this.#replica = undefined;
          this.#o.aborted();
        },
        betterCore: () => {},
        onState: () => {},
        onInService: () => {},
        askForLeases: () => {},
        relay: false,
        onceSwapped: () => this.#copied(),
      },
      state,
    );
  }

  /** After `begin`, once the driver is ready for it. */
  start(): void {
    this.#replica?.start(true);
  }

  #copied(): void {
    const { state, wal } = this.#o;
    const { position, generation } = state;
    const base = { index: position.appliedIndex, term: position.appliedTerm, config: position.config, historyId: position.historyId, generation };
    wal.installBase(base, undefined, (error) => {
      this.#replica = undefined;
      if (this.#closed) return;
      if (error !== undefined) this.#o.failed(error);
      else this.#o.installed(base);
    });
  }

  receive(from: { readonly nodeId: string; readonly name: string; readonly role: string }, m: RlogMessage): void {
    this.#replica?.receive(from, m);
  }

  peerDown(nodeId: string): void {
    this.#replica?.peerDown(nodeId);
  }

  close(): void {
    this.#closed = true;
    this.#replica?.close();
  }
}

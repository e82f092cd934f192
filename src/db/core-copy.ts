// A core that needs another core's tables copies them as a replicant would. Either its log does not reach
// back to where the leader's begins: then its log begins anew behind the copy (`install`). Or its own tables
// are damaged or gone, and its log is whole (`repair`): it votes and acknowledges on, and the log goes on
// behind the copy. Whichever core the copy was begun with, others go on with it. core-shard.ts owns it.
//
// Invariants: one copy at a time; the Raft machine hears of the end of one that it asked for, once, when
// tables and log are durable; tables are put in service behind nothing that was committed here, and, where
// the log stays, nowhere that it does not reach.
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { WalShard } from '#store/types.js';
import type { DbBounds } from './bounds.js';
import { type GenerationMaker, Replica, type ReplicaOptions } from './replica.js';
import type { RlogMessage } from './rlog-codec.js';
import type { ShardState } from './shard-state.js';

/** What the copy must fit: the log, as its Raft machine has it. */
export interface CopiedLog {
  /** The machine has asked for tables, and takes no entries until they are there. */
  readonly installing: boolean;
  readonly commitIndex: number;
  /** Committed and on this node's disk. */
  readonly applyTo: number;
  readonly leader: string;
}

export interface CoreCopyOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly generations: GenerationMaker;
  readonly nodeId: string;
  readonly state: ShardState;
  readonly wal: WalShard;
  readonly chooseCore: ReplicaOptions['chooseCore'];
  readonly log: () => CopiedLog;
  /** Tables and log begin at `base`, durably. */
  readonly installed: (base: { readonly index: number; readonly term: number; readonly config: Uint8Array }) => void;
  /** The tables are another core's; the log goes on behind them. */
  readonly repaired: () => void;
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

  /** `from`: the core to begin with, if it is known. */
  begin(why: string, from: string | undefined): void {
    const { env, links, bounds, generations, state } = this.#o;
    env.log.info('copying the tables of another core', { shard: state.schema.name, why, from });
    let first = from;
    this.#replica = new Replica(
      {
        env,
        links,
        bounds,
        schema: state.schema,
        generations,
        chooseCore: (shard, not, index, chosen) => {
          const to = first;
          first = undefined;
          if (to !== undefined) chosen(to);
          else this.#choose(shard, not, index, chosen);
        },
        betterCore: () => {},
        onState: () => {},
        onInService: () => {},
        askForLeases: () => {},
        relay: false,
        once: {
          reaches: (index) => !this.#o.log().installing || index >= this.#o.log().commitIndex,
          fits: (index) => this.#fits(index),
          swapped: () => this.#copied(),
        },
      },
      state,
    );
  }

  /** A core in service; or the leader, which may need this core before it is in service itself. */
  #choose(shard: string, not: string | undefined, index: number | undefined, chosen: (core: string | undefined) => void): void {
    this.#o.chooseCore(shard, not, index, (core) => {
      const { leader } = this.#o.log();
      chosen(core ?? (leader === '' || leader === this.#o.nodeId ? undefined : leader));
    });
  }

  #fits(index: number): boolean {
    const { installing, commitIndex, applyTo } = this.#o.log();
    return installing ? index >= commitIndex : index <= applyTo;
  }

  /** After `begin`, once the driver is ready for it. */
  start(): void {
    this.#replica?.start(true);
  }

  #copied(): void {
    const { state, wal } = this.#o;
    const { position, generation } = state;
    if (this.#closed) return;
    if (!this.#o.log().installing) {
      this.#replica = undefined;
      return this.#o.repaired();
    }
    const base = { index: position.appliedIndex, term: position.appliedTerm, config: position.config, historyId: position.historyId, generation };
    // The machine may have asked for more while this copy was put in service.
    if (base.index < this.#o.log().commitIndex) {
      this.begin('more was committed meanwhile', undefined);
      return this.start();
    }
    wal.installBase(base, undefined, (error) => {
      this.#replica = undefined;
      if (this.#closed) return;
      if (error !== undefined) this.#o.failed(error);
      else this.#o.installed(base);
    });
  }

  /** Regularly: a core that was asked, and has begun anew meanwhile, answers nothing. */
  tick(): void {
    this.#replica?.tick();
    // The log may have moved.
    this.#replica?.lookAgain();
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

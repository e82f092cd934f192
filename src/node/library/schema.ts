// How an application of the library declares what it keeps: shards, and in them tables and
// commands, with the types of their keys and values. Every node is opened with the same shards.
import { type CommandContext, type CommandHandler, CommandRefused, type ShardSchema } from '#db/api.js';
import { decodeKey, encodeKey, type Key } from '#db/key-codec.js';
import { decodeValue, encodeValue } from '#db/value-codec.js';
import { DatabaseError } from './errors.js';
import type { Table, TableInfo } from './table.js';
import { type CommandView, commandView } from './views.js';

export interface TableOptions<V> {
  readonly id: number;
  readonly name: string;
  /** Default false. */
  readonly owned?: boolean;
  /** Bytes of the application's own making instead of the library's encoding of JavaScript values. */
  readonly codec?: { readonly encode: (value: V) => Uint8Array; readonly decode: (bytes: Uint8Array) => V };
}

/** A declared command that takes `I` and answers `R`; made by {@link Shard.command}. */
export interface Command<I, R> {
  readonly name: string;
  readonly shard: string;
  readonly encodeInput: (input: I) => Uint8Array;
  readonly decodeResult: (bytes: Uint8Array) => R;
}

export interface ShardOptions {
  /** 'all' (default): every node has a copy. 'core': cores only; replicants write to it by commands. */
  readonly replicate?: 'all' | 'core';
}

const tableIdMax = 126;
/** The database's own shard. */
const reservedNames: readonly string[] = ['cluster'];
const shardName = /^[a-z0-9][a-z0-9-]{0,62}$/;

/**
 * A set of tables that is replicated, ordered and changed as one: transactions, atomic writes and
 * subscriptions stay inside a shard. More shards spread the load over more leaders.
 */
export class Shard {
  readonly name: string;
  readonly replicate: 'all' | 'core';
  readonly #tables: TableInfo[] = [];
  readonly #commands: Map<string, CommandHandler> = new Map();
  #sealed = false;

  /** Use {@link defineShard}. */
  constructor(name: string, options: ShardOptions = {}) {
    if (!shardName.test(name) || reservedNames.includes(name)) {
      throw new DatabaseError(
        'options',
        `${JSON.stringify(name)} is no name for a shard: up to 63 of a-z, 0-9 and -, and not ${reservedNames.join()}`,
      );
    }
    this.name = name;
    this.replicate = options.replicate ?? 'all';
  }

  /** Declares a table. Throws {@link DatabaseError} 'options' for an id or name that is taken or not allowed. */
  table<K extends Key, V>(options: TableOptions<V>): Table<K, V> {
    const { id, name, owned = false, codec } = options;
    this.#declare(`table ${name}`);
    if (!Number.isInteger(id) || id < 1 || id > tableIdMax)
      throw new DatabaseError('options', `table ${name}: the id is to be 1 to ${tableIdMax}, not ${id}`);
    for (const t of this.#tables) {
      if (t.id === id || t.name === name) throw new DatabaseError('options', `shard ${this.name} has a table ${t.name} with id ${t.id} already`);
    }
    const table: Table<K, V> = {
      id,
      name,
      shard: this.name,
      owned,
      stored: { id, name, shard: this.name, owned },
      encodeKey,
      decodeKey: (bytes) => decodeKey(bytes) as K,
      encodeValue: codec?.encode ?? encodeValue,
      decodeValue: codec?.decode ?? ((bytes) => decodeValue(bytes) as V),
    };
    this.#tables.push(table);
    return table;
  }

  /**
   * Declares a command: `run` is executed once, by the shard's leader, on the state after everything
   * before it, and what it writes and returns is replicated. It must be synchronous and quick, and the
   * same on every node, because any core may lead. To refuse, throw {@link CommandRefused}: nothing is
   * written, and the caller gets a `WriteFailure` 'refused' with the message. Input and result are
   * values that tables could keep.
   */
  command<I, R>(name: string, run: (view: CommandView, input: I) => R): Command<I, R> {
    this.#declare(`command ${name}`);
    if (name === '' || this.#commands.has(name))
      throw new DatabaseError('options', `shard ${this.name} has a command ${JSON.stringify(name)} already, or it is no name`);
    this.#commands.set(name, (context: CommandContext, body: Uint8Array) => {
      const { view, end } = commandView(context);
      try {
        const result = run(view, decodeValue(body) as I);
        if (result instanceof Promise) throw new CommandRefused(`command ${name} is asynchronous: nobody could wait for it`);
        return encodeValue(result);
      } finally {
        end();
      }
    });
    return { name, shard: this.name, encodeInput: encodeValue, decodeResult: (bytes) => decodeValue(bytes) as R };
  }

  #declare(what: string): void {
    if (this.#sealed) throw new DatabaseError('options', `${what} comes too late: a database with shard ${this.name} was opened already`);
  }

  /** Tables, by id. */
  get tables(): readonly TableInfo[] {
    return this.#tables;
  }

  hasCommand(name: string): boolean {
    return this.#commands.has(name);
  }

  /** As the database wants it. Nothing is declared any more from now on. */
  seal(): ShardSchema {
    this.#sealed = true;
    if (this.#tables.length === 0) throw new DatabaseError('options', `shard ${this.name} has no table`);
    return {
      name: this.name,
      replicate: this.replicate,
      tables: this.#tables.map((t) => t.stored),
      commands: Object.fromEntries(this.#commands),
    };
  }
}

/** Declares a shard; add its tables and commands with {@link Shard.table} and {@link Shard.command}. */
export function defineShard(name: string, options?: ShardOptions): Shard {
  return new Shard(name, options);
}

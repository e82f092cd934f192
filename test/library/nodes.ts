// Databases of the library for tests: several nodes in this process, on real sockets and disks.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Database } from '#node/library/database.js';
import type { DatabaseOptions } from '#node/library/options.js';
import type { Shard } from '#node/library/schema.js';
import { openDatabase } from '#node/open-database.js';
import { freePorts } from '../cluster/nodes.js';

const host = '127.0.0.1';

export class LibraryCluster {
  readonly dir: string;
  readonly #shards: readonly Shard[];
  readonly #ports: readonly number[];
  readonly #coreCount: number;
  readonly #more: Partial<DatabaseOptions>;
  readonly open: Map<string, Database> = new Map();

  private constructor(dir: string, ports: readonly number[], coreCount: number, shards: readonly Shard[], more: Partial<DatabaseOptions>) {
    this.dir = dir;
    this.#ports = ports;
    this.#coreCount = coreCount;
    this.#shards = shards;
    this.#more = more;
  }

  static async start(
    shape: { readonly cores: number; readonly replicants: number },
    shards: readonly Shard[],
    more: Partial<DatabaseOptions> = {},
  ): Promise<LibraryCluster> {
    const dir = mkdtempSync(join(tmpdir(), 'starmesh-library-'));
    const ports = await freePorts(shape.cores + shape.replicants);
    const cluster = new LibraryCluster(dir, ports, shape.cores, shards, more);
    try {
      await Promise.all(ports.map((_, i) => cluster.start(i)));
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  #nameOf(i: number): string {
    return i < this.#coreCount ? `core${i + 1}` : `replicant${i - this.#coreCount + 1}`;
  }

  options(i: number): DatabaseOptions {
    const cores = this.#ports.slice(0, this.#coreCount).map((port, n) => ({ name: this.#nameOf(n), host, port }));
    const name = this.#nameOf(i);
    return {
      name,
      role: i < this.#coreCount ? 'core' : 'replicant',
      dataDir: join(this.dir, name),
      cores,
      cookie: 'a cookie of this test alone',
      listen: { host, port: this.#ports[i] ?? 0 },
      shards: this.#shards,
      log: { level: 'silent' },
      ...this.#more,
    };
  }

  /** Cores first, counted from 0. */
  async start(i: number): Promise<Database> {
    const db = await openDatabase(this.options(i));
    this.open.set(this.#nameOf(i), db);
    return db;
  }

  node(name: string): Database {
    const db = this.open.get(name);
    if (db === undefined) throw new Error(`${name} is not open`);
    return db;
  }

  async stop(name: string): Promise<void> {
    await this.node(name).close();
    this.open.delete(name);
  }

  /** Name of the core that leads the shard, as `from` sees it. */
  leader(from: Database, shard: Shard): string {
    const s = from.status().shards.find((x) => x.shard === shard.name);
    if (s === undefined || !('core' in s) || s.core.leader === undefined) throw new Error(`no leader of ${shard.name} is known`);
    return s.core.leader;
  }

  async close(): Promise<void> {
    await Promise.all([...this.open.values()].map((db) => db.close()));
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

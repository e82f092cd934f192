// A small cluster of register-node.ts processes for the long suites: laid out, started, asked who leads,
// and compared. Where its hosts are (loopback, or network namespaces) and what runs each process is told
// by the suite.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, freePorts } from '../cluster/nodes.js';
import type { Dump } from '../library/register-node.js';
import { RegisterProcess } from '../library/register-process.js';

export interface Host {
  readonly host: string;
  readonly port: number;
  /** Where others dial it, when something stands in between. */
  readonly advertise?: { readonly host: string; readonly port: number };
  /** The command that runs a process on this host. */
  readonly under: readonly string[];
}

export interface LabShape {
  readonly cores: number;
  readonly replicants: number;
  /** One per node, cores first. Default: loopback. */
  readonly hosts?: readonly Host[];
  /** For all nodes, over the defaults. */
  readonly options?: object;
  /** For one node, over those; by name. */
  readonly optionsOf?: Readonly<Record<string, object>>;
}

/** A loaded machine with two processors: a hang is a failure, slowness is not. */
export const generousMs = 90_000;

export class Lab {
  readonly dir: string;
  readonly nodes: readonly RegisterProcess[];
  readonly #cores: number;
  readonly #under: ReadonlyMap<string, readonly string[]>;

  private constructor(dir: string, nodes: readonly RegisterProcess[], cores: number, under: ReadonlyMap<string, readonly string[]>) {
    this.dir = dir;
    this.nodes = nodes;
    this.#cores = cores;
    this.#under = under;
  }

  /** Lays everything out; nothing runs yet. */
  static async plan(shape: LabShape): Promise<Lab> {
    const dir = mkdtempSync(join(tmpdir(), 'starmesh-long-'));
    const count = shape.cores + shape.replicants;
    const hosts = shape.hosts ?? (await loopback(count));
    const names = Array.from({ length: count }, (_, i) => (i < shape.cores ? `core${i + 1}` : `replicant${i - shape.cores + 1}`));
    const cores = names.slice(0, shape.cores).map((name, i) => ({ name, ...dialled(hosts[i]) }));
    const under = new Map<string, readonly string[]>();
    const { bounds, ...others } = (shape.options ?? {}) as { readonly bounds?: object };
    const nodes = names.map((name, i) => {
      const at = hosts[i];
      assert.ok(at !== undefined, 'a host for each node');
      under.set(name, at.under);
      return new RegisterProcess(name, {
        name,
        role: i < shape.cores ? 'core' : 'replicant',
        dataDir: join(dir, name),
        cores,
        cookie: 'a cookie of this test alone',
        listen: { host: at.host, port: at.port },
        advertise: dialled(at),
        nodeDownAfterMs: 3_000,
        openDeadlineMs: generousMs,
        log: { level: 'info', to: join(dir, `${name}.log`) },
        // Four times as many commits of the tables as by default: that many more to be hit by what these suites do.
        bounds: { tableCommitMs: 500, ...bounds },
        ...others,
        ...shape.optionsOf?.[name],
      });
    });
    return new Lab(dir, nodes, shape.cores, under);
  }

  static async start(shape: LabShape): Promise<Lab> {
    const lab = await Lab.plan(shape);
    try {
      await Promise.all(lab.nodes.map((n) => lab.startNode(n)));
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  get cores(): readonly RegisterProcess[] {
    return this.nodes.slice(0, this.#cores);
  }

  get replicants(): readonly RegisterProcess[] {
    return this.nodes.slice(this.#cores);
  }

  /** `under`: a command to run it, on its host. */
  startNode(node: RegisterProcess, under: readonly string[] = []): Promise<void> {
    return node.start([...(this.#under.get(node.name) ?? []), ...under]);
  }

  dataDir(node: RegisterProcess): string {
    return join(this.dir, node.name);
  }

  /** What the node logged since its last start. */
  said(node: RegisterProcess): string {
    const path = join(this.dir, `${node.name}.log`);
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    return text
      .split('\n')
      .filter((line) => line.includes(`"pid":${node.pid},`))
      .join('\n');
  }

  /** LMDB's data file of the node's copy of the shard; one that was bootstrapped is in a later generation. */
  tablesFile(node: RegisterProcess, shard: string): string {
    const dir = join(this.dataDir(node), 'tables', shard);
    const generation = Math.max(...readdirSync(dir).map((name) => Number.parseInt(name, 10) || 0));
    return join(dir, String(generation), 'data.mdb');
  }

  /** Takes away all data of a node that is not running. */
  wipe(node: RegisterProcess): void {
    rmSync(this.dataDir(node), { recursive: true, force: true, maxRetries: 5 });
  }

  /** The core that leads the shard in the newest term, whether the others know it or not. */
  async leading(agreed: boolean = false, shard: string = 'registers'): Promise<RegisterProcess> {
    let found: RegisterProcess | undefined;
    await eventually(
      'a leader is known',
      async () => {
        const states = await Promise.all(this.cores.filter((n) => n.running).map(async (n) => ({ n, s: await n.shard(shard) })));
        const leaders = states.filter(({ s }) => s?.state === 'leader').sort((a, b) => (b.s?.term ?? 0) - (a.s?.term ?? 0));
        found = leaders[0]?.n;
        return found !== undefined && (!agreed || states.every(({ s }) => s?.leader === found?.name));
      },
      generousMs,
    );
    assert.ok(found !== undefined);
    return found;
  }

  /** The same, once the others follow it. */
  leader(shard: string = 'registers'): Promise<RegisterProcess> {
    return this.leading(true, shard);
  }

  async follower(): Promise<RegisterProcess> {
    const leader = await this.leader();
    const found = this.cores.find((n) => n !== leader && n.running);
    assert.ok(found !== undefined, 'there is a follower');
    return found;
  }

  /** Every node is in service and has applied what any of them has now. */
  async caughtUp(among: readonly RegisterProcess[] = this.nodes): Promise<void> {
    const reports = await Promise.all(among.map((n) => n.report()));
    const goals = new Map<string, number>();
    for (const r of reports) for (const s of r?.shards ?? []) goals.set(s.shard, Math.max(goals.get(s.shard) ?? 0, s.appliedIndex));
    await eventually(
      'every node is in service and has caught up',
      async () => {
        const now = await Promise.all(among.map((n) => n.report()));
        return now.every((r) => r?.serving === true && r.shards.every((s) => s.appliedIndex >= (goals.get(s.shard) ?? 0)));
      },
      generousMs,
    );
  }

  /** Without load: waits until all copies are at one index; they must be equal, and are returned: all rows, or those whose keys begin so. */
  async equal(among: readonly RegisterProcess[] = this.nodes, prefix: string = ''): Promise<Dump> {
    let dumps: (Dump | undefined)[] = [];
    const same = (): boolean => dumps.every((d) => d !== undefined && d.index === dumps[0]?.index);
    await eventually(
      'all copies are at one index',
      async () => {
        dumps = await Promise.all(among.map((n) => n.dump(prefix)));
        return same();
      },
      generousMs,
    ).catch(async (error: Error) => {
      const reports = await Promise.all(among.map((n) => n.report()));
      const indexes = dumps.map((d) => d?.index ?? 'no answer');
      throw new Error(`${error.message}: ${indexes.join(', ')}; ${JSON.stringify(reports)}`);
    });
    const [first, ...others] = dumps;
    assert.ok(first !== undefined);
    for (const [i, d] of others.entries()) {
      if (JSON.stringify(d?.rows) !== JSON.stringify(first.rows))
        assert.deepEqual(d?.rows, first.rows, `${among[i + 1]?.name} differs from ${among[0]?.name} at ${first.index}`);
    }
    return first;
  }

  async close(): Promise<void> {
    for (const n of this.nodes) {
      // A stopped process does not die of anything but this.
      await n.kill().catch(() => undefined);
    }
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

function dialled(at: Host | undefined): { readonly host: string; readonly port: number } {
  assert.ok(at !== undefined);
  return at.advertise ?? { host: at.host, port: at.port };
}

async function loopback(count: number): Promise<Host[]> {
  return (await freePorts(count)).map((port) => ({ host: '127.0.0.1', port, under: [] }));
}

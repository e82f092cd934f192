// Disks that fail, are full, are slow or lie, under real nodes at work: a node that cannot write stops and
// says why, the others go on, nothing acknowledged is lost, and it comes back whole.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, within } from '../cluster/nodes.js';
import type { RegisterProcess } from '../library/register-process.js';
import { generousMs, Lab } from './lab.js';
import { Load, pause } from './load.js';
import { type Harm, Tracer } from './tracer.js';

const workMs = 1_500;
const slowSyncUs = 300_000;

type Who = 'leader' | 'follower' | 'replicant';

export interface DiskFault {
  readonly name: string;
  readonly who: Who;
  readonly run: (s: Stage) => Promise<void>;
}

class Stage {
  readonly lab: Lab;
  readonly node: RegisterProcess;
  readonly load: Load;
  /** It came back only without its data. */
  emptied = false;

  constructor(lab: Lab, node: RegisterProcess, load: Load) {
    this.lab = lab;
    this.node = node;
    this.load = load;
  }

  get wal(): string {
    const dir = join(this.lab.dataDir(this.node), 'wal');
    const [last] = readdirSync(dir)
      .filter((f) => f.endsWith('.log'))
      .sort()
      .reverse();
    return join(dir, last ?? '');
  }

  get tables(): string {
    return this.lab.tablesFile(this.node, 'registers');
  }

  async harm(h: Harm): Promise<Tracer> {
    const tracer = await Tracer.attach(this.node.pid, h);
    assert.ok(tracer !== undefined, `${this.node.name} can be traced`);
    return tracer;
  }

  /** The node ends by itself with a reason; the others go on meanwhile; then it is started again. */
  async endsSaying(reason: RegExp): Promise<void> {
    const { code } = await within(generousMs, `${this.node.name} ends`, this.node.ended);
    assert.equal(code, 3, `${this.node.name} ended by itself: ${this.node.errors}`);
    assert.match(this.node.errors, reason);
    await this.othersServe();
    await this.lab.startNode(this.node);
  }

  /** It starts and is repaired by the others, or says why it does not, and is taken in again without its data. */
  async comesBack(reason: RegExp): Promise<void> {
    try {
      await this.lab.startNode(this.node);
    } catch (error) {
      assert.match((error as Error).message, reason);
      await this.othersServe();
      this.emptied = true;
      this.lab.wipe(this.node);
      await this.lab.startNode(this.node);
    }
  }

  async othersServe(): Promise<void> {
    const since = performance.now();
    for (const n of this.lab.nodes) {
      if (n === this.node) continue;
      const served = (): boolean => this.load.outcomes.some((o) => o.node === n.name && o.told === 'done' && o.calledAt > since);
      await eventually(`${n.name} serves`, async () => served(), generousMs);
    }
  }
}

/** A call on the log that fails from now on. */
function logFails(name: string, who: Who, calls: string, error: string, reason: RegExp): DiskFault {
  return {
    name,
    who,
    run: async (s) => {
      await s.harm({ calls, what: `error=${error}`, when: '1+', path: s.wal });
      await s.endsSaying(reason);
    },
  };
}

function tablesFail(name: string, who: Who, calls: string, error: string): DiskFault {
  return {
    name,
    who,
    run: async (s) => {
      await s.harm({ calls, what: `error=${error}`, when: '1+', path: s.tables });
      await s.endsSaying(/the node ended: .+/);
    },
  };
}

function slowDisk(who: Who): DiskFault {
  return {
    name: `every sync takes ${slowSyncUs / 1000} ms more`,
    who,
    run: async (s) => {
      const tracer = await s.harm({ calls: 'fdatasync', what: `delay_enter=${slowSyncUs}`, when: '1+' });
      await s.othersServe();
      await pause(workMs);
      assert.ok(s.node.running, 'slow is not broken');
      await tracer.detach();
    },
  };
}

/** Damages the log of a node that is not running. */
function damagedLog(name: string, who: Who, damage: (bytes: Buffer) => Buffer): DiskFault {
  return {
    name,
    who,
    run: async (s) => {
      await s.node.kill();
      await s.othersServe();
      writeFileSync(s.wal, damage(readFileSync(s.wal)));
      await s.comesBack(/the log was damaged/);
    },
  };
}

function cutLog(who: Who): DiskFault {
  return {
    name: 'last third of the log missing',
    who,
    run: async (s) => {
      await s.node.kill();
      await s.othersServe();
      truncateSync(s.wal, Math.floor((readFileSync(s.wal).length * 2) / 3));
      await s.comesBack(/the log was damaged/);
    },
  };
}

function flipped(bytes: Buffer, at: number): Buffer {
  const out = Buffer.from(bytes);
  const i = Math.floor(bytes.length * at);
  out[i] = (out[i] ?? 0) ^ 0x10;
  return out;
}

/** Damages the tables of a node that is not running. It copies another node's, in the place of these. */
function damagedTables(name: string, who: Who, damage: (s: Stage) => void): DiskFault {
  return {
    name,
    who,
    run: async (s) => {
      await s.node.kill();
      const before = s.tables;
      damage(s);
      await s.lab.startNode(s.node);
      await eventually('the tables are others', async () => s.tables !== before, generousMs);
    },
  };
}

/** A file that LMDB would follow beyond its end. */
function cutTables(s: Stage): void {
  truncateSync(s.tables, Math.floor(readFileSync(s.tables).length / 8192) * 4096);
}

export const diskFaults: readonly DiskFault[] = [
  logFails('sync of the log fails', 'follower', 'fdatasync', 'EIO', /EIO/),
  logFails('sync of the log fails', 'leader', 'fdatasync', 'EIO', /EIO/),
  logFails('no room for the log', 'follower', 'write,writev', 'ENOSPC', /ENOSPC/),
  logFails('no room for the log', 'leader', 'write,writev', 'ENOSPC', /ENOSPC/),
  logFails('write to the log fails', 'leader', 'write,writev', 'EIO', /EIO/),
  tablesFail('write to the tables fails', 'follower', 'pwrite64,pwritev,writev,write', 'EIO'),
  tablesFail('no room for the tables', 'leader', 'pwrite64,pwritev,writev,write', 'ENOSPC'),
  tablesFail('sync of the tables fails', 'follower', 'fdatasync,fsync,msync', 'EIO'),
  tablesFail('write to the tables fails', 'replicant', 'pwrite64,pwritev,writev,write', 'EIO'),
  slowDisk('follower'),
  slowDisk('leader'),
  damagedLog('a byte of the log flipped in the middle', 'follower', (b) => flipped(b, 0.5)),
  damagedLog('a byte of the log flipped near its end', 'follower', (b) => flipped(b, 0.99)),
  damagedLog('a byte of the log flipped near its start', 'leader', (b) => flipped(b, 0.02)),
  damagedLog('a block of zeros in the log', 'follower', (b) => Buffer.from(b).fill(0, b.length >> 2, (b.length >> 2) + 4096)),
  cutLog('follower'),
  cutLog('leader'),
  damagedTables('half of the tables missing', 'replicant', cutTables),
  damagedTables('half of the tables missing', 'follower', cutTables),
];

export interface Survived {
  readonly name: string;
  readonly who: Who;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly refused: number;
  readonly emptied: boolean;
}

export class DiskLab {
  readonly #lab: Lab;
  #runs = 0;

  private constructor(lab: Lab) {
    this.#lab = lab;
  }

  static async start(): Promise<DiskLab> {
    return new DiskLab(await Lab.start({ cores: 3, replicants: 1, options: { nodeDownAfterMs: 15_000 } }));
  }

  async run(fault: DiskFault): Promise<Survived> {
    const lab = this.#lab;
    const node = fault.who === 'leader' ? await lab.leader() : fault.who === 'follower' ? await lab.follower() : lab.replicants[0];
    assert.ok(node !== undefined);
    const name = `fault${++this.#runs}`;
    const load = new Load({ name, seed: this.#runs, clientsPerNode: 3, pauseMs: 15 });
    load.start(lab.nodes);
    await pause(workMs);
    const stage = new Stage(lab, node, load);
    await fault.run(stage);
    await lab.caughtUp();
    await pause(workMs);
    await load.stop();
    load.checkRows(`${fault.name}, ${fault.who}`, await lab.equal());
    load.checkOrder();
    const { acknowledged, unknown, refused } = load.counts;
    return { name: fault.name, who: fault.who, acknowledged, unknown, refused, emptied: stage.emptied };
  }

  close(): Promise<void> {
    return this.#lab.close();
  }
}

// Kills a node right before its N-th sync, write or rename, while it starts or while it works, starts it
// again and looks: what lies on its disk is sound, nothing that was acknowledged is lost, all copies are
// equal, what clients were told has one order.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Prng } from '#base/prng.js';
import { within } from '../cluster/nodes.js';
import type { RegisterProcess } from '../library/register-process.js';
import { generousMs, Lab } from './lab.js';
import { Load } from './load.js';
import { compareLogAndTables } from './log-and-tables.js';
import { type Harm, Tracer, underHarm } from './tracer.js';

/** A point that is not reached so soon is killed where it is. */
const reachedMsMax = 6_000;
/** Small files and a short log: rotation and compaction are among the points. */
const smallLog = { walSegmentBytes: 64 * 1024, bounds: { logKeepBytes: 64 * 1024, logKeepMs: 0 } };

export type Victim = 'alone' | 'leader' | 'follower' | 'replicant';

/** Calls of a node at work, how far to count, and the files when only some count. */
interface Kind {
  readonly name: string;
  readonly calls: string;
  readonly countMax: number;
  readonly path?: string;
}

const tables = 'tables/registers/1/data.mdb';
const coreAtWork: readonly Kind[] = [
  { name: 'sync', calls: 'fdatasync', countMax: 60 },
  { name: 'log write', calls: 'write,writev', countMax: 200 },
  { name: 'sync of the tables', calls: 'fdatasync', countMax: 8, path: tables },
  { name: 'write to the tables', calls: 'pwrite64,writev', countMax: 40, path: tables },
  { name: 'write', calls: 'write,writev,pwrite64', countMax: 400 },
  { name: 'opening, removal', calls: 'openat,unlink', countMax: 6 },
];
const replicantAtWork: readonly Kind[] = coreAtWork.filter((k) => k.name !== 'log write');
const starting: readonly Kind[] = [
  { name: 'sync at the start', calls: 'fdatasync', countMax: 14 },
  { name: 'sync of a directory at the start', calls: 'fsync', countMax: 8 },
  { name: 'rename at the start', calls: 'rename,renameat2', countMax: 3 },
  { name: 'write to the tables at the start', calls: 'pwrite64', countMax: 12 },
  { name: 'write at the start', calls: 'write,writev', countMax: 300 },
  { name: 'removal, truncation at the start', calls: 'unlink,ftruncate,mkdir', countMax: 8 },
];

export interface Point {
  readonly victim: Victim;
  readonly name: string;
  readonly calls: string;
  readonly when: number;
  readonly path: string | undefined;
  readonly atStart: boolean;
}

/** `count` points, the victims in turn, half at work and half at the start. */
export function drawPoints(victims: readonly Victim[], count: number, seed: number): Point[] {
  const prng = new Prng(seed).fork('crash points');
  return Array.from({ length: count }, (_, i) => {
    const victim = victims[i % victims.length] ?? 'alone';
    const atStart = Math.floor(i / victims.length) % 2 === 1;
    const kind = prng.pick(atStart ? starting : victim === 'replicant' ? replicantAtWork : coreAtWork);
    return { victim, name: kind.name, calls: kind.calls, when: 1 + prng.int(kind.countMax), path: kind.path, atStart };
  });
}

export interface Crash {
  readonly point: Point;
  /** False: it was killed later, at no point in particular. */
  readonly reached: boolean;
  readonly acknowledged: number;
  /** Entries of the dead core's log that its tables were compared with. */
  readonly entries: number;
}

/** A node alone, or three cores and a replicant, crashed point by point. */
export class CrashLab {
  readonly #lab: Lab;
  readonly #loads: Load[] = [];
  readonly #seed: number;

  private constructor(lab: Lab, seed: number) {
    this.#lab = lab;
    this.#seed = seed;
  }

  static async start(cores: number, replicants: number, seed: number): Promise<CrashLab> {
    return new CrashLab(await Lab.start({ cores, replicants, options: { ...smallLog, nodeDownAfterMs: 15_000 } }), seed);
  }

  async #victim(v: Victim): Promise<RegisterProcess> {
    const found = v === 'follower' ? await this.#lab.follower() : v === 'replicant' ? this.#lab.replicants[0] : await this.#lab.leader();
    assert.ok(found !== undefined, `there is a ${v}`);
    return found;
  }

  #harm(point: Point, node: RegisterProcess): Harm {
    const harm = { calls: point.calls, what: 'signal=SIGKILL', when: String(point.when) };
    const path = point.path === undefined ? undefined : join(this.#lab.dataDir(node), point.path);
    return path === undefined || !existsSync(path) ? harm : { ...harm, path };
  }

  async crash(point: Point): Promise<Crash> {
    const lab = this.#lab;
    const node = await this.#victim(point.victim);
    const name = `crash${this.#loads.length + 1}`;
    const load = new Load({ name, seed: this.#seed + this.#loads.length, clientsPerNode: 3, pauseMs: 20 });
    this.#loads.push(load);
    load.start(lab.nodes);
    const reached = point.atStart ? await this.#crashAtStart(point, node) : await this.#crashAtWork(point, node);
    const { entries } = node.name.startsWith('core') ? await compareLogAndTables(lab.dataDir(node)) : { entries: 0 };
    await within(generousMs, `${node.name} is in service again`, lab.startNode(node));
    await lab.caughtUp();
    await load.stop();
    load.checkRows(`after ${point.name} ${point.when} of the ${point.victim}`, await lab.equal(lab.nodes, `${name}/`));
    load.checkOrder();
    return { point, reached, acknowledged: load.counts.acknowledged, entries };
  }

  async #crashAtWork(point: Point, node: RegisterProcess): Promise<boolean> {
    const tracer = await Tracer.attach(node.pid, this.#harm(point, node));
    assert.ok(tracer !== undefined, `${node.name} can be traced`);
    const reached = await diesBy(node, reachedMsMax);
    if (!reached) await tracer.detach();
    await node.kill();
    return reached;
  }

  async #crashAtStart(point: Point, node: RegisterProcess): Promise<boolean> {
    await node.kill();
    const started = this.#lab.startNode(node, underHarm(this.#harm(point, node))).catch(() => undefined);
    const reached = await Promise.race([diesBy(node, generousMs), started.then(() => diesBy(node, reachedMsMax / 2))]);
    await node.kill();
    return reached;
  }

  /** At the end: every row of every load once more. */
  async checkAll(): Promise<void> {
    const copy = await this.#lab.equal();
    for (const load of this.#loads) load.checkRows('at the end', copy);
  }

  get acknowledged(): number {
    return this.#loads.reduce((sum, l) => sum + l.counts.acknowledged, 0);
  }

  close(): Promise<void> {
    return this.#lab.close();
  }
}

function diesBy(node: RegisterProcess, ms: number): Promise<boolean> {
  return new Promise((done) => {
    const timer = setTimeout(() => done(false), ms);
    void node.ended.then(() => {
      clearTimeout(timer);
      done(true);
    });
  });
}

// Damages LMDB's data files in all kinds of places, and uses each in a process of its own until it is done, or
// dies: a file is refused with a name, or a process dies of it twice at most.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Prng } from '#base/prng.js';
import type { TableWrite } from '#env/tables.js';
import { OsTables } from '#os/tables.js';
import { type WalkLimits, walkLimits } from '#os/tables-use.js';
import { CheckedTables } from '#store/checked-tables.js';
import type { DamagedPagesResult, DamagedPagesTask } from './damaged-pages-program.js';

const program = fileURLToPath(new URL('./damaged-pages-program.js', import.meta.url));
const pageBytes = 4096;
const headerBytes = 24;
const metaBytes = 168;
/** Files per process, as long as it lives. */
const filesAtOnce = 40;
/** A process that stands still over a damaged page is as good as dead. */
const stillMsMax = 60_000;
const deathsMax = 2;

/** Where a byte is changed. */
export const damageKinds = [
  'anywhere',
  'branch',
  'head of a branch',
  'head of a leaf',
  'leaf',
  'first pages',
  'node',
  'head of a large row',
] as const;
type Kind = (typeof damageKinds)[number];

/**
 * A file that has seen some life: rows of all sizes, deletions, free pages, three levels. Each batch is on the disk
 * before the next: which pages are free by then, and so all of the file, would depend on the disk's pace otherwise.
 */
async function wornFile(seed: number): Promise<Buffer> {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-worn-'));
  try {
    const random = new Prng(seed);
    const store = new CheckedTables(new OsTables(dir).open('rows'));
    for (let n = 0; n < 60; n++) {
      const writes = new Map<string, TableWrite>();
      for (let i = 0; i < 200; i++) {
        const key = `key ${random.int(4_000)} ${'p'.repeat(random.int(60))}`;
        const bytes = random.int(30) === 0 ? 3_000 + random.int(9_000) : random.int(150);
        writes.set(key, { key: Buffer.from(key), value: random.int(5) === 0 ? undefined : Buffer.alloc(bytes, i) });
      }
      await new Promise<void>((done, reject) => store.write([...writes.values()], (error) => (error === undefined ? done() : reject(error))));
      await new Promise((done) => store.flushed(done));
    }
    await new Promise<void>((done) => store.close(done));
    return readFileSync(join(dir, 'rows', 'data.mdb'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

class Damager {
  readonly #random: Prng;
  readonly #file: Buffer;
  readonly #branches: number[] = [];
  readonly #leaves: number[] = [];
  readonly #large: number[] = [];

  constructor(file: Buffer, seed: number) {
    this.#random = new Prng(seed);
    this.#file = file;
    for (let at = 2 * pageBytes; at < file.length; at += pageBytes) {
      const kind = file.readUInt16LE(at + 18);
      if (kind === 1) this.#branches.push(at);
      if (kind === 2) this.#leaves.push(at);
      if (kind === 4) this.#large.push(at);
    }
  }

  /** One to three bytes are others. */
  damage(kind: Kind): Buffer {
    const bytes = Buffer.from(this.#file);
    for (let left = 1 + this.#random.int(3); left > 0; left--) {
      const at = this.#place(kind);
      const by = this.#random.int(2) === 0 ? 1 << this.#random.int(8) : 1 + this.#random.int(255);
      bytes[at] = (bytes[at] ?? 0) ^ by;
    }
    return bytes;
  }

  #one(pages: readonly number[]): number {
    return pages[this.#random.int(pages.length)] ?? 0;
  }

  #place(kind: Kind): number {
    const random = this.#random;
    switch (kind) {
      case 'anywhere':
        return random.int(this.#file.length);
      case 'branch':
        return this.#one(this.#branches) + random.int(pageBytes);
      case 'head of a branch':
        return this.#one(this.#branches) + random.int(64);
      case 'head of a leaf':
        return this.#one(this.#leaves) + random.int(headerBytes + 60);
      case 'leaf':
        return this.#one(this.#leaves) + random.int(pageBytes);
      case 'first pages':
        return this.#one([0, pageBytes / 2, pageBytes]) + random.int(metaBytes);
      case 'node': {
        const page = this.#one(this.#leaves);
        const nodes = this.#file.readUInt16LE(page + 20) / 2;
        return page + headerBytes + this.#file.readUInt16LE(page + headerBytes + 2 * random.int(Math.max(1, nodes))) + random.int(8);
      }
      case 'head of a large row':
        return this.#one(this.#large) + random.int(headerBytes);
    }
  }
}

export interface DamagedPages {
  readonly kind: string;
  files: number;
  /** Not opened, without a death before. */
  refused: number;
  /** A row, a read or a write told of it. */
  told: number;
  /** Nothing was noticed. */
  fine: number;
  /** Died once; died twice, and was refused then. */
  once: number;
  twice: number;
  /** How they died. */
  readonly ends: string[];
}

/** What became of `points` files. Without `walk`, files are walked through only after two deaths. */
export async function damagedPages(points: number, seed: number, walk: boolean): Promise<DamagedPages[]> {
  const root = mkdtempSync(join(tmpdir(), 'starmesh-damaged-'));
  const limits: WalkLimits = walk ? walkLimits : { closed: 0, notClosed: 0 };
  const results = new Map<string, DamagedPages>(
    damageKinds.map((kind) => [kind, { kind, files: 0, refused: 0, told: 0, fine: 0, once: 0, twice: 0, ends: [] }]),
  );
  try {
    const damager = new Damager(await wornFile(seed), seed);
    for (let from = 0; from < points; from += filesAtOnce) {
      const kinds = new Map<string, Kind>();
      for (let i = from; i < Math.min(points, from + filesAtOnce); i++) {
        const kind = damageKinds[i % damageKinds.length] ?? 'anywhere';
        const dir = join(root, String(i));
        mkdirSync(join(dir, 'rows'), { recursive: true });
        writeFileSync(join(dir, 'rows', 'data.mdb'), damager.damage(kind));
        kinds.set(dir, kind);
      }
      for (const { deaths, ends, result } of await useAll([...kinds.keys()], limits)) {
        const r = results.get(kinds.get(result.dir) ?? '');
        assert.ok(r !== undefined);
        count(r, deaths, result);
        r.ends.push(...ends);
        rmSync(result.dir, { recursive: true, force: true });
      }
    }
    return [...results.values()];
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function count(r: DamagedPages, deaths: number, result: DamagedPagesResult): void {
  r.files++;
  // What a process dies of once may be another file that it used before: what is damaged is memory.
  if (deaths === 1) r.once++;
  else if (deaths > 1) {
    assert.ok(result.refused, `${r.kind}: died ${deaths} times of what was not refused then`);
    r.twice++;
  } else if (result.refused) r.refused++;
  else if (result.error !== undefined) r.told++;
  else r.fine++;
}

interface Used {
  readonly deaths: number;
  readonly ends: readonly string[];
  readonly result: DamagedPagesResult;
}

async function useAll(dirs: readonly string[], limits: WalkLimits): Promise<Used[]> {
  const used: Used[] = [];
  let ends: string[] = [];
  while (used.length < dirs.length) {
    const { results, end } = await run({ dirs: dirs.slice(used.length), walkLimits: limits });
    for (const result of results) {
      used.push({ deaths: ends.length, ends, result });
      ends = [];
    }
    if (used.length === dirs.length) break;
    // By a signal: a process that ends otherwise has a defect, and says which.
    assert.ok(end.signal !== null, `ended with ${end.code}: ${end.errors}`);
    ends.push(`${dirs[used.length]}: ${end.signal} ${end.errors}`);
    assert.ok(ends.length <= deathsMax, `died ${ends.length} times of the same file: ${ends.join('\n')}`);
  }
  return used;
}

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly errors: string;
}

async function run(task: DamagedPagesTask): Promise<{ readonly results: DamagedPagesResult[]; readonly end: End }> {
  const child = spawn(process.execPath, [program, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  const still = (): boolean => child.kill('SIGKILL');
  let timer = setTimeout(still, stillMsMax);
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    clearTimeout(timer);
    timer = setTimeout(still, stillMsMax);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4_000);
  });
  await once(child, 'close');
  clearTimeout(timer);
  const lines = output.split('\n').slice(0, -1);
  return { results: lines.map((line) => JSON.parse(line) as DamagedPagesResult), end: { code: child.exitCode, signal: child.signalCode, errors } };
}

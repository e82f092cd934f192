// What lies on the disk of a core that is not running: its log is sound, its tables are at an index that
// the log has, and hold what the entries up to there say. Looks at a copy, so that nothing is repaired.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex } from '#base/bytes.js';
import { readEntry } from '#db/entry-codec.js';
import { storedKey, storedValue } from '#db/stored-row.js';
import { decodePosition, metaKey, startPosition } from '#db/system-rows.js';
import type { TableStore } from '#env/tables.js';
import { DirectoryGenerations } from '#node/directory-generations.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import type { Wal, WalShard } from '#store/types.js';
import { openWal } from '#store/wal.js';

const readBytesMax = 1024 * 1024;

export interface Compared {
  /** Entries of all shards above their logs' bases and in the tables. */
  readonly entries: number;
  readonly rows: number;
  readonly tornBytes: number;
}

export async function compareLogAndTables(dataDir: string): Promise<Compared> {
  const copy = mkdtempSync(join(tmpdir(), 'starmesh-look-'));
  cpSync(dataDir, copy, { recursive: true, filter: (path) => !path.endsWith('/lock') && !path.endsWith('.sock') });
  const env = createOsEnv({ dataDir: copy, logger: { targets: [] } });
  try {
    return await compare(env, JSON.parse(readFileSync(join(copy, 'node.json'), 'utf8')) as { readonly nodeId: string });
  } finally {
    await new Promise<void>((done) => env.close(done));
    rmSync(copy, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function compare(env: OsEnv, identity: { readonly nodeId: string }): Promise<Compared> {
  const { wal, recovery } = openWal(env, { nodeId: identity.nodeId });
  assert.deepEqual(recovery.damage, [], 'a killed process leaves no damage');
  let entries = 0;
  let rows = 0;
  for (const shard of wal.shards()) {
    const { store } = new DirectoryGenerations(env, shard.name).openCurrent();
    const seen = compareShard(env, shard, store);
    entries += seen.entries;
    rows += seen.rows;
    await new Promise<void>((done) => store.close(done));
  }
  await closed(wal);
  return { entries, rows, tornBytes: recovery.tornBytes };
}

function compareShard(env: OsEnv, shard: WalShard, store: TableStore): { readonly entries: number; readonly rows: number } {
  const meta = store.get(metaKey);
  const { appliedIndex, appliedTerm } = meta === undefined ? startPosition : decodePosition(meta);
  assert.ok(appliedIndex >= shard.base.index, `${shard.name}: the tables are at ${appliedIndex}, the log begins after ${shard.base.index}`);
  assert.ok(appliedIndex <= shard.lastIndex, `${shard.name}: the tables are at ${appliedIndex}, the log ends at ${shard.lastIndex}`);
  if (appliedIndex > 0) assert.equal(shard.term(appliedIndex), appliedTerm, `${shard.name}: term of ${appliedIndex}`);
  const last = new Map<string, { readonly key: Uint8Array; readonly value: Uint8Array | undefined }>();
  let at = shard.firstIndex;
  while (at <= appliedIndex) {
    const read = shard.entries(at, appliedIndex + 1, readBytesMax);
    assert.ok(read.length > 0, `${shard.name}: the log has entry ${at}`);
    for (const e of read) if (e.kind === 'normal') resolve(env, e.data, last);
    at += read.length;
  }
  for (const { key, value } of last.values()) {
    const is = store.get(key);
    assert.equal(is && toHex(is), value && toHex(value), `${shard.name}: row ${toHex(key)} at ${appliedIndex}`);
  }
  return { entries: Math.max(0, appliedIndex - shard.base.index), rows: last.size };
}

/** The last word of the log on each row of nobody's: no incarnation's death takes these away. */
function resolve(env: OsEnv, data: Uint8Array, last: Map<string, { readonly key: Uint8Array; readonly value: Uint8Array | undefined }>): void {
  for (const t of readEntry(data).transactions) {
    for (const op of t.ops) {
      if (op.kind !== 'put' && op.kind !== 'delete') continue;
      if (op.kind === 'put' && op.owner !== 0) continue;
      const key = storedKey(op.tableId, op.key, env.hash);
      last.set(toHex(key), { key, value: op.kind === 'put' ? storedValue(0, op.key, op.value) : undefined });
    }
  }
}

function closed(wal: Wal): Promise<void> {
  return new Promise((done, reject) => wal.close((error) => (error === undefined ? done() : reject(error))));
}

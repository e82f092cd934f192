// Once everything is quiet: all copies of a shard are equal to the last byte, what they hold is what
// the log makes, and nothing is left of dead incarnations.
import { byteString, equalBytes, toHex } from '#base/bytes.js';
import { decodeStored, isSideKey, ownerIndexByte, ownerIndexKey } from '#db/stored-row.js';
import type { TableStore } from '#env/tables.js';
import type { ClusterWorld } from './cluster-world.js';
import type { ShardModel } from './model.js';

type Rows = Map<string, Uint8Array>;

function readAll(store: TableStore): Rows {
  const rows: Rows = new Map();
  store.range(Uint8Array.of(0), undefined, (key, value) => {
    rows.set(byteString(key), new Uint8Array(value));
    return true;
  });
  return rows;
}

export function checkStores(c: ClusterWorld, models: ReadonlyMap<string, ShardModel>, violation: (text: string) => void): void {
  for (const [shard, model] of models) {
    let first: { readonly name: string; readonly rows: Rows } | undefined;
    for (const n of c.members) {
      const state = n.core?.database.shardState(shard);
      if (state === undefined) continue;
      const rows = readAll(state.store);
      if (first === undefined) {
        first = { name: n.name, rows };
        checkRows(shard, n.name, rows, model, violation);
        continue;
      }
      const difference = firstDifference(first.rows, rows);
      if (difference !== undefined) violation(`${shard}: ${first.name} and ${n.name} differ in the stored row ${difference}`);
    }
    checkMembers(c, shard, model, violation);
  }
}

function firstDifference(a: Rows, b: Rows): string | undefined {
  for (const [key, value] of a) {
    const other = b.get(key);
    if (other === undefined || !equalBytes(value, other)) return nameOf(key);
  }
  for (const key of b.keys()) if (!a.has(key)) return nameOf(key);
  return undefined;
}

function nameOf(key: string): string {
  return JSON.stringify(key.slice(0, 60));
}

/** One copy by itself: as many rows as the model, each owner alive, the owner index exact. */
function checkRows(shard: string, who: string, rows: Rows, model: ShardModel, violation: (text: string) => void): void {
  const expected = new Set<string>();
  const index = new Set<string>();
  let count = 0;
  for (const [key, value] of rows) {
    const stored = Buffer.from(key, 'latin1');
    const kind = stored[0] as number;
    if (kind === 0) continue;
    if (kind === ownerIndexByte) {
      index.add(key);
      continue;
    }
    count++;
    const { owner } = decodeStored(value, isSideKey(stored));
    if (owner === 0) continue;
    if (!model.isLive(owner)) violation(`${shard}: ${who} still has a row of the dead incarnation ${owner}`);
    expected.add(byteString(ownerIndexKey(owner, stored)));
  }
  if (count !== model.rows.size) violation(`${shard}: ${who} stores ${count} rows, the log makes ${model.rows.size}`);
  for (const key of expected) if (!index.has(key)) violation(`${shard}: ${who} lacks a row of the owner index`);
  for (const key of index)
    if (!expected.has(key)) violation(`${shard}: ${who} has a row too many in the owner index: ${toHex(Buffer.from(key, 'latin1')).slice(0, 40)}`);
}

/** Live are the incarnations of the nodes that run, and no others. */
function checkMembers(c: ClusterWorld, shard: string, model: ShardModel, violation: (text: string) => void): void {
  const running = new Map(c.members.map((n) => [n.core?.database.incarnation ?? 0, n.name]));
  for (const [incarnation, name] of running) if (!model.isLive(incarnation)) violation(`${shard}: incarnation ${incarnation} of ${name} is not live`);
  for (const incarnation of model.live()) if (!running.has(incarnation)) violation(`${shard}: incarnation ${incarnation} is live and nobody's`);
}

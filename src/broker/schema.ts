// The broker's shards and tables. Table ids are part of every stored key: never reuse one
// (1–9 cluster, 10 routes, 11 retained messages, 12 shared routes, 13 exclusive subscriptions, 14 delayed
// messages, from 20 the registry's shards, from 60 and 70 the wills beside them).
import type { ShardSchema, Table } from '#db/api.js';
import { delayedCommands } from './delayed-commands.js';
import { exclusiveCommands } from './exclusive-commands.js';
import { type RegistryTable, registryCommands } from './registry-commands.js';
import { registryShardIndex } from './registry-row.js';
import { retainCommands } from './retained-commands.js';

/** (filter, node) → nothing. Key: router/route-key.ts. Rows belong to the node's incarnation. */
export const routeTable: Table = { id: 10, name: 'route', shard: 'route', owned: true };

/** (filter, group, node) → how many members, see shared-routes.ts. Key: router/route-key.ts. Rows belong to the node's incarnation. */
export const sharedTable: Table = { id: 12, name: 'shared', shard: 'route', owned: true };

/** Topic name → retained message. Rows belong to nobody. */
export const retainTable: Table = { id: 11, name: 'retain', shard: 'retain' };

/** Filter → client id that has `$exclusive/FILTER`. Rows belong to the node's incarnation. */
export const exclusiveTable: Table = { id: 13, name: 'exclusive', shard: 'route', owned: true };

/** Delayed messages, by the time they are due, see delayed-commands.ts. Claims belong to the incarnation that publishes. */
export const delayedTable: Table = { id: 14, name: 'delayed', shard: 'retain', owned: true };

export const registryShards = 4;

/** Client id → who has it, by hash of the client id. Rows belong to the holder's incarnation. */
export const registryTables: readonly RegistryTable[] = Array.from({ length: registryShards }, (_, i) => ({
  id: 20 + i,
  name: 'registry',
  shard: `registry-${i}`,
  owned: true,
  // Client id → its wills; due time, epoch and client id → nothing. Rows belong to nobody, see registered-wills.ts.
  wills: { wills: { id: 60 + i, name: 'will', shard: `registry-${i}` }, due: { id: 70 + i, name: 'will_due', shard: `registry-${i}` } },
}));

export function registryTableOf(key: Uint8Array): RegistryTable {
  return registryTables[registryShardIndex(key, registryShards)] as RegistryTable;
}

export const brokerSchema: readonly ShardSchema[] = [
  { name: 'route', replicate: 'all', tables: [routeTable, sharedTable, exclusiveTable], commands: exclusiveCommands(exclusiveTable) },
  {
    name: 'retain',
    replicate: 'all',
    tables: [retainTable, delayedTable],
    commands: { ...retainCommands(retainTable), ...delayedCommands(delayedTable) },
  },
  ...registryTables.map(
    (table): ShardSchema => ({
      name: table.shard,
      replicate: 'core',
      tables: [table, table.wills.wills, table.wills.due],
      commands: registryCommands(table),
    }),
  ),
];

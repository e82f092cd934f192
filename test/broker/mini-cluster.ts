// Nodes with the least a broker must do (mini-broker.ts), over a database and links in memory.
import type { RegistryOptions } from '#broker/registry.js';
import { decodeRow, type RegistryRow, registryKey } from '#broker/registry-row.js';
import { brokerSchema, registryTableOf } from '#broker/schema.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster } from '../doubles/memory-database.js';
import { MemoryNetwork } from '../doubles/memory-links.js';
import { MiniBroker, type MiniSession } from './mini-broker.js';

export const id = (i: number): string => i.toString(16).padStart(32, '0');

export interface MiniCluster {
  readonly clock: ManualClock;
  readonly db: MemoryCluster;
  readonly net: MemoryNetwork;
  readonly nodes: MiniBroker[];
  /** Starts a node anew. */
  readonly make: (i: number) => MiniBroker;
  /** As the leader has it. */
  readonly row: (clientId: string) => RegistryRow | undefined;
  /** Connects, waits for the end of it, and says how it ended. */
  readonly connect: (node: MiniBroker, clientId: string, cleanStart?: boolean, ms?: number) => [string, MiniSession | undefined];
}

export function cluster(n: number, options: Partial<RegistryOptions> = {}): MiniCluster {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const net = new MemoryNetwork(clock);
  const make = (i: number): MiniBroker => {
    const node = db.join(id(i), i === 1 ? 'core' : 'replicant');
    return new MiniBroker(clock, node, net.start(id(i), node.incarnation), options);
  };
  const nodes = Array.from({ length: n }, (_, i) => make(i + 1));
  net.linkAll();
  clock.advance(20);
  const row = (clientId: string): RegistryRow | undefined => {
    const key = registryKey(clientId);
    const table = registryTableOf(key);
    const stored = db.shard(table.shard).leader.get(table, key);
    return stored === undefined ? undefined : decodeRow(stored.value);
  };
  const connect = (node: MiniBroker, clientId: string, cleanStart = false, ms = 200): [string, MiniSession | undefined] => {
    let result: [string, MiniSession | undefined] = ['pending', undefined];
    node.connect(clientId, cleanStart, (how, session) => {
      result = [how, session];
    });
    clock.advance(ms);
    return result;
  };
  return { clock, db, net, nodes, make, row, connect };
}

export const three = (c: MiniCluster): [MiniBroker, MiniBroker, MiniBroker] => c.nodes as [MiniBroker, MiniBroker, MiniBroker];

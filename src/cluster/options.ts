// What cluster.ts is given: who this node is, what is configured, what is kept on its disk, and who keeps it.
import type { NodeDatabase } from '#db/database.js';
import type { Env } from '#env/env.js';
import type { Links, NodeRole, PeerTarget } from '#link/api.js';
import type { DiscoveryOptions } from './discovery.js';
import type { Formed } from './formation.js';

export interface ClusterOptions {
  readonly env: Env;
  readonly links: Links;
  readonly database: NodeDatabase;
  readonly nodeId: string;
  readonly name: string;
  readonly role: NodeRole;
  /** Where others dial this node's cluster port. */
  readonly host: string;
  readonly port: number;
  /** The configured cores, this node included if it is one. */
  readonly cores: readonly PeerTarget[];
  /** Asks where other nodes are. */
  readonly discovery?: DiscoveryOptions | undefined;
  /** Of a core without configured ones: how many there shall be when the cluster forms. */
  readonly coreCount?: number | undefined;
  /** As kept on disk: the cores with which this one has agreed to form a cluster. */
  readonly bound?: readonly string[] | undefined;
  readonly saveBound?: (bound: readonly string[], done: (error: Error | undefined) => void) => void;
  readonly nodeDownAfterMs: number;
  /** Nodes that are down are forgotten after this, cores only while enough are left; Infinity: never. */
  readonly autocleanMs: number;
  /** Replicants are made cores while fewer live; 0: by hand only. */
  readonly coreAutoPromote: number;
  /** As kept on disk from an earlier start. */
  readonly formed: Formed | undefined;
  /** Keeps it durably before anything relies on it. */
  readonly saveFormed: (formed: Formed, done: (error: Error | undefined) => void) => void;
  /** Of a replicant: keeps durably that it is a core from now on, of the cluster formed so, and makes its database one. */
  readonly becomeCore: (formed: Formed, done: (error: Error | undefined) => void) => void;
  /** This core survived the loss of the majority, and is to go on alone from this start on. */
  readonly recover?: boolean;
  readonly saveRecovered: (done: (error: Error | undefined) => void) => void;
  /** Names of the processes that have run on this data directory since one of them joined; this one's is the last. Kept already. */
  readonly lives?: () => readonly string[];
  /** This process has joined: those before it need not be kept. */
  readonly saveJoined?: (done: (error: Error | undefined) => void) => void;
  /** Keeps durably that the cluster went on without this core, in another history. */
  readonly saveSuperseded: (done: (error: Error | undefined) => void) => void;
  /** Keeps durably that this core has left: its data directory serves no node any more. */
  readonly saveLeft: (done: (error: Error | undefined) => void) => void;
  /** This core is out of all groups, and that is kept: nothing is left for it to do. */
  readonly onLeft: () => void;
  readonly onFatal: (error: Error) => void;
  /** What this build can do; for tests another one than its own (level.ts). */
  readonly level?: number;
  /** Keeps durably that all members have had this level: older builds must not start on this data directory any more. */
  readonly saveRaised?: (level: number) => void;
}

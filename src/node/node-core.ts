// The database half of a node, built once over an `Env`: identity, write-ahead log, links, database,
// membership. `start-node.ts` builds it over the real world, the simulator over its own.
import { toHex } from '#base/bytes.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import { Cluster } from '#cluster/cluster.js';
import { clusterSchema } from '#cluster/commands.js';
import type { DiscoveryOptions } from '#cluster/discovery.js';
import { type Formed, formationOf } from '#cluster/formation.js';
import { ownLevel } from '#cluster/level.js';
import { memberShard, tooOld } from '#cluster/schema.js';
import type { ShardSchema } from '#db/api.js';
import type { DbBounds } from '#db/bounds.js';
import type { RaftTimings } from '#db/core-shard.js';
import { NodeDatabase } from '#db/database.js';
import type { Env } from '#env/env.js';
import type { NetAddress, NetError, TlsOptions } from '#env/net.js';
import type { Links, NodeRole, PeerTarget } from '#link/api.js';
import { createLinks } from '#link/links.js';
import type { LinkLimits } from '#link/options.js';
import type { Wal } from '#store/types.js';
import { openWal } from '#store/wal.js';
import { DataDirectoryError } from './data-directory-error.js';
import { DirectoryGenerations } from './directory-generations.js';

export interface NodeCoreOptions {
  readonly name: string;
  readonly role: NodeRole;
  readonly cookie: string;
  /** Where to accept links (undefined: this node is alone), and how others dial it. */
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  readonly advertise: { readonly host: string; readonly port: number };
  /** Of the links between nodes. */
  readonly tls?: TlsOptions | undefined;
  readonly cores: readonly PeerTarget[];
  readonly discovery?: DiscoveryOptions | undefined;
  /** Of a core that is configured with nobody's name: how many cores form the cluster. */
  readonly coreCount?: number | undefined;
  /** Beside the shard `cluster`. */
  readonly schemas: readonly ShardSchema[];
  readonly nodeDownAfterMs: number;
  readonly autocleanMs: number;
  /** Replicants are made cores while fewer live. Default 0: by hand only. */
  readonly coreAutoPromote?: number;
  /** This core has left the cluster: stop the process, there is nothing left for it to do. */
  readonly onLeft?: () => void;
  readonly bounds?: Partial<DbBounds>;
  /** As a core: its share of the replicants, 0 to 100. Default 100. */
  readonly coreWeight?: number;
  /** As a replicant this node feeds others. */
  readonly relay?: boolean;
  readonly timings?: RaftTimings;
  /** What this build can do; for tests another one than its own. */
  readonly level?: number;
  readonly linkLimits?: Partial<LinkLimits>;
  readonly walSegmentBytes?: number;
  readonly onListening?: (address: NetAddress) => void;
  readonly onListenError?: (error: NetError) => void;
  /** The node cannot go on (disk failed): stop the process, say why. */
  readonly onFatal: (error: Error) => void;
}

/** What `node.json` keeps. */
interface Identity {
  /** 2: with `level`. Builds that do not know of it stop at it, as they must. */
  format: 1 | 2;
  readonly nodeId: string;
  /** All members of the cluster have had it, and it is in use. */
  level?: number;
  role: NodeRole;
  /** It is configured as a replicant and became a core. */
  promoted?: true;
  formed: Formed | undefined;
  /** Node ids of the cores with which this one has agreed to form a cluster, before it is formed. */
  bound?: readonly string[] | undefined;
  /** The shards' logs were begun: from now on a missing log is a lost one. */
  logBegun: boolean;
  /** `cluster recover --force` was given for this data directory and is not carried out yet (cli/recover.ts). */
  recover?: true;
  /** The cluster was recovered by force without this core. */
  superseded?: true;
  /** The core has left its cluster: it would be a stranger with an old log. */
  left?: true;
  /** Names of the processes that began here since one of them joined the cluster, that one first. */
  lives?: readonly string[];
}

/** A process that joins would be known by one of these names; more are not drawn until one has joined. */
const livesMax = 64;
const lifeBytes = 8;

const identityFile = 'node.json';

export interface NodeCore {
  readonly nodeId: string;
  readonly links: Links;
  readonly database: NodeDatabase;
  readonly cluster: Cluster;
  readonly wal: Wal | undefined;
  /** The links between nodes are under TLS. */
  readonly secured: boolean;
  stop(done: () => void): void;
}

/** The database first, while it can still tell its peers; nothing comes in any more after the links' close. */
function closeAll(database: NodeDatabase, links: Links, wal: Wal | undefined, done: () => void): void {
  let open = 2;
  const closed = (): void => {
    if (--open > 0) return;
    if (wal === undefined) done();
    else wal.close(() => done());
  };
  database.close(closed);
  links.close(closed);
}

export function createNodeCore(env: Env, o: NodeCoreOptions): NodeCore {
  const identity = loadIdentity(env, o.role, o.level ?? ownLevel);
  const { nodeId } = identity;
  beginLife(env, identity);
  const save = (done: (error: Error | undefined) => void): void => {
    env.files.writeAtomic(identityFile, utf8Encode(`${JSON.stringify(identity, undefined, 2)}\n`), done);
  };
  let stopped = false;
  let cluster: Cluster | undefined;
  save((error) => {
    if (error !== undefined) return o.onFatal(error);
    // Nobody may count on a node id that a power cut would take back, nor on a log that is in the page cache only.
    // Without a cluster something below has failed, and its reason is what counts.
    const start = (): void => {
      if (!stopped) cluster?.start();
    };
    if (log.wal === undefined) return start();
    log.wal.sync((failure) => (failure === undefined ? start() : o.onFatal(failure)));
  });
  const log: { wal: Wal | undefined } = { wal: identity.role === 'core' ? openLog(env, o, identity) : undefined };
  const links = openLinks(env, { ...o, role: identity.role }, nodeId, identity.formed?.clusterId ?? '');
  const database = new NodeDatabase({
    env,
    links,
    nodeId,
    role: identity.role,
    schemas: [clusterSchema, ...o.schemas],
    memberShard,
    generations: generationsOf(env),
    wal: log.wal,
    logBegun: (done) => {
      if (identity.logBegun) return done(undefined);
      identity.logBegun = true;
      save(done);
    },
    ...(o.bounds === undefined ? {} : { bounds: o.bounds }),
    ...(o.coreWeight === undefined ? {} : { coreWeight: o.coreWeight }),
    ...(o.relay === undefined ? {} : { relay: o.relay }),
    ...(o.timings === undefined ? {} : { timings: o.timings }),
    onFatal: o.onFatal,
  });
  const opened = openCluster(env, o, { identity, save, links, database, log });
  cluster = opened;
  return {
    nodeId,
    links,
    database,
    cluster: opened,
    get wal() {
      return log.wal;
    },
    secured: o.tls !== undefined,
    stop: (done) => {
      if (stopped) return done();
      stopped = true;
      opened.stop();
      closeAll(database, links, log.wal, done);
    },
  };
}

interface ClusterParts {
  readonly identity: Identity;
  readonly save: (done: (error: Error | undefined) => void) => void;
  readonly links: Links;
  readonly database: NodeDatabase;
  readonly log: { wal: Wal | undefined };
}

function openCluster(env: Env, o: NodeCoreOptions, { identity, save, links, database, log }: ClusterParts): Cluster {
  return new Cluster({
    env,
    links,
    database,
    nodeId: identity.nodeId,
    name: o.name,
    role: identity.role,
    host: o.advertise.host,
    port: o.advertise.port,
    cores: o.cores,
    nodeDownAfterMs: o.nodeDownAfterMs,
    autocleanMs: o.autocleanMs,
    coreAutoPromote: o.coreAutoPromote ?? 0,
    discovery: o.discovery,
    coreCount: o.coreCount,
    formed: identity.formed,
    saveFormed: (formed, done) => {
      identity.formed = formed;
      save(done);
    },
    becomeCore: (formed, done) => {
      Object.assign(identity, { role: 'core', promoted: true, formed });
      save((error) => {
        if (error !== undefined) return done(error);
        const wal = openLog(env, o, identity);
        log.wal = wal;
        wal.sync((failure) => (failure === undefined ? database.becomeCore(wal, formationOf(formed, false), done) : done(failure)));
      });
    },
    bound: identity.bound,
    saveBound: (bound, done) => {
      identity.bound = bound;
      save(done);
    },
    recover: identity.recover === true,
    saveRecovered: (done) => {
      delete identity.recover;
      save(done);
    },
    saveSuperseded: (done) => {
      identity.superseded = true;
      save(done);
    },
    saveLeft: (done) => {
      identity.left = true;
      save(done);
    },
    ...(o.level === undefined ? {} : { level: o.level }),
    saveRaised: (level) => {
      if (level <= (identity.level ?? 0)) return;
      Object.assign(identity, { format: 2, level });
      save((error) => error !== undefined && o.onFatal(error));
    },
    lives: () => identity.lives ?? [],
    saveJoined: (done) => {
      // Not again after each fence.
      if (identity.lives?.length === 1) return done(undefined);
      identity.lives = identity.lives?.slice(-1) ?? [];
      save(done);
    },
    onLeft: () => o.onLeft?.(),
    onFatal: o.onFatal,
  });
}

/** Names this process, for good once `node.json` is written. */
function beginLife(env: Env, identity: Identity): void {
  const before = identity.lives ?? [];
  if (before.length < livesMax) identity.lives = [...before, toHex(env.random.bytes(lifeBytes))];
}

function loadIdentity(env: Env, role: NodeRole, own: number): Identity {
  if (!env.files.exists(identityFile)) return { format: 1, nodeId: toHex(env.random.bytes(16)), role, formed: undefined, logBegun: false };
  const text = utf8Decode(env.files.read(identityFile)) ?? '';
  let found: Partial<Identity>;
  try {
    found = JSON.parse(text) as Partial<Identity>;
  } catch {
    throw new DataDirectoryError(`${identityFile} is damaged; restore it from a backup, or empty the data directory and let the node join anew`);
  }
  if (found.format !== 1 && found.format !== 2)
    throw new DataDirectoryError(
      `${identityFile} has format ${String(found.format)}; this build reads formats 1 and 2: it was written by a newer build; start that one, or a newer one still`,
    );
  if (typeof found.level === 'number' && found.level > own) throw new DataDirectoryError(tooOld(found.level, own));
  if (typeof found.nodeId !== 'string' || !/^[0-9a-f]{32}$/.test(found.nodeId)) throw new DataDirectoryError(`${identityFile} has no valid node id`);
  if (found.superseded === true) {
    throw new DataDirectoryError(
      'the cluster was recovered by force without this core, and its data are of a history that is over; keep a copy if you need one, empty the data directory, and it joins as a new core',
    );
  }
  if (found.left === true) {
    throw new DataDirectoryError(
      'this core has left its cluster, and its data directory belongs to no node any more; empty it, and the node joins as a new one',
    );
  }
  const promoted = found.role === 'core' && found.promoted === true && role === 'replicant';
  if (found.role !== role && !promoted) {
    throw new DataDirectoryError(
      `this data directory belongs to a ${String(found.role)}, the configuration says ${role}; run "ctl cluster leave" with the old role first, or use an empty data directory`,
    );
  }
  return {
    format: found.format,
    nodeId: found.nodeId,
    ...(typeof found.level === 'number' ? { level: found.level } : {}),
    role: promoted ? 'core' : role,
    ...(promoted ? { promoted } : {}),
    formed: found.formed,
    bound: found.bound,
    ...(found.recover === true ? { recover: true } : {}),
    ...(Array.isArray(found.lives) ? { lives: found.lives.filter((life) => typeof life === 'string') } : {}),
    logBegun: found.logBegun === true,
  };
}

function generationsOf(env: Env): (shard: string) => DirectoryGenerations {
  const all = new Map<string, DirectoryGenerations>();
  return (shard) => {
    const generations = all.get(shard) ?? new DirectoryGenerations(env, shard);
    all.set(shard, generations);
    return generations;
  };
}

function openLinks(env: Env, o: NodeCoreOptions, nodeId: string, clusterId: string): Links {
  return createLinks(env, {
    self: {
      nodeId,
      name: o.name,
      role: o.role,
      clusterId,
      incarnation: 0,
      host: o.advertise.host,
      port: o.advertise.port,
      info: new Uint8Array(0),
    },
    cookie: o.cookie,
    listen: o.listen,
    tls: o.tls,
    ...(o.linkLimits === undefined ? {} : { limits: o.linkLimits }),
    ...(o.onListening === undefined ? {} : { onListening: o.onListening }),
    ...(o.onListenError === undefined ? {} : { onListenError: o.onListenError }),
  });
}

function openLog(env: Env, o: NodeCoreOptions, identity: Identity): Wal {
  const opened = openWal(env, {
    nodeId: identity.nodeId,
    ...(o.walSegmentBytes === undefined ? {} : { segmentBytes: o.walSegmentBytes }),
    onFailure: (error) => o.onFatal(error),
  });
  if (identity.logBegun && !opened.recovery.found) {
    throw new DataDirectoryError(
      'the write-ahead log of this core is missing: it may have voted and must not vote again; empty the data directory and let the core be admitted anew',
    );
  }
  for (const d of opened.recovery.damage) env.log.error('the write-ahead log is damaged', { file: d.file, offset: d.offset, reason: d.reason });
  return opened.wal;
}

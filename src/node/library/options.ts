// What `openDatabase` takes, and what a node's core makes of it. Contradictions are refused here,
// with a sentence, before anything is started.
import { resolve } from 'node:path';
import type { DbBounds } from '#db/bounds.js';
import type { RaftTimings } from '#db/core-shard.js';
import type { TlsOptions } from '#env/net.js';
import type { PeerTarget } from '#link/api.js';
import type { LogLevel } from '#os/logger.js';
import type { NodeCoreOptions } from '../node-core.js';
import { DatabaseError } from './errors.js';
import type { Shard } from './schema.js';

export interface Address {
  readonly host: string;
  /** 1 to 65,535: other nodes must be able to know it in advance. */
  readonly port: number;
}

/** A core as the other nodes know it. */
export interface CoreAddress extends Address {
  readonly name: string;
}

/** Certificates of the links between nodes: PEM files, read again when they change. */
export interface ClusterTls {
  readonly certfile: string;
  readonly keyfile: string;
  /** Who may have signed the other nodes' certificates: an authority of the cluster's own. */
  readonly cacertfile: string;
  /** Of the key. */
  readonly password?: string;
  /** Default: TLS 1.3 and 1.2. */
  readonly versions?: readonly ('tlsv1.3' | 'tlsv1.2')[];
  /** OpenSSL's names between colons. Default: OpenSSL's. */
  readonly ciphers?: string;
}

export interface LogOptions {
  /** Default 'error'. */
  readonly level: LogLevel;
  /** A file, or something that takes lines of JSON. Default: standard error. */
  readonly to?: string | { write(line: string): void };
}

export interface DatabaseOptions {
  /** This node's name, unique in the cluster and always the same for this data directory. */
  readonly name: string;
  /** 'core' (default): votes and keeps the log. 'replicant': follows a core, may come and go. */
  readonly role?: 'core' | 'replicant';
  /** Where everything of this node lies; made when it is not there. One node per directory. */
  readonly dataDir: string;
  /** All cores of the cluster, this one included, the same list on every node. Default: this node alone. */
  readonly cores?: readonly CoreAddress[];
  /** The secret that all nodes share. Needed as soon as there is more than one node. */
  readonly cookie?: string;
  /** Links to other nodes are encrypted, and both ends show a certificate; the same on every node. Default: plain TCP. */
  readonly clusterTls?: ClusterTls;
  /** Where to accept other nodes. Default: this node's entry in `cores`. */
  readonly listen?: Address;
  /** How other nodes reach this one, when that is not `listen`. */
  readonly advertise?: Address;
  /** What is kept; the same on every node. Without access control: who has the cookie has everything. */
  readonly shards: readonly Shard[];
  readonly log?: LogOptions;
  /** How long `openDatabase` waits for the node to be in service, in ms. Default 60,000; Infinity: for ever. */
  readonly openDeadlineMs?: number;
  /** Silence after which a node counts as down and its owned rows vanish, in ms. Default 15,000. */
  readonly nodeDownAfterMs?: number;
  /** How long a replicant that is down is remembered, in ms. Default 24 hours. */
  readonly autocleanMs?: number;
  /** Bounds and waits of the database; see `DbBounds` for each one's default. */
  readonly bounds?: Partial<DbBounds>;
  /** Raft's timings; see `RaftTimings`. */
  readonly timings?: RaftTimings;
  /** Size of a file of the write-ahead log. Default 64 MiB. */
  readonly walSegmentBytes?: number;
}

export const openDefaults: { readonly openDeadlineMs: number; readonly nodeDownAfterMs: number; readonly autocleanMs: number } = {
  openDeadlineMs: 60_000,
  nodeDownAfterMs: 15_000,
  autocleanMs: 24 * 60 * 60 * 1000,
};

const portMax = 65_535;

function refuse(text: string): never {
  throw new DatabaseError('options', text);
}

function checkAddress(what: string, at: Address): void {
  if (!Number.isInteger(at.port) || at.port < 1 || at.port > portMax) refuse(`${what}: the port is to be 1 to ${portMax}, not ${at.port}`);
  if (at.host === '') refuse(`${what}: the host is empty`);
}

/** `cookie`: for a node that is alone and was given none. Throws {@link DatabaseError} 'options'. */
export function coreOptions(o: DatabaseOptions, cookie: string, onFatal: (error: Error) => void): NodeCoreOptions {
  if (o.shards.length === 0) refuse('shards: at least one, and none twice');
  return memberOptions(o, cookie, onFatal);
}

/** The same for a node that may have no shards of its own. */
export function memberOptions(o: DatabaseOptions, cookie: string, onFatal: (error: Error) => void): NodeCoreOptions {
  const role = o.role ?? 'core';
  if (o.name === '') refuse('name: the name is empty');
  const cores = o.cores ?? [];
  for (const c of cores) checkAddress(`cores, ${c.name}`, c);
  if (new Set(cores.map((c) => c.name)).size !== cores.length) refuse('cores: a name occurs twice');
  const own = cores.find((c) => c.name === o.name);
  if (role === 'replicant' && cores.length === 0) refuse('cores: a replicant needs at least one core to follow');
  if (role === 'replicant' && own !== undefined) refuse(`cores: ${o.name} is a replicant`);
  if (role === 'core' && cores.length > 0 && own === undefined) refuse(`cores: ${o.name} is not among them`);
  const alone = role === 'core' && cores.length <= 1 && o.listen === undefined && own === undefined;
  const listen = o.listen ?? own;
  if (!alone && listen === undefined) refuse('listen: where other nodes reach this one is missing');
  if (listen !== undefined) checkAddress('listen', listen);
  if (!alone && (o.cookie ?? '') === '') refuse('cookie: nodes recognize each other by it; there is no default');
  const advertise = o.advertise ?? listen ?? { host: '127.0.0.1', port: 0 };
  const self: PeerTarget = { name: o.name, role, host: advertise.host, port: advertise.port };
  const names = o.shards.map((s) => s.name);
  if (new Set(names).size !== names.length) refuse('shards: at least one, and none twice');
  return {
    name: o.name,
    role,
    cookie: o.cookie ?? cookie,
    listen: listen === undefined ? undefined : { host: listen.host, port: listen.port },
    advertise: { host: advertise.host, port: advertise.port },
    tls: o.clusterTls === undefined ? undefined : tlsOf(o.clusterTls),
    cores: cores.length === 0 ? [self] : cores.map((c) => ({ name: c.name, role: 'core', host: c.host, port: c.port })),
    schemas: o.shards.map((s) => s.seal()),
    nodeDownAfterMs: o.nodeDownAfterMs ?? openDefaults.nodeDownAfterMs,
    autocleanMs: o.autocleanMs ?? openDefaults.autocleanMs,
    ...(o.bounds === undefined ? {} : { bounds: o.bounds }),
    ...(o.timings === undefined ? {} : { timings: o.timings }),
    ...(o.walSegmentBytes === undefined ? {} : { walSegmentBytes: o.walSegmentBytes }),
    onFatal,
  };
}

function tlsOf(t: ClusterTls): TlsOptions {
  // From JavaScript: plain TCP, or nobody to check, would be the other node's guess.
  for (const file of ['certfile', 'keyfile', 'cacertfile'] as const) if (!t[file]) refuse(`clusterTls: ${file} is missing`);
  const { certfile, keyfile, cacertfile, password } = t;
  const versions = t.versions ?? ['tlsv1.3', 'tlsv1.2'];
  return { certfile, keyfile, cacertfile, password, versions, ciphers: t.ciphers ?? '', verify: 'verify_peer', failIfNoPeerCert: true };
}

export function envOptions(o: DatabaseOptions): {
  readonly dataDir: string;
  readonly logger: {
    readonly bindings: { readonly node: string };
    readonly targets: readonly { readonly level: LogLevel; readonly to: string | { write(line: string): void } }[];
  };
} {
  const { level, to } = { level: 'error' as const, ...o.log };
  const stderr = { write: (line: string): void => void process.stderr.write(line) };
  return { dataDir: resolve(o.dataDir), logger: { bindings: { node: o.name }, targets: level === 'silent' ? [] : [{ level, to: to ?? stderr }] } };
}

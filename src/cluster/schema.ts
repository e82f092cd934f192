// The shard `cluster`: who is a member, with which incarnation, up or down, and which nodes the Raft
// groups shall consist of. Its commands (commands.ts) are the only place where incarnations are minted and declared
// dead, and where a core is taken into the groups or out of them; every other shard follows.
// Invariant: what is wanted of a node id only ever goes from voter to removed. A removed id stays removed
// for ever, so an old copy of the table never brings a node back: who left comes again under a new id.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { utf8Encode } from '#base/utf8.js';
import type { Reader, Table } from '#db/api.js';
import type { NodeRole } from '#link/api.js';

export const memberShard = 'cluster';
export const membersTable: Table = { id: 1, name: 'members', shard: memberShard };
export const countersTable: Table = { id: 2, name: 'counters', shard: memberShard };
/** The set of cores, which each shard's leader makes its Raft group equal to (db/core-set.ts). */
export const coresTable: Table = { id: 3, name: 'cores', shard: memberShard };
export const incarnationKey: Uint8Array = utf8Encode('incarnation');
/** Cores that are gone are not forgotten by themselves when fewer would be left. */
export const autocleanVotersMin = 3;

export interface Member {
  readonly nodeId: string;
  readonly name: string;
  readonly role: NodeRole;
  /** Cluster port, as other nodes dial it. */
  readonly host: string;
  readonly port: number;
  readonly incarnation: number;
  readonly up: boolean;
  /** Leader's stamp of the last change, ms since 1970. */
  readonly changedMs: number;
  /** The process that joined last, by the name that it gave itself; not of older builds. */
  readonly life?: string;
  /** What its build can do (level.ts); not of older ones. */
  readonly level?: number;
}

export function memberKey(nodeId: string): Uint8Array {
  return utf8Encode(nodeId);
}

export function encodeMember(m: Member): Uint8Array {
  const w = new ByteWriter(128);
  w.u8(1);
  w.string(m.nodeId);
  w.string(m.name);
  w.u8(m.role === 'core' ? 0 : 1);
  w.string(m.host);
  w.varint(m.port);
  w.varint(m.incarnation);
  w.u8(m.up ? 1 : 0);
  w.f64(m.changedMs);
  if (m.life !== undefined || m.level !== undefined) w.string(m.life ?? '');
  if (m.level !== undefined) w.varint(m.level);
  return w.finish();
}

export function decodeMember(bytes: Uint8Array): Member {
  const r = new ByteReader(bytes);
  r.u8();
  const nodeId = r.string();
  const name = r.string();
  const role = r.u8() === 0 ? 'core' : 'replicant';
  const m = { nodeId, name, role, host: r.string(), port: r.varint(), incarnation: r.varint(), up: r.u8() === 1, changedMs: r.f64() } as const;
  // Older builds end here, or behind the next.
  const life = r.remaining === 0 ? '' : r.string();
  return { ...m, ...(life === '' ? {} : { life }), ...(r.remaining === 0 ? {} : { level: r.varint() }) };
}

// ---- the set of cores ----

/** voter: in every Raft group, as learner until it has caught up · removed: in none, and never again. */
export type WantedOfCore = 'voter' | 'removed';

export interface CoreRow {
  readonly nodeId: string;
  readonly name: string;
  readonly wanted: WantedOfCore;
  /** Leader's stamp of the last change, ms since 1970. */
  readonly changedMs: number;
}

export function encodeCore(c: CoreRow): Uint8Array {
  const w = new ByteWriter(96);
  w.u8(1);
  w.string(c.nodeId);
  w.string(c.name);
  w.u8(c.wanted === 'voter' ? 0 : 1);
  w.f64(c.changedMs);
  return w.finish();
}

export function decodeCore(bytes: Uint8Array): CoreRow {
  const r = new ByteReader(bytes);
  r.u8();
  return { nodeId: r.string(), name: r.string(), wanted: r.u8() === 0 ? 'voter' : 'removed', changedMs: r.f64() };
}

/** Why the core cannot leave now, undefined: it can. `up`: that a node runs, as far as the cluster knows. */
export function leaveRefusal(cores: Iterable<CoreRow>, nodeId: string, up: (nodeId: string) => boolean, members: number): string | undefined {
  let others = 0;
  let running = 0;
  for (const c of cores) {
    if (c.wanted !== 'voter' || c.nodeId === nodeId) continue;
    others++;
    if (up(c.nodeId)) running++;
  }
  if (others === 0)
    return members > 1 ? 'this is the last core: the other nodes cannot do without it; stop them first, or let another core join' : undefined;
  if (running * 2 <= others) return `only ${running} of the other ${others} cores run: without this one they would have no majority`;
  return undefined;
}

// ---- what the commands are given, and answer ----

export interface KnownCore {
  readonly nodeId: string;
  readonly name: string;
}

export interface JoinRequest {
  readonly nodeId: string;
  readonly name: string;
  readonly role: NodeRole;
  readonly host: string;
  readonly port: number;
  /** Of a core: those that formed the cluster, as far as their names are known. */
  readonly founders?: readonly KnownCore[];
  /** The one it has had until now: the new one is above it, whatever this copy of the table has seen. */
  readonly incarnation?: number;
  /** Names of the processes that have run on this data directory since one of them joined, that one and this one, the last, included. */
  readonly lives?: readonly string[];
  readonly level?: number;
}

export function encodeJoin(j: JoinRequest): Uint8Array {
  const w = new ByteWriter(256);
  w.blob(encodeMember({ ...j, incarnation: j.incarnation ?? 0, up: true, changedMs: 0 }));
  const founders = j.founders ?? [];
  w.varint(founders.length);
  for (const f of founders) {
    w.string(f.nodeId);
    w.string(f.name);
  }
  const lives = j.lives ?? [];
  w.varint(lives.length);
  for (const life of lives) w.string(life);
  return w.finish();
}

export function decodeJoin(body: Uint8Array): {
  readonly wanted: Member;
  readonly founders: readonly KnownCore[];
  readonly lives: readonly string[];
} {
  const r = new ByteReader(body);
  const member = decodeMember(r.blob());
  const founders = Array.from({ length: r.count() }, () => ({ nodeId: r.string(), name: r.string() }));
  // Older builds end here.
  const lives = r.remaining === 0 ? [] : Array.from({ length: r.count() }, () => r.string());
  const life = lives.at(-1);
  return { wanted: life === undefined ? member : { ...member, life }, founders, lives };
}

/**
 * joined · nameInUse: a core of this name counts as up under another id, ask again · removed: this core was taken out
 * for ever · copied: a process of another copy of this data directory has joined since.
 */
export type JoinOutcome = 'joined' | 'nameInUse' | 'removed' | 'copied';
const joinOutcomes: readonly JoinOutcome[] = ['joined', 'nameInUse', 'removed', 'copied'];

export interface JoinReply {
  readonly outcome: JoinOutcome;
  /** 0 unless joined. */
  readonly incarnation: number;
}

export function encodeJoinReply(r: JoinReply): Uint8Array {
  const w = new ByteWriter(8);
  w.varint(r.incarnation);
  w.u8(joinOutcomes.indexOf(r.outcome));
  return w.finish();
}

export function decodeJoinReply(reply: Uint8Array): JoinReply {
  const r = new ByteReader(reply);
  return { incarnation: r.varint(), outcome: joinOutcomes[r.u8()] ?? 'removed' };
}

export function encodeFence(nodeId: string, incarnation: number): Uint8Array {
  const w = new ByteWriter(64);
  w.string(nodeId);
  w.varint(incarnation);
  return w.finish();
}

/** Of the commands `leave`, `left` and `becomeCore` a node id, of `forceLeave` a name. */
export function encodeText(text: string): Uint8Array {
  const w = new ByteWriter(64);
  w.string(text);
  return w.finish();
}

export function encodeLevel(nodeId: string, incarnation: number, level: number): Uint8Array {
  const w = new ByteWriter(64);
  w.string(nodeId);
  w.varint(incarnation);
  w.varint(level);
  return w.finish();
}

export function decodeText(body: Uint8Array): string {
  return new ByteReader(body).string();
}

export function decodeNumber(bytes: Uint8Array): number {
  return new ByteReader(bytes).varint();
}

/** The last one, on this node's copy. */
export function mintedIncarnation(reader: Reader): number {
  const row = reader.get(countersTable, incarnationKey);
  return row === undefined ? 0 : decodeNumber(row.value);
}

export function encodeNumber(n: number): Uint8Array {
  const w = new ByteWriter(8);
  w.varint(n);
  return w.finish();
}

/** What the builds of all members can do; 0: nobody is known. */
export function commonLevel(members: Iterable<Member>): number {
  let common = Number.POSITIVE_INFINITY;
  for (const m of members) common = Math.min(common, m.level ?? 0);
  return common === Number.POSITIVE_INFINITY ? 0 : common;
}

/** Why a build must not be a member: the others count on what it does not know. */
export function tooOld(common: number, own: number): string {
  return `all nodes of this cluster had level ${common}, and have begun to use it; this build has level ${own}, and would undo what it does not know: start a build of level ${common} or newer. There is no way back from a rolling upgrade once its last node is replaced`;
}

export function encodeRecovered(survivor: KnownCore, tag: string): Uint8Array {
  const w = new ByteWriter(96);
  w.string(survivor.nodeId);
  w.string(survivor.name);
  w.string(tag);
  return w.finish();
}

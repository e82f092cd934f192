// The shard `cluster`: who is a member, with which incarnation, up or down, and which nodes the Raft
// groups shall consist of. Its commands are the only place where incarnations are minted and declared
// dead, and where a core is taken into the groups or out of them; every other shard follows.
// Invariant: what is wanted of a node id only ever goes from voter to removed. A removed id stays removed
// for ever, so an old copy of the table never brings a node back: who left comes again under a new id.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { equalBytes } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import { type CommandContext, CommandRefused, type Reader, type ShardSchema, type Table } from '#db/api.js';
import type { NodeRole } from '#link/api.js';

export const memberShard = 'cluster';
export const membersTable: Table = { id: 1, name: 'members', shard: memberShard };
export const countersTable: Table = { id: 2, name: 'counters', shard: memberShard };
/** The set of cores, which each shard's leader makes its Raft group equal to (db/core-set.ts). */
export const coresTable: Table = { id: 3, name: 'cores', shard: memberShard };
const incarnationKey = utf8Encode('incarnation');
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

// ---- commands ----

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

function decodeJoin(body: Uint8Array): { readonly wanted: Member; readonly founders: readonly KnownCore[]; readonly lives: readonly string[] } {
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

function encodeJoinReply(r: JoinReply): Uint8Array {
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

function decodeText(body: Uint8Array): string {
  return new ByteReader(body).string();
}

function decodeNumber(bytes: Uint8Array): number {
  return new ByteReader(bytes).varint();
}

/** The last one, on this node's copy. */
export function mintedIncarnation(reader: Reader): number {
  const row = reader.get(countersTable, incarnationKey);
  return row === undefined ? 0 : decodeNumber(row.value);
}

function number(n: number): Uint8Array {
  const w = new ByteWriter(8);
  w.varint(n);
  return w.finish();
}

function memberOf(context: CommandContext, nodeId: string): Member | undefined {
  const row = context.get(membersTable, memberKey(nodeId));
  return row === undefined ? undefined : decodeMember(row.value);
}

function allMembers(context: CommandContext): Member[] {
  const all: Member[] = [];
  context.range(membersTable, new Uint8Array(0), undefined, (_key, row) => {
    all.push(decodeMember(row.value));
    return true;
  });
  return all;
}

function allCores(context: CommandContext): CoreRow[] {
  const all: CoreRow[] = [];
  context.range(coresTable, new Uint8Array(0), undefined, (_key, row) => {
    all.push(decodeCore(row.value));
    return true;
  });
  return all;
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

function putCore(context: CommandContext, c: KnownCore, wanted: WantedOfCore): void {
  context.put(coresTable, memberKey(c.nodeId), encodeCore({ nodeId: c.nodeId, name: c.name, wanted, changedMs: context.stampMs }));
}

function putMember(context: CommandContext, m: Member): void {
  context.put(membersTable, memberKey(m.nodeId), encodeMember({ ...m, changedMs: context.stampMs }));
}

/**
 * A new incarnation for the node; its older ones are purged by the same entry. Executed twice, the later one counts.
 * A core that is new is wanted in the Raft groups from here on; one of the same name with another id, whose data
 * directory was lost, is wanted no more, once it is known not to run.
 */
function join(context: CommandContext, body: Uint8Array): Uint8Array {
  const { wanted, founders, lives } = decodeJoin(body);
  const before = memberOf(context, wanted.nodeId);
  if (before?.life !== undefined && lives.length > 0 && !lives.includes(before.life)) return encodeJoinReply({ outcome: 'copied', incarnation: 0 });
  // A replicant that was promoted is a core when it comes back.
  if (before?.role === 'core' && wanted.role !== 'core') {
    throw new CommandRefused(`node ${wanted.name} joined as ${before.role}; to change its role, let it leave first`);
  }
  if (before?.up === true && before.name !== wanted.name) {
    throw new CommandRefused(`this node id is that of ${before.name}, which runs: the data directory was copied; empty it`);
  }
  // Only if none was left to replace: until then a node may go back (level.ts).
  const common = commonLevel(allMembers(context));
  if ((wanted.level ?? 0) < common) throw new CommandRefused(tooOld(common, wanted.level ?? 0));
  const refused = takeName(context, wanted, founders);
  if (refused !== undefined) return encodeJoinReply({ outcome: refused, incarnation: 0 });
  const incarnation = Math.max(mintedIncarnation(context), wanted.incarnation) + 1;
  const displaced = allMembers(context).filter((other) => other.name === wanted.name && other.nodeId !== wanted.nodeId);
  // A node whose data directory was deleted is a new node of the old name.
  for (const other of displaced) context.delete(membersTable, memberKey(other.nodeId));
  context.put(countersTable, incarnationKey, number(incarnation));
  putMember(context, { ...wanted, incarnation, up: true });
  for (const other of displaced) context.purge(other.nodeId, other.incarnation);
  context.admit(wanted.nodeId, incarnation);
  return encodeJoinReply({ outcome: 'joined', incarnation });
}

/** The name's place in the set of cores is the node's own, or nobody's; a reason when it gets none. */
function takeName(context: CommandContext, wanted: Member, founders: readonly KnownCore[]): JoinOutcome | undefined {
  let cores = allCores(context);
  if (cores.length === 0 && wanted.role === 'core') {
    for (const f of founders) putCore(context, f, 'voter');
    cores = founders.map((f) => ({ ...f, wanted: 'voter', changedMs: context.stampMs }));
  }
  const own = cores.find((c) => c.nodeId === wanted.nodeId);
  if (own?.wanted === 'removed') return 'removed';
  const namesakes = cores.filter((c) => c.name === wanted.name && c.nodeId !== wanted.nodeId && c.wanted === 'voter');
  if (namesakes.some((c) => memberOf(context, c.nodeId)?.up === true)) return 'nameInUse';
  if (wanted.role !== 'core' && namesakes.length > 0 && cores.filter((c) => c.wanted === 'voter').length === namesakes.length)
    throw new CommandRefused(`${wanted.name} is the name of the last core: start it as a core, or let another core join first`);
  for (const c of namesakes) putCore(context, c, 'removed');
  if (wanted.role === 'core' && (own === undefined || own.name !== wanted.name)) putCore(context, wanted, 'voter');
  return undefined;
}

/** Far beyond any that the lost majority can have given. */
const incarnationGap = 1_000_000;
const recoveryKey = utf8Encode('recovery');

export function encodeRecovered(survivor: KnownCore, tag: string): Uint8Array {
  const w = new ByteWriter(96);
  w.string(survivor.nodeId);
  w.string(survivor.name);
  w.string(tag);
  return w.finish();
}

/**
 * A survivor of a lost majority goes on alone: it is the only core, and every incarnation is over, as nobody
 * knows what was given and promised without it. Whoever lives joins anew. Once per recovery.
 */
function recovered(context: CommandContext, body: Uint8Array): Uint8Array {
  const r = new ByteReader(body);
  const survivor = { nodeId: r.string(), name: r.string() };
  const tag = utf8Encode(r.string());
  const before = context.get(countersTable, recoveryKey);
  if (before !== undefined && equalBytes(before.value, tag)) return new Uint8Array(0);
  context.put(countersTable, recoveryKey, tag);
  const last = context.get(countersTable, incarnationKey);
  context.put(countersTable, incarnationKey, number((last === undefined ? 0 : decodeNumber(last.value)) + incarnationGap));
  for (const c of allCores(context)) if (c.nodeId !== survivor.nodeId) putCore(context, c, 'removed');
  putCore(context, survivor, 'voter');
  for (const m of allMembers(context)) {
    if (!m.up) continue;
    putMember(context, { ...m, up: false });
    context.purge(m.nodeId, m.incarnation);
  }
  return new Uint8Array(0);
}

/** Declares one incarnation dead. Nothing happens when the node has a newer one. */
function fence(context: CommandContext, body: Uint8Array): Uint8Array {
  const r = new ByteReader(body);
  const nodeId = r.string();
  const incarnation = r.varint();
  const member = memberOf(context, nodeId);
  if (member === undefined || member.incarnation !== incarnation || !member.up) return new Uint8Array(0);
  putMember(context, { ...member, up: false });
  context.purge(nodeId, incarnation);
  return new Uint8Array(0);
}

/** Removes a member that is down (autoclean); a core only while enough are left. */
function forget(context: CommandContext, body: Uint8Array): Uint8Array {
  const r = new ByteReader(body);
  const nodeId = r.string();
  const incarnation = r.varint();
  const member = memberOf(context, nodeId);
  if (member === undefined) return new Uint8Array(0);
  if (member.up || member.incarnation !== incarnation) throw new CommandRefused(`node ${member.name} is not down`);
  const core = context.get(coresTable, memberKey(nodeId));
  if (member.role === 'core' && !(core !== undefined && decodeCore(core.value).wanted === 'removed')) {
    const wanted = allCores(context).filter((c) => c.wanted === 'voter');
    if (wanted.length <= autocleanVotersMin)
      throw new CommandRefused(`core ${member.name} is not forgotten: ${wanted.length} cores are not too many`);
    putCore(context, member, 'removed');
  }
  context.delete(membersTable, memberKey(nodeId));
  return new Uint8Array(0);
}

/** A core wants to be in no Raft group any more. It stays a member until it is out of all (`left`). */
function leave(context: CommandContext, body: Uint8Array): Uint8Array {
  const nodeId = decodeText(body);
  const cores = allCores(context);
  const own = cores.find((c) => c.nodeId === nodeId);
  if (own === undefined) throw new CommandRefused('this node is no core of the cluster');
  if (own.wanted === 'removed') return new Uint8Array(0);
  const refusal = leaveRefusal(cores, nodeId, (id) => memberOf(context, id)?.up === true, allMembers(context).length);
  if (refusal !== undefined) throw new CommandRefused(refusal);
  putCore(context, own, 'removed');
  return new Uint8Array(0);
}

/** The node is gone for good: a replicant, or a core that is out of all groups. */
function left(context: CommandContext, body: Uint8Array): Uint8Array {
  const member = memberOf(context, decodeText(body));
  if (member === undefined) return new Uint8Array(0);
  const core = context.get(coresTable, memberKey(member.nodeId));
  if (core !== undefined && decodeCore(core.value).wanted === 'voter') throw new CommandRefused(`core ${member.name} has not left the Raft groups`);
  context.delete(membersTable, memberKey(member.nodeId));
  context.purge(member.nodeId, member.incarnation);
  return new Uint8Array(0);
}

/** An operator takes a node out that does not come back. */
function forceLeave(context: CommandContext, body: Uint8Array): Uint8Array {
  const name = decodeText(body);
  const members = allMembers(context).filter((m) => m.name === name);
  const cores = allCores(context).filter((c) => c.name === name && c.wanted === 'voter');
  if (members.length === 0 && cores.length === 0) throw new CommandRefused(`there is no node ${name} in the cluster`);
  const others = allCores(context).filter((c) => c.wanted === 'voter' && c.name !== name).length;
  if (cores.length > 0 && others === 0) throw new CommandRefused(`${name} is the last core`);
  for (const c of cores) putCore(context, c, 'removed');
  for (const m of members) {
    context.delete(membersTable, memberKey(m.nodeId));
    context.purge(m.nodeId, m.incarnation);
  }
  return new Uint8Array(0);
}

/** A replicant that has made itself ready to be a core: wanted in the groups, under the same incarnation. */
function becomeCore(context: CommandContext, body: Uint8Array): Uint8Array {
  const nodeId = decodeText(body);
  const member = memberOf(context, nodeId);
  if (member === undefined) throw new CommandRefused('the node is no member of the cluster');
  const row = context.get(coresTable, memberKey(nodeId));
  if (row !== undefined && decodeCore(row.value).wanted === 'removed') throw new CommandRefused(`${member.name} has left the cores`);
  if (row === undefined) putCore(context, member, 'voter');
  if (member.role !== 'core') putMember(context, { ...member, role: 'core' });
  return new Uint8Array(0);
}

/** A member says what its build can do: the leader that it joined with did not know how to write that down. */
function level(context: CommandContext, body: Uint8Array): Uint8Array {
  const r = new ByteReader(body);
  const member = memberOf(context, r.string());
  const incarnation = r.varint();
  if (member?.incarnation === incarnation) putMember(context, { ...member, level: r.varint() });
  return new Uint8Array(0);
}

export const clusterSchema: ShardSchema = {
  name: memberShard,
  replicate: 'all',
  tables: [membersTable, countersTable, coresTable],
  commands: { join, fence, forget, leave, left, forceLeave, becomeCore, recovered, level },
};

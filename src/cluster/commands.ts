// The commands of the shard `cluster` (schema.ts has its rows, and what the commands are given): joining, leaving,
// being declared dead, becoming a core. Run by every copy of the shard in the order of its log, so they use
// nothing but their context. Invariants: see schema.ts.
import { ByteReader } from '#base/byte-reader.js';
import { equalBytes } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import { type CommandContext, CommandRefused, type ShardSchema } from '#db/api.js';
import {
  autocleanVotersMin,
  type CoreRow,
  commonLevel,
  coresTable,
  countersTable,
  decodeCore,
  decodeJoin,
  decodeMember,
  decodeNumber,
  decodeText,
  encodeCore,
  encodeJoinReply,
  encodeMember,
  encodeNumber,
  incarnationKey,
  type JoinOutcome,
  type KnownCore,
  leaveRefusal,
  type Member,
  memberKey,
  memberShard,
  membersTable,
  mintedIncarnation,
  tooOld,
  type WantedOfCore,
} from './schema.js';

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
  context.put(countersTable, incarnationKey, encodeNumber(incarnation));
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
  context.put(countersTable, incarnationKey, encodeNumber((last === undefined ? 0 : decodeNumber(last.value)) + incarnationGap));
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

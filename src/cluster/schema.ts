// The shard `cluster`: who is a member, with which incarnation, up or down. Its commands are the
// only place where incarnations are minted and declared dead; every other shard follows.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { utf8Encode } from '#base/utf8.js';
import { type CommandContext, CommandRefused, type ShardSchema, type Table } from '#db/api.js';
import type { NodeRole } from '#link/api.js';

export const memberShard = 'cluster';
export const membersTable: Table = { id: 1, name: 'members', shard: memberShard };
export const countersTable: Table = { id: 2, name: 'counters', shard: memberShard };
const incarnationKey = utf8Encode('incarnation');

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
  return w.finish();
}

export function decodeMember(bytes: Uint8Array): Member {
  const r = new ByteReader(bytes);
  r.u8();
  const nodeId = r.string();
  const name = r.string();
  const role = r.u8() === 0 ? 'core' : 'replicant';
  return { nodeId, name, role, host: r.string(), port: r.varint(), incarnation: r.varint(), up: r.u8() === 1, changedMs: r.f64() };
}

// ---- commands ----

export interface JoinRequest {
  readonly nodeId: string;
  readonly name: string;
  readonly role: NodeRole;
  readonly host: string;
  readonly port: number;
}

export function encodeJoin(j: JoinRequest): Uint8Array {
  return encodeMember({ ...j, incarnation: 0, up: true, changedMs: 0 });
}

export function encodeFence(nodeId: string, incarnation: number): Uint8Array {
  const w = new ByteWriter(64);
  w.string(nodeId);
  w.varint(incarnation);
  return w.finish();
}

export function decodeIncarnation(reply: Uint8Array): number {
  return new ByteReader(reply).varint();
}

function number(n: number): Uint8Array {
  const w = new ByteWriter(8);
  w.varint(n);
  return w.finish();
}

/** A new incarnation for the node; its older ones are purged by the same entry. Executed twice, the later one counts. */
function join(context: CommandContext, body: Uint8Array): Uint8Array {
  const wanted = decodeMember(body);
  const before = context.get(membersTable, memberKey(wanted.nodeId));
  if (before !== undefined && decodeMember(before.value).role !== wanted.role) {
    throw new CommandRefused(`node ${wanted.name} joined as ${decodeMember(before.value).role}; to change its role, let it leave first`);
  }
  const last = context.get(countersTable, incarnationKey);
  const incarnation = (last === undefined ? 0 : decodeIncarnation(last.value)) + 1;
  const displaced: Member[] = [];
  context.range(membersTable, new Uint8Array(0), undefined, (_key, row) => {
    const other = decodeMember(row.value);
    if (other.name === wanted.name && other.nodeId !== wanted.nodeId) displaced.push(other);
    return true;
  });
  for (const other of displaced) {
    if (other.role === 'core') throw new CommandRefused(`core ${other.name} is known with another node id: was its data directory wiped or cloned?`);
    // A replicant whose data directory was deleted is a new node of the old name.
    context.delete(membersTable, memberKey(other.nodeId));
  }
  context.put(countersTable, incarnationKey, number(incarnation));
  context.put(membersTable, memberKey(wanted.nodeId), encodeMember({ ...wanted, incarnation, up: true, changedMs: context.stampMs }));
  for (const other of displaced) context.purge(other.nodeId, other.incarnation);
  context.admit(wanted.nodeId, incarnation);
  return number(incarnation);
}

/** Declares one incarnation dead. Nothing happens when the node has a newer one. */
function fence(context: CommandContext, body: Uint8Array): Uint8Array {
  const r = new ByteReader(body);
  const nodeId = r.string();
  const incarnation = r.varint();
  const row = context.get(membersTable, memberKey(nodeId));
  if (row === undefined) return new Uint8Array(0);
  const member = decodeMember(row.value);
  if (member.incarnation !== incarnation || !member.up) return new Uint8Array(0);
  context.put(membersTable, memberKey(nodeId), encodeMember({ ...member, up: false, changedMs: context.stampMs }));
  context.purge(nodeId, incarnation);
  return new Uint8Array(0);
}

/** Removes a member that is down (autoclean). */
function forget(context: CommandContext, body: Uint8Array): Uint8Array {
  const r = new ByteReader(body);
  const nodeId = r.string();
  const incarnation = r.varint();
  const row = context.get(membersTable, memberKey(nodeId));
  if (row === undefined) return new Uint8Array(0);
  const member = decodeMember(row.value);
  if (member.up || member.incarnation !== incarnation) throw new CommandRefused(`node ${member.name} is not down`);
  context.delete(membersTable, memberKey(nodeId));
  return new Uint8Array(0);
}

export const clusterSchema: ShardSchema = {
  name: memberShard,
  replicate: 'all',
  tables: [membersTable, countersTable],
  commands: { join, fence, forget },
};

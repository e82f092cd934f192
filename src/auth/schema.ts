// The shard `auth`: who may log in, what they may do, who is banned. On every node, few writes. Keys are
// built here; rows are JSON (rows.ts), read on logins and cache misses only.
import { concatBytes, emptyBytes } from '#base/bytes.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { CommandContext, ShardSchema, Table } from '#db/api.js';
import { decoded, decodeKeys } from '#db/command-body.js';
import { decodeBan } from './rows.js';

// Table ids 40 to 49 are this shard's: never reuse one.
export const authShard = 'auth';
/** User id → password, superuser. */
export const usersTable: Table = { id: 40, name: 'users', shard: authShard };
/** Client id, user name or all → rules. */
export const rulesTable: Table = { id: 41, name: 'rules', shard: authShard };
/** What is banned → until when, why, by whom. */
export const bannedTable: Table = { id: 42, name: 'banned', shard: authShard };
/** User id → keys for SCRAM. */
export const scramTable: Table = { id: 43, name: 'scram', shard: authShard };

/** Longest text of a key, in bytes of UTF-8. Ids above it cannot be users, have rules of their own or be banned exactly. */
export const keyTextBytesMax = 512;

/** undefined: too long. */
export function textKey(text: string): Uint8Array | undefined {
  if (text.length > keyTextBytesMax) return undefined;
  const bytes = utf8Encode(text);
  return bytes.length > keyTextBytesMax || bytes.length === 0 ? undefined : bytes;
}

function prefixed(prefix: number, text: string): Uint8Array | undefined {
  const key = textKey(text);
  return key === undefined ? undefined : concatBytes([Uint8Array.of(prefix), key]);
}

export type RulesOf = { readonly kind: 'clientid' | 'username'; readonly id: string } | { readonly kind: 'all' };

const rulePrefixes = { clientid: 1, username: 2 } as const;

/** First byte of the keys of one kind, for lists. */
export function rulesPrefix(kind: RulesOf['kind']): number {
  return kind === 'all' ? 0 : rulePrefixes[kind];
}

export function rulesKey(of: RulesOf): Uint8Array | undefined {
  return of.kind === 'all' ? Uint8Array.of(0) : prefixed(rulePrefixes[of.kind], of.id);
}

/** What a ban names, as EMQX calls it. */
export type BanKind = 'clientid' | 'username' | 'peerhost' | 'peerhost_net' | 'clientid_re' | 'username_re';
export const banKinds: readonly BanKind[] = ['clientid', 'username', 'peerhost', 'peerhost_net', 'clientid_re', 'username_re'];

export function banKey(kind: BanKind, who: string): Uint8Array | undefined {
  return prefixed(banKinds.indexOf(kind) + 1, who);
}

export function decodeBanKey(key: Uint8Array): { readonly as: BanKind; readonly who: string } | undefined {
  const as = banKinds[(key[0] ?? 0) - 1];
  const who = utf8Decode(key, 1);
  return as === undefined || who === undefined ? undefined : { as, who };
}

/** Deletes those of the given bans whose time is up by the leader's clock: one that was renewed meanwhile stays. */
function expireBans(context: CommandContext, body: Uint8Array): Uint8Array {
  for (const key of decoded(() => decodeKeys(body))) {
    const row = context.get(bannedTable, key);
    const ban = row === undefined ? undefined : decodeBan(row.value);
    if (row !== undefined && (ban === undefined || ban.untilMs <= context.stampMs)) context.delete(bannedTable, key);
  }
  return emptyBytes;
}

export const authSchema: readonly ShardSchema[] = [
  { name: authShard, replicate: 'all', tables: [usersTable, rulesTable, bannedTable, scramTable], commands: { 'expire-bans': expireBans } },
];

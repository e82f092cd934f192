// Rows of the shard `auth`: JSON in UTF-8, so that later versions can add fields. Reading never throws;
// a row that cannot be read is undefined, and counts for whatever is safe where it was wanted.
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { PasswordHash } from './password.js';
import type { Plain } from './plain.js';
import type { ScramKeys } from './scram.js';

export interface UserRow {
  readonly superuser: boolean;
  readonly password: PasswordHash;
}

export interface BanRow {
  readonly as: string;
  readonly who: string;
  readonly by: string;
  readonly reason: string;
  /** Wall clock ms. */
  readonly atMs: number;
  /** Infinity: for ever. */
  readonly untilMs: number;
}

export interface ScramRow {
  readonly superuser: boolean;
  readonly keys: ScramKeys;
}

export interface RulesRow {
  /** `u1`, `c1`; '' for all. */
  readonly id: string;
  /** As they were given; `readRules` reads them. */
  readonly rules: readonly Plain[];
}

function encode(value: unknown): Uint8Array {
  return utf8Encode(JSON.stringify(value));
}

function decode(bytes: Uint8Array): Record<string, unknown> | undefined {
  const text = utf8Decode(bytes);
  try {
    const value: unknown = text === undefined ? undefined : JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

export function encodeUser(row: UserRow): Uint8Array {
  return encode(row);
}

export function decodeUser(bytes: Uint8Array): UserRow | undefined {
  const row = decode(bytes);
  const password = row?.password;
  if (typeof password !== 'object' || password === null) return undefined;
  const hash = password as PasswordHash;
  return isAffordable(hash) ? { superuser: row?.superuser === true, password: hash } : undefined;
}

/** Whether the hash is well-formed, and checking it costs no more than a login may. */
export function isAffordable(hash: PasswordHash): boolean {
  const whole = (n: unknown, max: number): boolean => typeof n === 'number' && Number.isInteger(n) && n >= 1 && n <= max;
  if (typeof hash.hash !== 'string' || hash.hash.length === 0 || hash.hash.length > 1_024) return false;
  if (hash.name === 'bcrypt') {
    const rounds = /^\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{53}$/.exec(hash.hash);
    return rounds !== null && whole(Number(rounds[1]), 16);
  }
  if (typeof hash.salt !== 'string' || hash.salt.length > 1_024) return false;
  if (hash.name === 'scrypt') return whole(hash.n, 1 << 20) && whole(hash.r, 32) && whole(hash.p, 16) && hash.n * hash.r * 128 <= 1 << 27;
  const hexadecimal = /^(?:[0-9a-fA-F]{2})+$/.test(hash.hash);
  if (hash.name === 'pbkdf2') return whole(hash.iterations, 10_000_000) && typeof hash.macFun === 'string' && hexadecimal;
  const known = ['plain', 'md5', 'sha', 'sha256', 'sha512'].includes(hash.name) && ['disable', 'prefix', 'suffix'].includes(hash.saltPosition);
  return known && (hash.name === 'plain' || hexadecimal);
}

export function encodeScram(row: ScramRow): Uint8Array {
  return encode(row);
}

export function decodeScram(bytes: Uint8Array): ScramRow | undefined {
  const row = decode(bytes);
  const keys = row?.keys as Partial<ScramKeys> | undefined;
  if (typeof keys?.salt !== 'string' || typeof keys.storedKey !== 'string' || typeof keys.serverKey !== 'string') return undefined;
  if (typeof keys.iterations !== 'number') return undefined;
  return { superuser: row?.superuser === true, keys: keys as ScramKeys };
}

export function encodeBan(row: BanRow): Uint8Array {
  return encode({ ...row, untilMs: row.untilMs === Number.POSITIVE_INFINITY ? null : row.untilMs });
}

export function decodeBan(bytes: Uint8Array): BanRow | undefined {
  const row = decode(bytes);
  if (row === undefined || typeof row.as !== 'string' || typeof row.who !== 'string') return undefined;
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  const untilMs = typeof row.untilMs === 'number' ? row.untilMs : Number.POSITIVE_INFINITY;
  return { as: row.as, who: row.who, by: text(row.by), reason: text(row.reason), atMs: typeof row.atMs === 'number' ? row.atMs : 0, untilMs };
}

export function encodeRules(row: RulesRow): Uint8Array {
  return encode(row);
}

export function decodeRules(bytes: Uint8Array): RulesRow | undefined {
  const row = decode(bytes);
  return row !== undefined && Array.isArray(row.rules) ? { id: String(row.id ?? ''), rules: row.rules as readonly Plain[] } : undefined;
}

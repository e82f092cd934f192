// `ctl users`, `ctl acl`, `ctl banned`: users of the built-in database, its rules, and bans.
import { randomBytes } from 'node:crypto';
import type { AuthAdmin } from '#auth/admin.js';
import { isPlainObject, type Plain, parseDuration } from '#auth/plain.js';
import type { BanRow } from '#auth/rows.js';
import type { RulesOf } from '#auth/schema.js';
import type { CtlHandlers } from './handlers.js';
import { type CtlReply, listRowsMax } from './replies.js';

type Command = (args: readonly string[], node: CtlHandlers) => Promise<CtlReply>;
type AuthCommand = (args: readonly string[], admin: AuthAdmin) => Promise<CtlReply> | CtlReply;

/** A generated password: 24 characters, none that a shell minds. */
const passwordBytes = 18;

function command(run: AuthCommand): Command {
  return async (args, { authAdmin }) => (authAdmin === undefined ? refused('the node has no users') : run(args, authAdmin));
}

function refused(text: string): CtlReply {
  return { ok: false, text };
}

async function addUser([userId, given, flag]: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  if (userId === undefined || (flag !== undefined && flag !== 'superuser'))
    return refused('usage: starmesh ctl users add USER [PASSWORD [superuser]]');
  const password = given ?? randomBytes(passwordBytes).toString('base64url');
  await admin.addUser(userId, password, flag === 'superuser');
  const data = { user_id: userId, is_superuser: flag === 'superuser' };
  // A password that was made up is told once.
  return given === undefined ? { ok: true, text: `ok; the password is ${password}`, data: { ...data, password } } : { ok: true, text: 'ok', data };
}

async function setUser([userId, password, flag]: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  if (userId === undefined || password === undefined || (flag !== undefined && flag !== 'superuser')) {
    return refused('usage: starmesh ctl users update USER PASSWORD [superuser]');
  }
  await admin.updateUser(userId, { password, superuser: flag === 'superuser' });
  return { ok: true, text: 'ok', data: { user_id: userId } };
}

async function deleteUser([userId]: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  if (userId === undefined) return refused('usage: starmesh ctl users delete USER');
  await admin.deleteUser(userId);
  return { ok: true, text: 'ok', data: { deleted: userId } };
}

function listUsers(_args: readonly string[], admin: AuthAdmin): CtlReply {
  const { items, next } = admin.users(listRowsMax);
  const lines = items.map((u) => `${u.userId}${u.superuser ? ' (superuser)' : ''}`);
  if (next !== undefined) lines.push(`(the first ${listRowsMax})`);
  return { ok: true, text: lines.join('\n'), data: items.map((u) => ({ user_id: u.userId, is_superuser: u.superuser })) };
}

async function addScram([userId, given, flag]: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  if (userId === undefined || (flag !== undefined && flag !== 'superuser'))
    return refused('usage: starmesh ctl scram add USER [PASSWORD [superuser]]');
  const password = given ?? randomBytes(passwordBytes).toString('base64url');
  await admin.addScramUser(userId, password, flag === 'superuser');
  const told = given === undefined ? { password } : {};
  return { ok: true, text: given === undefined ? `ok; the password is ${password}` : 'ok', data: { user_id: userId, ...told } };
}

async function deleteScram([userId]: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  if (userId === undefined) return refused('usage: starmesh ctl scram delete USER');
  await admin.deleteScramUser(userId);
  return { ok: true, text: 'ok', data: { deleted: userId } };
}

const rulesUsage = 'usage: starmesh ctl acl show|set|delete all|clientid ID|username NAME; set wants a JSON list of rules at the end';

/** Whose rules, and what follows. */
function rulesOf(args: readonly string[]): { readonly of: RulesOf; readonly rest: readonly string[] } | undefined {
  const [kind, id, ...rest] = args;
  if (kind === 'all') return { of: { kind }, rest: args.slice(1) };
  if ((kind !== 'clientid' && kind !== 'username') || id === undefined) return undefined;
  return { of: { kind, id }, rest };
}

function showRules(args: readonly string[], admin: AuthAdmin): CtlReply {
  const whose = rulesOf(args);
  if (whose === undefined) return refused(rulesUsage);
  const rules = admin.rules(whose.of);
  return { ok: true, text: rules.map((r) => JSON.stringify(r)).join('\n'), data: rules };
}

async function setRules(args: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  const whose = rulesOf(args);
  const rules = parseRules(whose?.rest[0]);
  if (whose === undefined || rules === undefined) return refused(rulesUsage);
  await admin.setRules(whose.of, rules);
  return { ok: true, text: 'ok', data: rules };
}

function parseRules(text: string | undefined): readonly Plain[] | undefined {
  try {
    const value = JSON.parse(text ?? '') as Plain;
    if (Array.isArray(value)) return value as readonly Plain[];
    return isPlainObject(value) ? [value] : undefined;
  } catch {
    return undefined;
  }
}

async function deleteRules(args: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  const whose = rulesOf(args);
  if (whose === undefined) return refused(rulesUsage);
  await admin.setRules(whose.of, []);
  return { ok: true, text: 'ok', data: [] };
}

/** As in the HTTP API. */
function banData(ban: BanRow): Readonly<Record<string, string>> {
  const time = (ms: number): string => (ms === Number.POSITIVE_INFINITY ? 'infinity' : new Date(ms).toISOString());
  return { as: ban.as, who: ban.who, by: ban.by, reason: ban.reason, at: time(ban.atMs), until: time(ban.untilMs) };
}

async function addBan([as, who, howLong, ...reason]: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  const ms = howLong === undefined || howLong === 'infinity' ? Number.POSITIVE_INFINITY : parseDuration(howLong);
  if (as === undefined || who === undefined || ms === undefined) {
    return refused('usage: starmesh ctl banned add clientid|username|peerhost|peerhost_net|clientid_re|username_re WHO [infinity|1h [REASON]]');
  }
  const until = ms === Number.POSITIVE_INFINITY ? {} : { forMs: ms };
  const ban = await admin.ban({ as, who, by: 'ctl', reason: reason.join(' '), ...until });
  return { ok: true, text: 'ok', data: banData(ban) };
}

async function deleteBan([as, who]: readonly string[], admin: AuthAdmin): Promise<CtlReply> {
  if (as === undefined || who === undefined) return refused('usage: starmesh ctl banned delete clientid|username|… WHO');
  await admin.unban(as, who);
  return { ok: true, text: 'ok', data: { as, who } };
}

function listBans(_args: readonly string[], admin: AuthAdmin): CtlReply {
  const bans = admin.bans(listRowsMax).items.map(banData);
  return { ok: true, text: bans.map((b) => `${b.as} ${b.who} until ${b.until} by ${b.by}: ${b.reason}`).join('\n'), data: bans };
}

export const authCommands: readonly (readonly [string, Command])[] = [
  ['users add', command(addUser)],
  ['users update', command(setUser)],
  ['users delete', command(deleteUser)],
  ['users list', command(listUsers)],
  ['scram add', command(addScram)],
  ['scram delete', command(deleteScram)],
  ['acl show', command(showRules)],
  ['acl set', command(setRules)],
  ['acl delete', command(deleteRules)],
  ['banned add', command(addBan)],
  ['banned delete', command(deleteBan)],
  ['banned list', command(listBans)],
];

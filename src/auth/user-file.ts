// Files of users as EMQX reads them (`bootstrap_file`, imports): CSV with a head line or a JSON list,
// with `user_id`, `is_superuser`, and either `password` or `password_hash` and `salt`.
import type { HashAlgorithm, PasswordHash } from './password.js';
import { isAffordable } from './rows.js';

export interface FileUser {
  readonly userId: string;
  readonly superuser: boolean;
  /** As it is, or as it was hashed elsewhere. */
  readonly password: string | PasswordHash;
}

export class UserFileError extends Error {
  override readonly name = 'UserFileError';
}

const usersMax = 1_000_000;

/** `algorithm`: of the hashes in the file. Throws {@link UserFileError}; the message has the line or entry, never a password. */
export function parseUserFile(text: string, type: 'plain' | 'hash', algorithm: HashAlgorithm): readonly FileUser[] {
  const records = text.trimStart().startsWith('[') ? jsonRecords(text) : csvRecords(text);
  if (records.length > usersMax) throw new UserFileError(`more than ${usersMax} users`);
  return records.map((record, i) => {
    const where = `user ${i + 1}`;
    const userId = record.get('user_id') ?? '';
    if (userId === '') throw new UserFileError(`${where} has no user_id`);
    const superuser = record.get('is_superuser') === 'true';
    return { userId, superuser, password: type === 'plain' ? required(record, 'password', where) : hashOf(record, algorithm, where) };
  });
}

type FileRecord = ReadonlyMap<string, string>;

function required(record: FileRecord, field: string, where: string): string {
  const value = record.get(field) ?? '';
  if (value === '') throw new UserFileError(`${where} has no ${field}`);
  return value;
}

function hashOf(record: FileRecord, algorithm: HashAlgorithm, where: string): PasswordHash {
  const hash = required(record, 'password_hash', where);
  const salt = record.get('salt') ?? '';
  const made = withHash(algorithm, hash, salt);
  if (!isAffordable(made)) throw new UserFileError(`${where} has a password_hash that is none of ${algorithm.name}`);
  return made;
}

function withHash(algorithm: HashAlgorithm, hash: string, salt: string): PasswordHash {
  switch (algorithm.name) {
    case 'bcrypt':
      return { name: 'bcrypt', hash };
    case 'pbkdf2':
      return { name: 'pbkdf2', macFun: algorithm.macFun, iterations: algorithm.iterations, salt, hash };
    default:
      return { ...algorithm, salt, hash };
  }
}

function jsonRecords(text: string): readonly FileRecord[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    throw new UserFileError('the file is no JSON');
  }
  if (!Array.isArray(list)) throw new UserFileError('the file is no list of users');
  return list.map((one: unknown, i) => {
    if (typeof one !== 'object' || one === null) throw new UserFileError(`user ${i + 1} is no object`);
    return new Map(Object.entries(one).map(([key, value]) => [key, String(value)]));
  });
}

function csvRecords(text: string): readonly FileRecord[] {
  const [head, ...lines] = csvLines(text.replace(/^\uFEFF/, ''));
  if (head === undefined || !head.includes('user_id')) throw new UserFileError('the first line must name the columns, user_id among them');
  return lines.map((line, i) => {
    if (line.length !== head.length) throw new UserFileError(`user ${i + 1} has ${line.length} columns instead of ${head.length}`);
    return new Map(head.map((name, column) => [name.trim(), line[column] ?? '']));
  });
}

/** Fields may stand in quotation marks, doubled inside. Empty lines are left out. */
function csvLines(text: string): string[][] {
  const lines: string[][] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  let line: string[] = [];
  while (field.lastIndex < text.length || line.length > 0) {
    const m = field.exec(text);
    if (m === null) throw new UserFileError(`line ${lines.length + 1} is no CSV`);
    line.push(m[1]?.replaceAll('""', '"') ?? m[2] ?? '');
    if (m[3] === ',') continue;
    if (line.length > 1 || line[0] !== '') lines.push(line);
    line = [];
  }
  return lines;
}

// Reads `authentication`, `authorization` and `flapping_detect` of the configuration, as EMQX 5 spells
// them, into what `build.ts` makes parts of. Problems are sentences with the path of the setting.
import { authnPlaceholders } from './http-authenticator.js';
import { type MakeCall, readHttpRequest } from './http-request.js';
import { jwtPlaceholders } from './jwt-authenticator.js';
import { FixedKey } from './jwt-keys.js';
import { defaultAlgorithm, type HashAlgorithm, type SimpleHashName } from './password.js';
import { type Plain, type PlainObject, PlainReader } from './plain.js';
import { type Rule, readRules } from './rule.js';
import type { ScramHash } from './scram.js';
import { Secret } from './secret.js';
import { authzPlaceholders } from './sources.js';
import { parseTemplate, type Template } from './template.js';
import { type FileUser, parseUserFile } from './user-file.js';

export interface HttpSettings {
  readonly makeCall: MakeCall;
  readonly poolSize: number;
  readonly timeoutMs: number;
}

export interface JwtSettings {
  readonly key:
    | { readonly kind: 'secret'; readonly secret: Secret; readonly base64: boolean }
    | { readonly kind: 'public'; readonly pem: string }
    | { readonly kind: 'jwks'; readonly endpoint: string; readonly headers: Readonly<Record<string, string>>; readonly refreshMs: number };
  readonly from: 'password' | 'username';
  readonly verifyClaims: readonly (readonly [string, Template])[];
  readonly aclClaimName: string;
  readonly disconnectAfterExpire: boolean;
}

export type AuthenticatorSettings =
  | {
      readonly kind: 'builtin';
      readonly userIdType: 'username' | 'clientid';
      readonly algorithm: HashAlgorithm;
      /** Users that are added when they are not there yet. */
      readonly bootstrap: readonly FileUser[];
    }
  | ({ readonly kind: 'http' } & HttpSettings)
  | ({ readonly kind: 'jwt' } & JwtSettings)
  | { readonly kind: 'scram'; readonly hash: ScramHash; readonly iterations: number };

export type SourceSettings =
  | { readonly kind: 'file'; readonly rules: readonly Rule[] }
  | { readonly kind: 'builtin' }
  | ({ readonly kind: 'http' } & HttpSettings);

/** Files that settings name. */
export interface SettingsFiles {
  /** Throws an Error whose message says why not. */
  text(path: string): string;
  /** The `rules` of a file of rules. Throws likewise. */
  rules(path: string): readonly Plain[];
}

export function readAuthentication(list: readonly PlainObject[], files: SettingsFiles, problems: string[]): AuthenticatorSettings[] {
  const read: AuthenticatorSettings[] = [];
  const seen = new Set<string>();
  for (const [i, one] of list.entries()) {
    const r = new PlainReader(one, `authentication.${i + 1}`, problems);
    r.flag('enable', true);
    const settings = readAuthenticator(r, files);
    if (settings === undefined) continue;
    r.done();
    if (seen.has(settings.kind) && settings.kind !== 'jwt')
      r.problem('', `is a second ${settings.kind} authenticator; one of a kind can be in the chain`);
    seen.add(settings.kind);
    read.push(settings);
  }
  return read;
}

const otherBackends = ['mysql', 'postgresql', 'mongodb', 'redis', 'ldap', 'cinfo', 'kerberos', 'gssapi'];

function readAuthenticator(r: PlainReader, files: SettingsFiles): AuthenticatorSettings | undefined {
  const mechanism = r.requiredText('mechanism');
  if (mechanism === 'jwt') return readJwt(r, files);
  const backend = r.requiredText('backend');
  if (mechanism === 'password_based' && backend === 'built_in_database') {
    const userIdType = r.choice('user_id_type', ['username', 'clientid'], 'username');
    const algorithm = readAlgorithm(r);
    return { kind: 'builtin', userIdType, algorithm, bootstrap: readBootstrap(r, algorithm, files) };
  }
  if (mechanism === 'password_based' && backend === 'http') {
    const http = readHttp(r, authnPlaceholders, 5_000);
    return http === undefined ? undefined : { kind: 'http', ...http };
  }
  if (mechanism === 'scram' && backend === 'built_in_database') {
    const hash = r.choice('algorithm', ['sha256', 'sha512'], 'sha256');
    return { kind: 'scram', hash, iterations: r.integer('iteration_count', 4_096, 1_000_000, 4_096) };
  }
  const what = otherBackends.includes(backend) || otherBackends.includes(mechanism) ? 'is not available in this version' : 'is not known';
  r.problem(
    '',
    `is ${mechanism}:${backend}, which ${what}; there are password_based:built_in_database, password_based:http, jwt, scram:built_in_database`,
  );
  return undefined;
}

function readBootstrap(r: PlainReader, algorithm: HashAlgorithm, files: SettingsFiles): readonly FileUser[] {
  const type = r.choice('bootstrap_type', ['plain', 'hash'], 'plain');
  const path = r.optionalText('bootstrap_file');
  if (path === undefined || path === '') return [];
  try {
    return parseUserFile(files.text(path), type, algorithm);
  } catch (error) {
    r.problem('bootstrap_file', `cannot be used: ${error instanceof Error ? error.message : 'unknown'}`);
    return [];
  }
}

function readAlgorithm(r: PlainReader): HashAlgorithm {
  const a = new PlainReader(r.object('password_hash_algorithm'), `${r.path}.password_hash_algorithm`, r.problems);
  const algorithm = readHash(a);
  a.done();
  return algorithm;
}

function readHash(a: PlainReader): HashAlgorithm {
  const name = a.choice('name', ['scrypt', 'bcrypt', 'pbkdf2', 'plain', 'md5', 'sha', 'sha256', 'sha512'], 'scrypt');
  switch (name) {
    case 'scrypt': {
      const n = a.integer('n', 1_024, 131_072, 16_384);
      if ((n & (n - 1)) !== 0) a.problem('n', 'must be a power of two');
      return { ...defaultAlgorithm, name, n, r: a.integer('r', 1, 8, 8), p: a.integer('p', 1, 16, 1) };
    }
    case 'bcrypt':
      return { name, saltRounds: a.integer('salt_rounds', 5, 15, 10) };
    case 'pbkdf2': {
      const macFun = a.choice('mac_fun', ['sha256', 'sha512', 'sha384', 'sha224', 'sha', 'md5'], 'sha256');
      const dkLength = a.integer('dk_length', 16, 128, 32);
      return { name, macFun: macFun === 'sha' ? 'sha1' : macFun, iterations: a.integer('iterations', 1_000, 10_000_000, 100_000), dkLength };
    }
    default:
      return { name: name satisfies SimpleHashName, saltPosition: a.choice('salt_position', ['disable', 'prefix', 'suffix'], 'prefix') };
  }
}

function readHttp(r: PlainReader, placeholders: readonly string[], timeoutMs: number): HttpSettings | undefined {
  const makeCall = readHttpRequest(r, placeholders);
  const settings = { poolSize: r.integer('pool_size', 1, 1_000, 8), timeoutMs: r.duration('request_timeout', 1, timeoutMs) };
  for (const key of ['connect_timeout', 'enable_pipelining', 'max_retries', 'retry_interval']) r.raw(key); // nothing to set
  noCertificates(r);
  return makeCall === undefined ? undefined : { makeCall, ...settings };
}

/** Certificates of services are checked against those that Node knows. */
function noCertificates(r: PlainReader): void {
  const ssl = new PlainReader(r.object('ssl'), `${r.path}.ssl`, r.problems);
  ssl.flag('enable', false);
  if (ssl.choice('verify', ['verify_peer', 'verify_none'], 'verify_peer') === 'verify_none' && ssl.flag('enable', false)) {
    ssl.problem('verify', '= verify_none is not available: the certificate of the service is always checked');
  }
  for (const key of ['cacertfile', 'certfile', 'keyfile']) {
    if (ssl.has(key)) ssl.problem(key, 'is not available; further authorities go into the environment variable NODE_EXTRA_CA_CERTS');
  }
}

function readJwt(r: PlainReader, files: SettingsFiles): AuthenticatorSettings | undefined {
  const before = r.problems.length;
  const key = r.flag('use_jwks', false) ? readJwks(r) : readFixedKey(r, files);
  const claims: (readonly [string, Template])[] = [];
  for (const [claim, wanted] of Object.entries(r.object('verify_claims'))) {
    const template = parseTemplate(String(wanted), jwtPlaceholders);
    if (typeof template === 'string') r.problem(`verify_claims.${claim}`, `has a wrong value: ${template}`);
    else claims.push([claim, template]);
  }
  const rest = {
    from: r.choice('from', ['password', 'username'], 'password'),
    aclClaimName: r.text('acl_claim_name', 'acl'),
    disconnectAfterExpire: r.flag('disconnect_after_expire', true),
  };
  return r.problems.length > before || key === undefined ? undefined : { kind: 'jwt', key, verifyClaims: claims, ...rest };
}

function readJwks(r: PlainReader): JwtSettings['key'] | undefined {
  const endpoint = r.requiredText('endpoint');
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) r.problem('endpoint', 'must be a URL such as https://issuer.example.com/jwks.json');
  const headers = Object.fromEntries(Object.entries(r.object('headers')).map(([name, value]) => [name, String(value)]));
  for (const key of ['pool_size', 'use_jwks']) r.raw(key);
  noCertificates(r);
  return { kind: 'jwks', endpoint, headers, refreshMs: r.duration('refresh_interval', 10_000, 300_000, 1_000) };
}

function readFixedKey(r: PlainReader, files: SettingsFiles): JwtSettings['key'] | undefined {
  if (r.choice('algorithm', ['hmac-based', 'public-key'], 'hmac-based') === 'hmac-based') {
    const secret = r.requiredText('secret');
    return { kind: 'secret', secret: new Secret(secret), base64: r.flag('secret_base64_encoded', false) };
  }
  const given = r.requiredText('public_key');
  try {
    const pem = given.includes('-----BEGIN') ? given : files.text(given);
    FixedKey.publicKey(pem);
    return { kind: 'public', pem };
  } catch (error) {
    r.problem('public_key', `is no public key: ${error instanceof Error ? error.message : 'unknown'}`);
    return undefined;
  }
}

export function readSources(list: readonly PlainObject[], files: SettingsFiles, problems: string[]): SourceSettings[] {
  const read: SourceSettings[] = [];
  const seen = new Set<string>();
  for (const [i, one] of list.entries()) {
    const r = new PlainReader(one, `authorization.sources.${i + 1}`, problems);
    r.flag('enable', true);
    const source = readSource(r, files);
    if (source === undefined) continue;
    r.done();
    if (seen.has(source.kind)) r.problem('', 'is a second source of its type; one of each can be in the list');
    seen.add(source.kind);
    read.push(source);
  }
  return read;
}

function readSource(r: PlainReader, files: SettingsFiles): SourceSettings | undefined {
  const type = r.requiredText('type');
  switch (type) {
    case 'file':
      return { kind: 'file', rules: readRuleFile(r, files) };
    case 'built_in_database':
      r.raw('max_rules');
      return { kind: 'builtin' };
    case 'http': {
      const http = readHttp(r, authzPlaceholders, 30_000);
      return http === undefined ? undefined : { kind: 'http', ...http };
    }
    default:
      r.problem('type', `= ${type} is not available in this version; there are file, built_in_database, http`);
      return undefined;
  }
}

function readRuleFile(r: PlainReader, files: SettingsFiles): readonly Rule[] {
  const path = r.optionalText('path');
  if (path === undefined) {
    const rules = r.raw('rules');
    if (!Array.isArray(rules)) r.problem('rules', 'is missing: a list of rules, or path = a file with one');
    return Array.isArray(rules) ? readRules(rules as readonly Plain[], `${r.path}.rules`, r.problems) : [];
  }
  if (r.has('rules')) r.problem('rules', 'stands beside path; keep one');
  try {
    return readRules(files.rules(path), `${path}: rules`, r.problems);
  } catch (error) {
    r.problem('path', `cannot be read: ${error instanceof Error ? error.message : 'unknown'}`);
    return [];
  }
}

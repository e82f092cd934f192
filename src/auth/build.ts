// Makes the access control of a node from its settings.
import type { Database } from '#db/api.js';
import { AccessControl, type AccessEnv } from './access-control.js';
import type { AdminSettings } from './admin.js';
import type { Authenticator } from './authenticator.js';
import { BuiltinAuthenticator } from './builtin-authenticator.js';
import { Chain } from './chain.js';
import { defaultFlapping, type FlappingOptions } from './flapping.js';
import { HttpAuthenticator } from './http-authenticator.js';
import { type Fetch, fetchHttp, HttpPool } from './http-client.js';
import { JwtAuthenticator } from './jwt-authenticator.js';
import { FixedKey, type JwtKeys, PublishedKeys } from './jwt-keys.js';
import type { AuthenticatorSettings, JwtSettings, SourceSettings } from './options.js';
import { defaultAlgorithm, type PasswordHasher } from './password.js';
import { ScramAuthenticator } from './scram-authenticator.js';
import { FileSource, HttpSource, type Source, TableSource } from './sources.js';

export interface AuthSettings {
  readonly authentication: readonly AuthenticatorSettings[];
  readonly authorization: {
    readonly noMatch: 'allow' | 'deny';
    readonly denyAction: 'ignore' | 'disconnect';
    readonly concealReason: boolean;
    readonly cache: { readonly enable: boolean; readonly maxSize: number; readonly ttlMs: number };
    readonly recheckMs: number;
    readonly sources: readonly SourceSettings[];
  };
  readonly flapping: FlappingOptions;
}

/** Nothing configured: everybody may come in and do everything, unless banned. */
export const openSettings: AuthSettings = {
  authentication: [],
  authorization: {
    noMatch: 'allow',
    denyAction: 'ignore',
    concealReason: false,
    cache: { enable: true, maxSize: 32, ttlMs: 60_000 },
    recheckMs: Number.POSITIVE_INFINITY,
    sources: [],
  },
  flapping: defaultFlapping,
};

/** `decoySecret`: see {@link ScramAuthenticator}. `fetch`: for tests. */
export function buildAccess(
  env: AccessEnv,
  db: Database,
  settings: AuthSettings,
  hasher: PasswordHasher,
  decoySecret: Uint8Array,
  fetch: Fetch = fetchHttp,
): AccessControl {
  const { authorization, flapping } = settings;
  const members = settings.authentication.map((a) =>
    a.kind === 'scram' ? new ScramAuthenticator(db, { ...a, decoySecret }) : buildAuthenticator(env, db, a, hasher, fetch),
  );
  const { noMatch, denyAction, concealReason, cache, recheckMs } = authorization;
  const sources = authorization.sources.map((s) => buildSource(env, db, s, fetch));
  return new AccessControl(env, db, { chain: new Chain(members), sources, noMatch, denyAction, concealReason, cache, recheckMs, flapping });
}

export function adminSettings(settings: AuthSettings): AdminSettings {
  const builtin = settings.authentication.find((a) => a.kind === 'builtin');
  const scram = settings.authentication.find((a) => a.kind === 'scram');
  return { algorithm: builtin?.algorithm ?? defaultAlgorithm, scram: scram ?? { hash: 'sha256', iterations: 4_096 } };
}

function buildAuthenticator(
  env: AccessEnv,
  db: Database,
  s: Exclude<AuthenticatorSettings, { kind: 'scram' }>,
  hasher: PasswordHasher,
  fetch: Fetch,
): Authenticator {
  switch (s.kind) {
    case 'builtin':
      return new BuiltinAuthenticator(db, hasher, s, env.metrics);
    case 'http':
      return new HttpAuthenticator(new HttpPool(fetch, s, env.metrics, 'password_based:http'), s.makeCall, env.clock, env.log);
    case 'jwt':
      return new JwtAuthenticator(buildKeys(env, s.key, fetch), s, env.clock, env.log, env.metrics);
  }
}

const jwksPool = { poolSize: 1, timeoutMs: 10_000 };

function buildKeys(env: AccessEnv, key: JwtSettings['key'], fetch: Fetch): JwtKeys {
  switch (key.kind) {
    case 'secret':
      return FixedKey.secret(key.secret, key.base64);
    case 'public':
      return FixedKey.publicKey(key.pem);
    case 'jwks': {
      const pool = new HttpPool(fetch, jwksPool, env.metrics, 'jwt');
      const call = { method: 'GET', url: key.endpoint, headers: { accept: 'application/json', ...key.headers }, body: undefined } as const;
      return new PublishedKeys(pool, call, key.refreshMs, env.clock, env.log);
    }
  }
}

function buildSource(env: AccessEnv, db: Database, s: SourceSettings, fetch: Fetch): Source {
  switch (s.kind) {
    case 'file':
      return new FileSource(s.rules);
    case 'builtin':
      return new TableSource(db, env.metrics);
    case 'http':
      return new HttpSource(new HttpPool(fetch, s, env.metrics, 'authz:http'), s.makeCall, env.log);
  }
}

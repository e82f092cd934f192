// From the configuration to the settings of access control: who may come in, what clients may do. Reads
// the files that are named there (public keys, rules).
import { readFileSync } from 'node:fs';
import { isAclFile, parseAclFile } from '#auth/acl-file.js';
import type { AuthSettings } from '#auth/build.js';
import { readAuthentication, readSources, type SettingsFiles } from '#auth/options.js';
import type { Plain } from '#auth/plain.js';
import type { PlainObject, StarmeshConfig } from './config/config.js';
import { Report } from './config/shape.js';
import { plainObject } from './config/shapes.js';
import { readHocon } from './hocon/hocon.js';

export interface AccessSettings {
  readonly settings: AuthSettings;
  /** One sentence each; empty: the settings can be used. */
  readonly problems: readonly string[];
}

export function accessSettings(config: StarmeshConfig, files: SettingsFiles = diskFiles): AccessSettings {
  const problems: string[] = [];
  const { noMatch, denyAction, concealReason, cache, recheckMs, sources } = config.authorization;
  const settings: AuthSettings = {
    authentication: readAuthentication(config.authentication, files, problems),
    authorization: {
      noMatch,
      denyAction,
      concealReason,
      cache,
      recheckMs,
      sources: readSources(sources ?? defaultSources(config.authentication.length > 0), files, problems),
    },
    flapping: config.flappingDetect,
  };
  return { settings, problems };
}

/**
 * The rules that EMQX ships in its acl.conf, as far as they take something away: what the broker tells of its clients,
 * and everything at once, is for this machine and for the user `dashboard`, where user names are proved.
 */
function defaultSources(namesAreProved: boolean): PlainObject[] {
  const dashboard = { permission: 'allow', username: 'dashboard', action: 'subscribe', topics: ['$SYS/#'] };
  const local = { permission: 'allow', ipaddr: ['127.0.0.1', '::1'], action: 'all', topics: ['$SYS/#', '#'] };
  const others = { permission: 'deny', action: 'subscribe', topics: ['$SYS/#', 'eq #', 'eq +/#'] };
  return [{ type: 'file', rules: namesAreProved ? [dashboard, local, others] : [local, others] }];
}

const diskFiles: SettingsFiles = {
  text: (path) => readFileSync(path, 'utf8'),
  rules: (path) => rulesOf(path, readFileSync(path, 'utf8')),
};

/** EMQX's `acl.conf`, a JSON list, or HOCON with `rules = [...]`. Throws an Error that says what is wrong. */
export function rulesOf(path: string, text: string): readonly Plain[] {
  if (isAclFile(text)) return parseAclFile(text);
  if (text.trimStart().startsWith('[')) {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list)) return list as readonly Plain[];
  }
  const root = readHocon({ file: path, text, readText: () => undefined, environment: () => undefined });
  const { rules } = plainObject.read(root, [], new Report(() => false)) ?? {};
  if (Array.isArray(rules)) return rules as readonly Plain[];
  throw new Error('there is no list rules = [...] in it');
}

// The part of the schema for who may do what. Entries of `authentication` and
// `authorization.sources` keep their own shape: the room `auth` reads them.
import type { AuthorizationConfig, FlappingConfig, PlainObject } from './config.js';
import { field, list, mapped, type ObjectShape, object, type Shape, section } from './shape.js';
import { choice, duration, durationOrInfinity, flag, integer, plainObject } from './shapes.js';

/** A list, or one entry alone; without the disabled ones. */
export const authentication: Shape<readonly PlainObject[]> = {
  expects: 'a list of authenticators',
  read(value, path, report): readonly PlainObject[] | undefined {
    const single = value.kind === 'object' && value.fields.has('mechanism');
    const entries = single ? [plainObject.read(value, path, report)] : list(plainObject).read(value, path, report);
    return entries?.filter((e): e is PlainObject => e !== undefined && e.enable !== false);
  },
};

export const flappingDetect: ObjectShape<FlappingConfig> = object<FlappingConfig>({
  enable: field('enable', flag, false),
  windowMs: field('window_time', duration(1000), 60_000),
  maxCount: field('max_count', integer(1, 1_000_000), 15),
  banMs: field('ban_time', duration(1000), 300_000),
});

const cache: ObjectShape<AuthorizationConfig['cache']> = object<AuthorizationConfig['cache']>({
  enable: field('enable', flag, true),
  maxSize: field('max_size', integer(1, 1_048_576), 32),
  ttlMs: field('ttl', duration(1), 60_000),
});

export const authorization: ObjectShape<AuthorizationConfig> = object<AuthorizationConfig>({
  noMatch: field('no_match', choice('allow', 'deny'), 'allow'),
  denyAction: field('deny_action', choice('ignore', 'disconnect'), 'ignore'),
  concealReason: field('conceal_reason', flag, false),
  cache: section('cache', cache),
  recheckMs: field('recheck_interval', durationOrInfinity, Number.POSITIVE_INFINITY),
  sources: field<AuthorizationConfig['sources']>(
    'sources',
    mapped(list(plainObject), (entries) => entries.filter((e) => e.enable !== false)),
    undefined,
  ),
});

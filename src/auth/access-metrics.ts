// Counters of access control; names as EMQX has them, our own as `starmesh_*`.
import type { Counter, Metrics } from '#env/metrics.js';

export class AccessMetrics {
  readonly authenticate: Counter;
  readonly success: Counter;
  readonly anonymous: Counter;
  readonly failure: Counter;
  readonly allow: Counter;
  readonly deny: Counter;
  readonly cacheHit: Counter;
  readonly cacheMiss: Counter;
  readonly superuser: Counter;
  readonly noMatch: Counter;
  readonly matchedAllow: Counter;
  readonly matchedDeny: Counter;
  readonly banned: Counter;
  readonly bannedConnected: Counter;
  readonly flapping: Counter;
  readonly expired: Counter;

  constructor(metrics: Metrics) {
    const c = (name: string, help: string): Counter => metrics.counter(name, help);
    this.authenticate = c('emqx_client_authenticate', 'clients whose identity was checked');
    this.success = c('emqx_authentication_success', 'clients let in');
    this.anonymous = c('emqx_authentication_success_anonymous', 'clients let in because no authentication is configured');
    this.failure = c('emqx_authentication_failure', 'clients not let in');
    this.allow = c('emqx_authorization_allow', 'actions allowed');
    this.deny = c('emqx_authorization_deny', 'actions denied');
    this.cacheHit = c('emqx_authorization_cache_hit', 'verdicts from the cache');
    this.cacheMiss = c('emqx_authorization_cache_miss', 'verdicts that were not in the cache');
    this.superuser = c('emqx_authorization_superuser', 'actions allowed to superusers');
    this.noMatch = c('emqx_authorization_nomatch', 'actions that no rule speaks of');
    this.matchedAllow = c('emqx_authorization_matched_allow', 'actions that a rule allows');
    this.matchedDeny = c('emqx_authorization_matched_deny', 'actions that a rule denies');
    this.banned = c('starmesh_banned_refused_total', 'clients not let in because they are banned');
    this.bannedConnected = c('starmesh_banned_closed_total', 'connections closed because their client was banned');
    this.flapping = c('starmesh_flapping_banned_total', 'clients banned because they come and go too often');
    this.expired = c('starmesh_auth_expired_total', 'connections closed because their proof of identity has ended');
  }
}

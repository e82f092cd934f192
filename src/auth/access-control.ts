// Access control of one node: is the client banned, is it who it says, may it do that. The broker asks
// through its `Access` interface; `node` builds it. Rules, users and bans come from this node's copy of
// the shard `auth`, whose change feed makes cached verdicts void and closes the connections of those
// who are banned. Publishing to a topic that was judged lately costs two lookups and no allocation.
import type { Database } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { Metrics } from '#env/metrics.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { AccessMetrics } from './access-metrics.js';
import type { AuthnResult, Exchange } from './authenticator.js';
import { BanKeeper } from './ban-keeper.js';
import { anonymous, type Chain } from './chain.js';
import type { AuthClient, Credentials } from './client.js';
import { Flapping, type FlappingOptions } from './flapping.js';
import { Grant, maxS, publishKind, subscribeKind, unknown } from './grant.js';
import { judge, subscribeWish, type Verdict, type Wish } from './rule.js';
import { authShard, bannedTable, rulesTable } from './schema.js';
import type { Source } from './sources.js';

export interface AccessOptions {
  readonly chain: Chain;
  readonly sources: readonly Source[];
  readonly noMatch: Verdict;
  readonly denyAction: 'ignore' | 'disconnect';
  readonly concealReason: boolean;
  readonly cache: { readonly enable: boolean; readonly maxSize: number; readonly ttlMs: number };
  /** How often cached verdicts are forgotten and what was granted is judged again; Infinity: when rules change only. */
  readonly recheckMs: number;
  readonly flapping: FlappingOptions;
}

/** Verdicts were forgotten: on one client, or on all. */
export interface Cleaned {
  readonly clientId: string | undefined;
}

export interface AccessEnv {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** See `standing`. */
export interface AccessRight {
  readonly untilS: number;
  readonly counts: 'cached' | 'superuser' | undefined;
}

export type AccessStep =
  | { readonly kind: 'continue' | 'success'; readonly data: Uint8Array }
  /** `reasonCode`: of CONNACK. */
  | { readonly kind: 'failed'; readonly reasonCode: number };

export interface AccessExchange {
  step(data: Uint8Array | undefined): AccessStep;
}

/** In the place of the grant of a client that is like most, until it is asked for: many only ever listen. */
const letIn: unique symbol = Symbol('let in');

function grantOf(client: AuthClient): Grant | undefined {
  if (client.grant === letIn) client.grant = new Grant(false);
  return client.grant instanceof Grant ? client.grant : undefined;
}

/** Nothing but a change ends it. */
const everybodys: AccessRight = { untilS: maxS, counts: undefined };
const superusers: AccessRight = { untilS: maxS, counts: 'superuser' };

const recheckMsMin = 1_000;
/** How far a timer reaches. */
const timerMsMax = 3_600_000;

export class AccessControl {
  readonly denyAction: 'ignore' | 'disconnect';
  readonly concealReason: boolean;
  readonly provesUsers: boolean;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #options: AccessOptions;
  readonly #metrics: AccessMetrics;
  readonly #bans: BanKeeper;
  readonly #flapping: Flapping;
  /** Let in and not gone. */
  readonly #clients = new Set<AuthClient>();
  /** Being authenticated. */
  readonly #pending = new Set<AuthClient>();
  readonly #expiries = new Map<AuthClient, Timer>();
  readonly #unsubscribe: () => void;
  /** Everybody may do everything. */
  readonly #open: boolean;
  /** Everybody may publish everything, and rules that do not change say who may subscribe to what: nothing is kept with a client. */
  readonly #publishOpen: boolean;
  #version = 0;
  #changes = 0;
  #rulesDirty = false;
  #onRules: (cleaned?: Cleaned) => void = () => {};
  #cleaning: Timer | undefined;

  constructor(env: AccessEnv, db: Database, options: AccessOptions) {
    this.#clock = env.clock;
    this.#log = env.log;
    this.#options = options;
    this.denyAction = options.denyAction;
    this.concealReason = options.concealReason;
    this.provesUsers = !options.chain.empty;
    this.#metrics = new AccessMetrics(env.metrics);
    this.#bans = new BanKeeper(env, db);
    this.#flapping = new Flapping(options.flapping);
    this.#publishOpen = options.noMatch === 'allow' && options.chain.empty && options.sources.every((s) => !s.refusesPublishes);
    this.#open = this.#publishOpen && options.sources.length === 0;
    this.#unsubscribe = db.subscribe(authShard, {
      reset: () => this.#reset(),
      change: (table, key, row) => {
        if (table.id === bannedTable.id) this.#bans.changed(key, row?.value);
        else if (table.id === rulesTable.id) {
          this.#rulesDirty = true;
          this.#rulesChanged();
        }
      },
      purged: () => {},
      applied: () => this.#applied(),
    });
    this.#cleanLater();
  }

  // ---- authentication ----

  /** `answer`: 0 or the code of CONNACK, once, now or later. The password is good during the call only. */
  authenticate(request: { readonly client: AuthClient } & Credentials, answer: (reasonCode: number) => void): void {
    const { client, password } = request;
    if (this.#refuseBanned(client, answer)) return;
    this.#metrics.authenticate.value++;
    const { chain } = this.#options;
    if (chain.empty) return this.#letIn(client, anonymous, answer);
    this.#pending.add(client);
    chain.authenticate(client, password, (result) => {
      // Gone meanwhile.
      if (!this.#pending.delete(client)) return;
      if (result.kind !== 'allow') this.#refuse(client, result, answer);
      else if (!this.#refuseBanned(client, answer)) this.#letIn(client, result, answer);
    });
  }

  /**
   * MQTT 5.0 enhanced authentication: a conversation in `method`, for a CONNECT or, on a connection that is in, for the
   * same user again. undefined: nobody here speaks the method.
   */
  exchange(client: AuthClient, method: string): AccessExchange | undefined {
    if (this.#bans.has(client)) {
      this.#metrics.banned.value++;
      return { step: () => ({ kind: 'failed', reasonCode: ReasonCode.banned }) };
    }
    const exchange = this.#options.chain.begin(method);
    const before = this.#clients.has(client) ? client.username : undefined;
    this.#metrics.authenticate.value++;
    return exchange === undefined ? undefined : { step: (data) => this.#step(client, exchange, before, data) };
  }

  #step(client: AuthClient, exchange: Exchange, before: string | undefined, data: Uint8Array | undefined): AccessStep {
    const step = exchange.step(data);
    if (step.kind === 'continue') return step;
    let code: number = ReasonCode.notAuthorized;
    const answer = (said: number): void => {
      code = said;
    };
    if (step.kind === 'failed' || (before !== undefined && before !== step.username)) {
      this.#refuse(client, { kind: 'deny', reason: 'not-authorized' }, answer);
      return { kind: 'failed', reasonCode: code };
    }
    client.username = step.username;
    if (!this.#refuseBanned(client, answer)) this.#letIn(client, { kind: 'allow', superuser: step.superuser }, answer);
    return code === 0 ? { kind: 'success', data: step.data } : { kind: 'failed', reasonCode: code };
  }

  #refuseBanned(client: AuthClient, answer: (reasonCode: number) => void): boolean {
    if (!this.#bans.has(client)) return false;
    this.#metrics.banned.value++;
    answer(ReasonCode.banned);
    return true;
  }

  #refuse(client: AuthClient, result: Exclude<AuthnResult, { kind: 'allow' }>, answer: (reasonCode: number) => void): void {
    this.#metrics.failure.value++;
    this.#log.debug('a client was not let in', { clientId: client.clientId, peer: client.peer, why: result.kind });
    if (result.kind === 'busy') answer(ReasonCode.serverBusy);
    else answer(result.kind === 'deny' && result.reason === 'credentials' ? ReasonCode.badUserNameOrPassword : ReasonCode.notAuthorized);
  }

  #letIn(client: AuthClient, result: Extract<AuthnResult, { kind: 'allow' }>, answer: (reasonCode: number) => void): void {
    this.#metrics.success.value++;
    // Once more, as somebody else maybe.
    if (this.#clients.has(client)) this.#changes++;
    if (this.#options.chain.empty) this.#metrics.anonymous.value++;
    this.#clients.add(client);
    if (!this.#publishOpen) {
      const plain = !result.superuser && result.acl === undefined;
      client.grant = plain ? letIn : new Grant(result.superuser, result.acl, result.expiresAtMs);
    }
    if (result.expiresAtMs !== undefined && result.closeAtExpiry === true) this.#expireAt(client, result.expiresAtMs);
    answer(0);
  }

  #expireAt(client: AuthClient, atMs: number): void {
    const leftMs = atMs - this.#clock.wallNow();
    const check = (): void => {
      if (this.#clock.wallNow() < atMs) this.#expireAt(client, atMs);
      else {
        this.#metrics.expired.value++;
        client.disconnect(ReasonCode.notAuthorized, this.#clock.now());
      }
    };
    this.#expiries.set(client, this.#clock.setTimer(Math.min(Math.max(leftMs, 0), timerMsMax), check));
  }

  /** The connection has ended, however far it got. */
  closed(client: AuthClient): void {
    this.#pending.delete(client);
    const expiry = this.#expiries.get(client);
    if (expiry !== undefined) {
      expiry.cancel();
      this.#expiries.delete(client);
    }
    if (this.#clients.delete(client) && this.#flapping.ended(client.clientId, this.#clock.now())) this.#banFlapping(client);
  }

  // ---- authorization ----

  /** Whether rules say what it may, and not how it has proved who it is. */
  isUnderRules(client: AuthClient): boolean {
    return !(client.grant instanceof Grant) || (!client.grant.superuser && client.grant.acl === undefined);
  }

  /** undefined: has to be asked, see {@link whenKnown}. */
  mayPublish(client: AuthClient, topicName: string, qos: 0 | 1 | 2, retain: boolean, now: number): boolean | undefined {
    if (this.#publishOpen) return true;
    const grant = grantOf(client);
    if (grant !== undefined) {
      if (grant.superuser) return this.#superuser();
      const cached = grant.cached(publishKind(qos, retain), topicName, this.#version, now);
      if (cached !== unknown) return this.#hit(cached);
    }
    return this.#judge(client, grant, { action: 'publish', topic: topicName, qos, retain }, publishKind(qos, retain), topicName, now);
  }

  /** Where `mayPublish` would say yes for a while: until when, if `changes` stays as it is. */
  standing(client: AuthClient, topicName: string, now: number): AccessRight | undefined {
    if (this.#publishOpen) return everybodys;
    const grant = grantOf(client);
    if (grant === undefined) return undefined;
    if (grant.superuser) return superusers;
    const untilS = grant.allowedUntilS(publishKind(0, false), topicName, this.#version, now);
    return untilS === 0 ? undefined : { untilS, counts: 'cached' };
  }

  /** Grows with all that makes verdicts void, or a client's grant another one. */
  get changes(): number {
    return this.#changes;
  }

  /** `n` messages went out on a standing right which `counts`. */
  counted(n: number, counts: unknown): void {
    this.#metrics.allow.value += n;
    if (counts === 'superuser') this.#metrics.superuser.value += n;
    else this.#metrics.cacheHit.value += n;
  }

  maySubscribe(client: AuthClient, topicFilter: string, qos: 0 | 1 | 2, now: number): boolean | undefined {
    if (this.#open) return true;
    const grant = grantOf(client);
    if (grant !== undefined) {
      if (grant.superuser) return this.#superuser();
      const cached = grant.cached(subscribeKind(qos), topicFilter, this.#version, now);
      if (cached !== unknown) return this.#hit(cached);
    }
    return this.#judge(client, grant, subscribeWish(topicFilter, qos), subscribeKind(qos), topicFilter, now);
  }

  /** Asks those that have to be asked. Answers once, now or later. */
  whenKnown(
    client: AuthClient,
    action: 'publish' | 'subscribe',
    topic: string,
    qos: 0 | 1 | 2,
    retain: boolean,
    answer: (allowed: boolean, sure: boolean) => void,
  ): void {
    const wish: Wish = action === 'subscribe' ? subscribeWish(topic, qos) : { action, topic, qos, retain };
    const kind = action === 'subscribe' ? subscribeKind(qos) : publishKind(qos, retain);
    const version = this.#version;
    this.#ask(0, client, wish, true, (verdict, sure) => {
      const grant = grantOf(client);
      answer(this.#settle(grant, verdict, kind, topic, version, this.#clock.now()), sure);
    });
  }

  #superuser(): boolean {
    this.#metrics.superuser.value++;
    this.#metrics.allow.value++;
    return true;
  }

  #hit(cached: number): boolean {
    this.#metrics.cacheHit.value++;
    if (cached > 0) this.#metrics.allow.value++;
    else this.#metrics.deny.value++;
    return cached > 0;
  }

  #judge(client: AuthClient, grant: Grant | undefined, wish: Wish, kind: number, topic: string, now: number): boolean | undefined {
    this.#metrics.cacheMiss.value++;
    const own = this.#ownRules(client, grant, wish);
    if (own !== undefined) return this.#settle(grant, own, kind, topic, this.#version, now);
    for (const source of this.#options.sources) {
      const answer = source.judge(client, wish);
      if (answer === 'later') return undefined;
      if (answer !== undefined) return this.#settle(grant, answer, kind, topic, this.#version, now);
    }
    return this.#settle(grant, undefined, kind, topic, this.#version, now);
  }

  /** Those that came with the proof; when it has ended nothing is left of it. */
  #ownRules(client: AuthClient, grant: Grant | undefined, wish: Wish): Verdict | undefined {
    if (grant?.acl === undefined) return undefined;
    if (grant.expiresAtMs !== undefined && grant.expiresAtMs <= this.#clock.wallNow()) return 'deny';
    return judge(grant.acl, client, wish);
  }

  /** `sure`: those before have answered. */
  #ask(i: number, client: AuthClient, wish: Wish, sure: boolean, answer: (verdict: Verdict | undefined, sure: boolean) => void): void {
    if (i === 0) {
      const own = this.#ownRules(client, client.grant instanceof Grant ? client.grant : undefined, wish);
      if (own !== undefined) return answer(own, true);
    }
    const source = this.#options.sources[i];
    if (source === undefined) return answer(undefined, sure);
    source.ask(client, wish, (verdict, answered = true) => {
      if (verdict === undefined) this.#ask(i + 1, client, wish, sure && answered, answer);
      else answer(verdict, sure);
    });
  }

  #settle(grant: Grant | undefined, verdict: Verdict | undefined, kind: number, topic: string, version: number, now: number): boolean {
    const allowed = (verdict ?? this.#options.noMatch) === 'allow';
    if (verdict === undefined) this.#metrics.noMatch.value++;
    else if (allowed) this.#metrics.matchedAllow.value++;
    else this.#metrics.matchedDeny.value++;
    if (allowed) this.#metrics.allow.value++;
    else this.#metrics.deny.value++;
    const { cache } = this.#options;
    if (grant === undefined || !cache.enable || version !== this.#version) return allowed;
    grant.keep(kind, topic, version, allowed, now + Math.min(cache.ttlMs, this.#rulesLeftMs(grant)), cache.maxSize);
    return allowed;
  }

  /** How long the rules that came with the proof are good. */
  #rulesLeftMs(grant: Grant): number {
    if (grant.acl === undefined || grant.expiresAtMs === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(0, grant.expiresAtMs - this.#clock.wallNow());
  }

  // ---- the tables ----

  #reset(): void {
    this.#rulesChanged();
    this.#bans.reset();
    this.#applied();
  }

  #rulesChanged(): void {
    this.#rulesVoid();
    if (!this.#open) this.#onRules();
  }

  /** Every verdict is void. */
  #rulesVoid(): void {
    this.#version++;
    this.#changes++;
    for (const source of this.#options.sources) source.changed();
  }

  whenRulesChange(listener: (cleaned?: Cleaned) => void): void {
    this.#onRules = listener;
  }

  /** Forgets the cached verdicts on all clients, or on one; what was granted is judged again, services are asked. */
  forgetVerdicts(clientId?: string): void {
    this.#changes++;
    if (clientId === undefined) this.#rulesVoid();
    else for (const client of this.#clients) if (client.clientId === clientId && client.grant instanceof Grant) client.grant.forget();
    if (!this.#open) this.#onRules({ clientId });
  }

  #cleanLater(): void {
    const { recheckMs } = this.#options;
    if (recheckMs === Number.POSITIVE_INFINITY || this.#open) return;
    this.#cleaning = this.#clock.setTimer(Math.min(Math.max(recheckMs, recheckMsMin), timerMsMax), () => {
      this.forgetVerdicts();
      this.#cleanLater();
    });
  }

  /** A batch of changes is complete: once for all of them, who is banned now has to go. */
  #applied(): void {
    if (this.#rulesDirty) {
      this.#rulesDirty = false;
      this.#rulesChanged();
    }
    if (!this.#bans.takeGrown()) return;
    const out = [...this.#clients].filter((client) => this.#bans.has(client));
    for (const client of out) {
      this.#metrics.bannedConnected.value++;
      client.disconnect(ReasonCode.administrativeAction, this.#clock.now());
    }
  }

  #banFlapping(client: AuthClient): void {
    if (!this.#bans.add(client.clientId, this.#options.flapping.banMs, 'flapping detector', 'flapping is detected')) return;
    this.#metrics.flapping.value++;
    this.#log.warn('a client connects and disconnects too often and is banned', { clientId: client.clientId });
  }

  close(): void {
    this.#unsubscribe();
    this.#cleaning?.cancel();
    this.#bans.close();
    for (const timer of this.#expiries.values()) timer.cancel();
    this.#expiries.clear();
    this.#options.chain.close();
  }
}

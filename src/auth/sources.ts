// The sources of authorization, asked in the order of the configuration until one has a verdict: rules
// of the configuration (`file`), rules of the cluster's table (`built_in_database`), an HTTP service.
import type { Reader } from '#db/api.js';
import type { Logger } from '#env/logger.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { type AuthClient, clientValue } from './client.js';
import { parseJsonObject } from './http-authenticator.js';
import type { HttpPool, HttpResult } from './http-client.js';
import type { MakeCall } from './http-request.js';
import { decodeRules } from './rows.js';
import { judge, type Rule, readRules, type Verdict, type Wish } from './rule.js';
import { type RulesOf, rulesKey, rulesTable } from './schema.js';

/** `later`: has to be asked. undefined: has no rule for this. */
export type SourceAnswer = Verdict | 'later' | undefined;

export type SourceVerdict = (verdict: Verdict | undefined, sure?: boolean) => void;

export interface Source {
  readonly type: 'file' | 'built_in_database' | 'http';
  judge(client: AuthClient, wish: Wish): SourceAnswer;
  /** For those that say `later`: answers once. `sure` false: there was no answer. Default true. */
  ask(client: AuthClient, wish: Wish, answer: SourceVerdict): void;
  /** Whether it may ever refuse a PUBLISH. */
  readonly refusesPublishes: boolean;
  /** The tables have changed. */
  changed(): void;
}

export class FileSource implements Source {
  readonly type = 'file';
  readonly refusesPublishes: boolean;
  readonly #rules: readonly Rule[];

  constructor(rules: readonly Rule[]) {
    this.#rules = rules;
    this.refusesPublishes = rules.some((r) => r.permission === 'deny' && r.action !== 'subscribe');
  }

  judge(client: AuthClient, wish: Wish): SourceAnswer {
    return judge(this.#rules, client, wish);
  }

  ask(client: AuthClient, wish: Wish, answer: SourceVerdict): void {
    answer(judge(this.#rules, client, wish));
  }

  changed(): void {}
}

/** Lists of rules kept as they were read: those of the clients that asked lately. */
const listsMax = 10_000;
const noRules: readonly Rule[] = [];

/** Rules of the client's id, then of its user name, then of everybody. */
export class TableSource implements Source {
  readonly type = 'built_in_database';
  readonly refusesPublishes = true;
  readonly #db: Reader;
  readonly #malformed: Counter;
  readonly #lists = new Map<string, readonly Rule[]>();

  constructor(db: Reader, metrics: Metrics) {
    this.#db = db;
    this.#malformed = metrics.counter('starmesh_auth_malformed_rows_total', 'rows of users, rules or bans that could not be read');
  }

  judge(client: AuthClient, wish: Wish): SourceAnswer {
    const { clientId, username } = client;
    return (
      judge(this.#rules(`c${clientId}`, { kind: 'clientid', id: clientId }), client, wish) ??
      (username === undefined ? undefined : judge(this.#rules(`u${username}`, { kind: 'username', id: username }), client, wish)) ??
      judge(this.#rules('', { kind: 'all' }), client, wish)
    );
  }

  ask(client: AuthClient, wish: Wish, answer: SourceVerdict): void {
    const verdict = this.judge(client, wish);
    answer(verdict === 'later' ? undefined : verdict);
  }

  changed(): void {
    this.#lists.clear();
  }

  #rules(name: string, of: RulesOf): readonly Rule[] {
    const known = this.#lists.get(name);
    if (known !== undefined) return known;
    if (this.#lists.size >= listsMax) for (const oldest of this.#lists.keys()) if (this.#lists.delete(oldest)) break;
    const rules = this.#read(of);
    this.#lists.set(name, rules);
    return rules;
  }

  #read(of: RulesOf): readonly Rule[] {
    const key = rulesKey(of);
    const row = key === undefined ? undefined : this.#db.get(rulesTable, key);
    if (row === undefined) return noRules;
    const list = decodeRules(row.value);
    const problems: string[] = [];
    const rules = list === undefined ? [] : readRules(list.rules, 'rules', problems, { noWho: true, topicsRequired: true });
    if (list !== undefined && problems.length === 0) return rules;
    this.#malformed.value++;
    // What cannot be read might have denied.
    return [denyAll];
  }
}

const denyAll: Rule = { permission: 'deny', action: 'all', qosMask: 7, retain: undefined, who: {}, topics: [] };

/** Placeholders of the requests. */
export const authzPlaceholders: readonly string[] = [
  'clientid',
  'username',
  'peerhost',
  'peername',
  'cert_common_name',
  'cert_subject',
  'action',
  'topic',
  'qos',
  'retain',
];

/** 200 with JSON `{"result": "allow"|"deny"|"ignore"}` decides, 204 allows, 403 denies, all else is passed on to the next source. */
export class HttpSource implements Source {
  readonly type = 'http';
  readonly refusesPublishes = true;
  readonly #pool: HttpPool;
  readonly #makeCall: MakeCall;
  readonly #log: Logger;

  constructor(pool: HttpPool, makeCall: MakeCall, log: Logger) {
    this.#pool = pool;
    this.#makeCall = makeCall;
    this.#log = log;
  }

  judge(): SourceAnswer {
    return 'later';
  }

  ask(client: AuthClient, wish: Wish, answer: SourceVerdict): void {
    const call = this.#makeCall((name) => {
      if (name === 'action') return wish.action;
      if (name === 'topic') return wish.topic;
      if (name === 'qos') return String(wish.qos);
      return name === 'retain' ? String(wish.retain) : clientValue(client, name);
    });
    if (call === undefined) answer('deny');
    else this.#pool.request(call, (result) => this.#answer(result, answer));
  }

  changed(): void {}

  #answer(result: HttpResult, answer: SourceVerdict): void {
    if (result.kind === 'failed') {
      this.#log.warn('the authorization service did not answer', { reason: result.reason });
      answer(undefined, false);
      return;
    }
    if (result.status === 204) return answer('allow');
    if (result.status === 403) return answer('deny');
    const said = result.status === 200 ? parseJsonObject(result.body)?.result : undefined;
    if (said === 'allow' || said === 'deny') return answer(said);
    if (said !== 'ignore') this.#log.warn('the authorization service gave an answer without a result', { status: result.status });
    answer(undefined, said === 'ignore');
  }
}

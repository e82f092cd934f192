// One rule of access: who, may or may not, do what, on which topics. Read from configuration, from the
// table of rules, from a token's `acl` claim; asked by the authorizer's sources. Pure.
import { isTopicFilter, parseTopicFilter } from '#mqtt/topic.js';
import { inNetwork, type Network, parseAddress, parseNetwork, peerHost } from './address.js';
import { type AuthClient, clientValue } from './client.js';
import { Pattern, PatternError } from './pattern.js';
import { isPlainObject, type Plain, type PlainObject, PlainReader } from './plain.js';
import { type PlaceholderValues, parseRuleTopic, type RuleTopic, ruleMatchesFilter, ruleMatchesName } from './rule-topic.js';

/** What a client wants to do. `topic`: the name, or the filter without `$share/group/`. */
export interface Wish {
  readonly action: 'publish' | 'subscribe';
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
}

/** Whom a rule is about; every condition that is there must hold. None: everybody. */
export interface Who {
  readonly clientId?: string;
  readonly username?: string;
  readonly clientIdPattern?: Pattern;
  readonly usernamePattern?: Pattern;
  readonly networks?: readonly Network[];
}

export interface Rule {
  readonly permission: 'allow' | 'deny';
  readonly action: 'publish' | 'subscribe' | 'all';
  /** Bit 0 to 2: QoS 0 to 2. */
  readonly qosMask: number;
  /** Of a PUBLISH; undefined: either. */
  readonly retain: boolean | undefined;
  readonly who: Who;
  /** Empty: every topic, those with `$` included. */
  readonly topics: readonly RuleTopic[];
}

export type Verdict = 'allow' | 'deny';

/** Topics of one rule, and rules of one list: what a cache miss may cost. */
export const ruleTopicsMax = 1_000;
export const rulesMax = 10_000;

const anyQos = 7;

/** The verdict of the first rule that speaks of the wish; undefined when none does. */
export function judge(rules: readonly Rule[], client: AuthClient, wish: Wish): Verdict | undefined {
  const values: PlaceholderValues = (name) => clientValue(client, name);
  for (const rule of rules) if (concerns(rule, client, wish, values)) return rule.permission;
  return undefined;
}

function concerns(rule: Rule, client: AuthClient, wish: Wish, values: PlaceholderValues): boolean {
  if (rule.action !== 'all' && rule.action !== wish.action) return false;
  if ((rule.qosMask & (1 << wish.qos)) === 0) return false;
  if (wish.action === 'publish' && rule.retain !== undefined && rule.retain !== wish.retain) return false;
  if (!isAbout(rule.who, client)) return false;
  if (rule.topics.length === 0) return true;
  const denies = rule.permission === 'deny';
  const matches = wish.action === 'publish' ? ruleMatchesName : ruleMatchesFilter;
  return rule.topics.some((topic) => matches(topic, wish.topic, values, denies));
}

function isAbout(who: Who, client: AuthClient): boolean {
  if (who.clientId !== undefined && who.clientId !== client.clientId) return false;
  if (who.username !== undefined && who.username !== client.username) return false;
  if (who.clientIdPattern?.test(client.clientId) === false) return false;
  if (who.usernamePattern !== undefined && (client.username === undefined || !who.usernamePattern.test(client.username))) return false;
  if (who.networks === undefined) return true;
  const address = parseAddress(peerHost(client.peer));
  return address !== undefined && who.networks.some((n) => inNetwork(address, n));
}

/** The wish to subscribe, without what only says how messages are shared out. */
export function subscribeWish(topicFilter: string, qos: 0 | 1 | 2): Wish {
  return { action: 'subscribe', topic: parseTopicFilter(topicFilter)?.topicFilter ?? topicFilter, qos, retain: false };
}

// ---- reading ----

/** Reads a list of rules; problems are added to `problems`, wrong rules left out. */
export function readRules(list: readonly Plain[], path: string, problems: string[], more: ReadMore = {}): Rule[] {
  if (list.length > rulesMax) problems.push(`${path} has more than ${rulesMax} rules`);
  const rules: Rule[] = [];
  for (const [i, one] of list.slice(0, rulesMax).entries()) {
    const at = `${path}.${i + 1}`;
    const rule = isPlainObject(one) ? readRule(one, at, problems, more) : undefined;
    if (rule === undefined) {
      if (!isPlainObject(one)) problems.push(`${at} must be settings in braces`);
    } else rules.push(rule);
  }
  return rules;
}

export interface ReadMore {
  /** A rule must name its topics (tables and tokens: a missing list is a mistake there). */
  readonly topicsRequired?: boolean;
  /** The rules belong to somebody: conditions on who are refused. */
  readonly noWho?: boolean;
}

function readRule(from: PlainObject, path: string, problems: string[], more: ReadMore): Rule | undefined {
  const before = problems.length;
  const r = new PlainReader(from, path, problems);
  const permission = r.choice('permission', ['allow', 'deny'], 'deny');
  if (!r.has('permission')) r.problem('permission', 'is missing: allow or deny');
  const action = r.choice('action', ['publish', 'subscribe', 'all', 'pub', 'sub', 'pubsub'], 'all');
  const who = more.noWho === true ? {} : readWho(r);
  const texts = [...r.texts('topics'), ...r.texts('topic')];
  const topics = texts.map((text) => readTopic(text, r)).filter((t) => t !== undefined);
  if (more.topicsRequired === true && texts.length === 0) r.problem('topic', 'is missing');
  if ((r.has('topics') || r.has('topic')) && texts.length === 0) r.problem('topics', 'must name a topic; leave it out for every topic');
  if (topics.length > ruleTopicsMax) r.problem('topics', `has more than ${ruleTopicsMax} topics`);
  const rule: Rule = { permission, action: longAction(action), qosMask: readQos(r), retain: readRetain(r), who, topics };
  r.done();
  return problems.length === before ? rule : undefined;
}

function longAction(action: string): Rule['action'] {
  if (action === 'publish' || action === 'pub') return 'publish';
  return action === 'subscribe' || action === 'sub' ? 'subscribe' : 'all';
}

function readTopic(text: string, r: PlainReader): RuleTopic | undefined {
  const topic = parseRuleTopic(text, isTopicFilter);
  if (typeof topic !== 'string') return topic;
  r.problem('topics', `has a wrong topic: ${topic}`);
  return undefined;
}

function readQos(r: PlainReader): number {
  const value = r.raw('qos');
  if (value === undefined || value === 'all') return anyQos;
  let mask = 0;
  for (const one of Array.isArray(value) ? (value as readonly Plain[]) : String(value).split(',')) {
    const qos = Number(String(one).trim());
    if (qos !== 0 && qos !== 1 && qos !== 2) r.problem('qos', 'must be 0, 1, 2 or a list of them');
    else mask |= 1 << qos;
  }
  return mask;
}

function readRetain(r: PlainReader): boolean | undefined {
  const value = r.raw('retain');
  return value === 'all' || value === undefined ? undefined : r.flag('retain', false);
}

function readWho(r: PlainReader): Who {
  const clientId = r.optionalText('clientid');
  const username = r.optionalText('username');
  const clientIdPattern = readPattern(r, 'clientid_re');
  const usernamePattern = readPattern(r, 'username_re');
  const addresses = [...r.texts('ipaddr'), ...r.texts('ipaddrs')];
  const networks = addresses.map((text) => readNetwork(text, r)).filter((n) => n !== undefined);
  return {
    ...(clientId === undefined ? {} : { clientId }),
    ...(username === undefined ? {} : { username }),
    ...(clientIdPattern === undefined ? {} : { clientIdPattern }),
    ...(usernamePattern === undefined ? {} : { usernamePattern }),
    ...(addresses.length === 0 ? {} : { networks }),
  };
}

function readPattern(r: PlainReader, key: string): Pattern | undefined {
  const text = r.optionalText(key);
  if (text === undefined) return undefined;
  try {
    return new Pattern(text);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    r.problem(key, `is no pattern: ${error.message}`);
    return undefined;
  }
}

function readNetwork(text: string, r: PlainReader): Network | undefined {
  const network = parseNetwork(text);
  if (network === undefined) r.problem('ipaddr', `must be an address or a network such as 10.0.0.0/8, not ${text.slice(0, 60)}`);
  return network;
}

// Rules that come with a proof: the `acl` of a token or of an HTTP answer. Two forms, as EMQX has them:
// a list of rules, or `{"pub": […], "sub": […], "all": […]}` with topics that are allowed, where what is
// not named is denied if an action is named at all.
import { isPlainObject, type Plain } from './plain.js';
import { type Rule, readRules } from './rule.js';

/** A text says what is wrong. */
export function readTokenAcl(acl: Plain): readonly Rule[] | string {
  const problems: string[] = [];
  const list: readonly Plain[] | undefined = Array.isArray(acl) ? (acl as readonly Plain[]) : isPlainObject(acl) ? lists(acl, problems) : undefined;
  if (list === undefined) return 'acl must be a list of rules, or lists of topics';
  const rules = readRules(list, 'acl', problems);
  return problems[0] ?? rules;
}

const actions = [
  ['pub', 'publish'],
  ['sub', 'subscribe'],
  ['all', 'all'],
] as const;

function lists(acl: Readonly<Record<string, Plain>>, problems: string[]): readonly Plain[] {
  const rules: Plain[] = [];
  for (const [key, action] of actions) {
    const topics = acl[key];
    if (topics === undefined || topics === null) continue;
    const items = Array.isArray(topics) ? (topics as readonly Plain[]) : [topics];
    if (items.length > 0) rules.push({ permission: 'allow', action, topics: items });
  }
  for (const key of Object.keys(acl)) if (!actions.some(([known]) => known === key)) problems.push(`acl.${key} is not known`);
  // A list of what is allowed says that the rest is not.
  rules.push({ permission: 'deny', action: 'all' });
  return rules;
}

// The topics of access rules: whether a rule's filter matches a topic name, covers a topic filter
// (every name that the filter matches), or overlaps with one (some name that both match).
//
// Levels are compared as values: what a client id or user name puts into a level is never parsed, so
// that an id with `/`, `+` or `#` in it widens nothing. Such a level equals no level of any name. In a
// rule that denies it would narrow the rule instead: there it stands for anything, at any depth.
// `#` alone is written `+/#` inside, which matches the same names.

/** undefined: `+`. */
type Level = string | undefined;

/** A topic filter taken apart. `hash`: and everything below, the last level itself included. */
export interface Levels {
  readonly levels: readonly Level[];
  readonly hash: boolean;
}

/** A level with placeholders: texts and names in turn, beginning with a text. */
interface TemplateLevel {
  readonly texts: readonly string[];
  readonly names: readonly PlaceholderName[];
}

/** The placeholders of a rule's topics. */
export type PlaceholderName = 'clientid' | 'username' | 'peerhost' | 'cert_common_name';
const placeholderNames: ReadonlySet<string> = new Set<PlaceholderName>(['clientid', 'username', 'peerhost', 'cert_common_name']);

export type PlaceholderValues = (name: PlaceholderName) => string | undefined;

/** One topic of a rule. */
export type RuleTopic =
  | { readonly kind: 'equal'; readonly topic: string }
  | { readonly kind: 'fixed'; readonly text: string; readonly filter: Levels }
  | { readonly kind: 'template'; readonly text: string; readonly levels: readonly (Level | TemplateLevel)[]; readonly hash: boolean };

export function parseLevels(filter: string): Levels {
  const levels: Level[] = filter.split('/').map((level) => (level === '+' ? undefined : level));
  if (levels.at(-1) !== '#') return { levels, hash: false };
  levels.pop();
  return { levels: levels.length === 0 ? [undefined] : levels, hash: true };
}

/** A rule's topic as it is written: a filter, one with placeholders, or `eq ` and a topic taken literally. A text says what is wrong. */
export function parseRuleTopic(text: string, valid: (filter: string) => boolean): RuleTopic | string {
  if (text.startsWith('eq ')) {
    const topic = text.slice(3);
    return valid(topic) ? { kind: 'equal', topic } : `"${topic}" is no topic filter`;
  }
  if (!text.includes('${')) return valid(text) ? { kind: 'fixed', text, filter: parseLevels(text) } : `"${text}" is no topic filter`;
  const parsed = text.split('/').map(parseTemplateLevel);
  const unknown = parsed.find((level) => typeof level === 'object' && 'unknown' in level);
  if (typeof unknown === 'object' && 'unknown' in unknown) {
    return `\${${unknown.unknown}} is not known in topics; there are ${[...placeholderNames].map((n) => `\${${n}}`).join(', ')}`;
  }
  // With something harmless in their place, the rest must be a filter.
  if (!valid(text.replaceAll(/\$\{[^}]*\}/g, 'x'))) return `"${text}" is no topic filter`;
  const levels = parsed as (Level | TemplateLevel)[];
  const hash = levels.at(-1) === '#';
  return { kind: 'template', text, levels: hash ? levels.slice(0, -1) : levels, hash };
}

function parseTemplateLevel(level: string): Level | TemplateLevel | { readonly unknown: string } {
  if (level === '+') return undefined;
  const parts = level.split(/\$\{([^}]*)\}/);
  if (parts.length === 1) return level;
  const names = parts.filter((_, i) => i % 2 === 1);
  const unknown = names.find((n) => !placeholderNames.has(n));
  if (unknown !== undefined) return { unknown };
  return { texts: parts.filter((_, i) => i % 2 === 0), names: names as PlaceholderName[] };
}

/**
 * The rule's filter for one client. undefined: it can match nothing, because a value is missing.
 * `widen`: for rules that deny, a value that fits into no level stands for everything from there on.
 */
function resolve(topic: Extract<RuleTopic, { kind: 'template' }>, values: PlaceholderValues, widen: boolean): Levels | undefined {
  const levels: Level[] = [];
  for (const level of topic.levels) {
    if (typeof level !== 'object') {
      levels.push(level);
      continue;
    }
    const value = fill(level, values);
    if (value === undefined || !fitsLevel(value)) {
      if (!widen) return undefined;
      return { levels: levels.length === 0 ? [undefined] : levels, hash: true };
    }
    levels.push(value);
  }
  return { levels, hash: topic.hash };
}

function fill(level: TemplateLevel, values: PlaceholderValues): string | undefined {
  let text = level.texts[0] ?? '';
  for (const [i, name] of level.names.entries()) {
    const value = values(name);
    if (value === undefined) return undefined;
    text += value + (level.texts[i + 1] ?? '');
  }
  return text;
}

function fitsLevel(value: string): boolean {
  return !/[/+#\0]/.test(value);
}

function filterOf(topic: Exclude<RuleTopic, { kind: 'equal' }>, values: PlaceholderValues, widen: boolean): Levels | undefined {
  return topic.kind === 'fixed' ? topic.filter : resolve(topic, values, widen);
}

/** Whether the rule speaks of a PUBLISH to `topicName`. */
export function ruleMatchesName(topic: RuleTopic, topicName: string, values: PlaceholderValues, denies: boolean): boolean {
  if (topic.kind === 'equal') return topic.topic === topicName;
  const filter = filterOf(topic, values, denies);
  return filter !== undefined && covers(filter, { levels: topicName.split('/'), hash: false });
}

/** Whether the rule speaks of a SUBSCRIBE to `topicFilter`: covers it, or for rules that deny overlaps with it. */
export function ruleMatchesFilter(topic: RuleTopic, topicFilter: string, values: PlaceholderValues, denies: boolean): boolean {
  if (topic.kind === 'equal') return topic.topic === topicFilter;
  const filter = filterOf(topic, values, denies);
  if (filter === undefined) return false;
  return denies ? overlaps(filter, parseLevels(topicFilter)) : covers(filter, parseLevels(topicFilter));
}

/** Every topic name that `inner` matches is matched by `outer`. */
export function covers(outer: Levels, inner: Levels): boolean {
  if (hidden(outer, inner)) return false;
  const n = outer.levels.length;
  for (let i = 0; i < n; i++) {
    if (i >= inner.levels.length) return false; // `inner` also matches the name that ends here
    const wanted = outer.levels[i];
    if (wanted !== undefined && wanted !== inner.levels[i]) return false;
  }
  return outer.hash || (inner.levels.length === n && !inner.hash);
}

/** There is a topic name that both match. */
export function overlaps(a: Levels, b: Levels): boolean {
  if (hidden(a, b) || hidden(b, a)) return false;
  const n = Math.min(a.levels.length, b.levels.length);
  for (let i = 0; i < n; i++) {
    const one = a.levels[i];
    const other = b.levels[i];
    if (one !== undefined && other !== undefined && one !== other) return false;
  }
  return (a.hash || b.levels.length <= n) && (b.hash || a.levels.length <= n);
}

/** `names` speaks of names that begin with `$`, which no wildcard at the root matches. [MQTT-4.7.2-1] */
function hidden(filter: Levels, names: Levels): boolean {
  return filter.levels[0] === undefined && names.levels[0]?.startsWith('$') === true;
}

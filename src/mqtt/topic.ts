// Topic Names and Topic Filters (4.7): validation, shared subscriptions (4.8.2) and a plain matcher that
// the fast ones of `router` are measured against. Called by the decoder, by `session` and by whatever
// takes topics from configuration or the HTTP API.
import { utf8Length } from '#base/utf8.js';
import { isSendableText } from './text.js';

/** A topic is an MQTT string: [MQTT-4.7.3-3]. */
export const topicBytesMax = 65_535;

/** Starmesh's bound on the levels of a name or filter: deep topics cost time and nobody needs them. */
export const topicLevelsMax = 128;

const sharePrefix = '$share/';
/** `$queue/FILTER` is `$share/$queue/FILTER`. */
const queuePrefix = '$queue/';
const queueGroup = '$queue';

/** Whether `topicName` may be published to. Strings of the decoder are known to be sendable text; others are checked here too. */
export function isTopicName(topicName: string, levelsMax: number = topicLevelsMax): boolean {
  if (!hasTopicShape(topicName, levelsMax)) return false;
  return !topicName.includes('+') && !topicName.includes('#'); // [MQTT-4.7.0-1]
}

/** Length, levels and characters: what names and filters have in common. */
function hasTopicShape(topic: string, levelsMax: number): boolean {
  const length = topic.length;
  if (length === 0) return false; // [MQTT-4.7.3-1]
  if (length * 3 > topicBytesMax && utf8Length(topic) > topicBytesMax) return false; // [MQTT-4.7.3-3]
  let levels = 1;
  for (let i = topic.indexOf('/'); i >= 0; i = topic.indexOf('/', i + 1)) if (++levels > levelsMax) return false;
  return isSendableText(topic); // [MQTT-4.7.3-2]
}

export interface ParsedTopicFilter {
  /** What is matched: the filter without `$share/group/`. */
  readonly topicFilter: string;
  /** The ShareName; undefined for a subscription of one's own. */
  readonly group: string | undefined;
}

/** The parts of a valid filter of a SUBSCRIBE or UNSUBSCRIBE; undefined when it is not valid (0x8F). */
export function parseTopicFilter(filter: string, levelsMax: number = topicLevelsMax): ParsedTopicFilter | undefined {
  const parts = split(filter);
  if (parts === undefined || !isTopicFilter(parts.topicFilter, levelsMax)) return undefined;
  // A group's filter is no shared one itself: rights are asked for what is matched.
  return parts.group !== undefined && isSharedFilter(parts.topicFilter) ? undefined : parts;
}

function split(filter: string): ParsedTopicFilter | undefined {
  if (filter.startsWith(queuePrefix)) return { topicFilter: filter.slice(queuePrefix.length), group: queueGroup };
  if (filter !== '$share' && !filter.startsWith(sharePrefix)) return { topicFilter: filter, group: undefined };
  const slash = filter.indexOf('/', sharePrefix.length);
  if (slash < 0) return undefined; // [MQTT-4.8.2-2]
  const group = filter.slice(sharePrefix.length, slash);
  if (group.length === 0 || group.includes('+') || group.includes('#') || !isSendableText(group)) return undefined; // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
  if (utf8Length(filter) > topicBytesMax) return undefined; // [MQTT-4.7.3-3]
  return { topicFilter: filter.slice(slash + 1), group };
}

/** Whether the specification has such a filter; Starmesh may still refuse it for its levels, or because it makes more of `$queue`. */
export function isWellFormedFilter(filter: string): boolean {
  const parts = split(filter);
  return parts !== undefined && isTopicFilter(filter.startsWith(queuePrefix) ? filter : parts.topicFilter, Number.POSITIVE_INFINITY);
}

/** Whether a SUBSCRIBE names a shared subscription, well-formed or not. */
export function isSharedFilter(filter: string): boolean {
  return filter.startsWith(sharePrefix) || filter.startsWith(queuePrefix);
}

/** The filter as a client subscribes to it; shared ones in the form with `$share`. */
export function formatTopicFilter(parsed: ParsedTopicFilter): string {
  return parsed.group === undefined ? parsed.topicFilter : `${sharePrefix}${parsed.group}/${parsed.topicFilter}`;
}

/** Whether `filter` is a filter by itself; a leading `$share/…` is not looked into (see {@link parseTopicFilter}). */
export function isTopicFilter(filter: string, levelsMax: number = topicLevelsMax): boolean {
  if (!hasTopicShape(filter, levelsMax)) return false;
  const last = filter.length - 1;
  for (let i = 0; i <= last; i++) {
    const c = filter.charCodeAt(i);
    if (c !== plus && c !== hash) continue;
    if (i > 0 && filter.charCodeAt(i - 1) !== slashCode) return false; // [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    if (c === hash ? i !== last : i !== last && filter.charCodeAt(i + 1) !== slashCode) return false; // [MQTT-4.7.1-1] [MQTT-4.7.1-2]
  }
  return true;
}

const plus = 0x2b;
const hash = 0x23;
const slashCode = 0x2f;

/** Whether the filter has a wildcard. */
export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}

/** Whether a valid filter (without `$share/group/`) matches a valid name. Plain and slow: for tests and rare paths. */
export function matches(filter: string, topicName: string): boolean {
  const wanted = filter.split('/');
  const levels = topicName.split('/');
  if (topicName.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false; // [MQTT-4.7.2-1]
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === '#') return true; // the parent level too: section 4.7.1.2
    if (i >= levels.length) return false;
    if (wanted[i] !== '+' && wanted[i] !== levels[i]) return false; // as they are written [MQTT-4.7.3-4]
  }
  return wanted.length === levels.length;
}

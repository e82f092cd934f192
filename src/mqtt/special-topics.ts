// Topics to which Starmesh, as EMQX, gives a meaning of their own: `$exclusive/FILTER` (one subscriber in the
// cluster), `$delayed/SECONDS/NAME` (published later), and the mountpoint that a listener puts before all
// topics of its clients. Used by `session` and `broker`; nothing here is known to the codec.
import { formatTopicFilter, parseTopicFilter } from './topic.js';

const exclusivePrefix = '$exclusive/';
const delayedPrefix = '$delayed/';

/** As EMQX has it: a larger number is a moment, in seconds since 1970, and no delay. About 49 days. */
export const delaySecondsMax = 4_294_967;

/** The filter of `$exclusive/FILTER`; undefined for any other. */
export function exclusiveFilter(topicFilter: string): string | undefined {
  return topicFilter.startsWith(exclusivePrefix) ? topicFilter.slice(exclusivePrefix.length) : undefined;
}

export interface DelayedTopic {
  readonly delayMs: number;
  /** Where the message is published when its time has come. */
  readonly topicName: string;
}

export function isDelayedTopic(topicName: string): boolean {
  return topicName.startsWith(delayedPrefix);
}

interface Parts {
  readonly seconds: number;
  readonly topicName: string;
}

function partsOf(topicName: string): Parts | undefined {
  const slash = topicName.indexOf('/', delayedPrefix.length);
  if (!isDelayedTopic(topicName) || slash < 0) return undefined;
  const digits = topicName.slice(delayedPrefix.length, slash);
  const target = topicName.slice(slash + 1);
  // One within the other would be published under a name that nobody means.
  if (!/^\d{1,12}$/.test(digits) || target.length === 0 || isDelayedTopic(target)) return undefined;
  return { seconds: Number(digits), topicName: target };
}

/** The parts of `$delayed/SECONDS/NAME`; undefined when they are none. `wallNow`: ms since 1970, for moments. */
export function parseDelayed(name: string, wallNow: number): DelayedTopic | undefined {
  const parts = partsOf(name);
  if (parts === undefined) return undefined;
  const { seconds, topicName } = parts;
  if (seconds < delaySecondsMax) return { delayMs: seconds * 1000, topicName };
  const delayMs = seconds * 1000 - wallNow;
  return delayMs > delaySecondsMax * 1000 ? undefined : { delayMs: Math.max(0, delayMs), topicName };
}

/** The topic on which rights are asked for a PUBLISH to `topicName`, while delayed messages are on. */
export function publishedTopic(topicName: string): string {
  return partsOf(topicName)?.topicName ?? topicName;
}

/** The filter behind the mountpoint: for a shared one, what its group matches. */
export function mountFilter(mountpoint: string, topicFilter: string): string {
  if (mountpoint === '') return topicFilter;
  const parsed = parseTopicFilter(topicFilter, Number.POSITIVE_INFINITY);
  if (parsed?.group === undefined) return mountpoint + topicFilter;
  return formatTopicFilter({ group: parsed.group, topicFilter: mountpoint + parsed.topicFilter });
}

/** The name behind the mountpoint; for a delayed message that which it is published under. */
export function mountName(mountpoint: string, topicName: string): string {
  if (mountpoint === '') return topicName;
  const target = publishedTopic(topicName);
  return topicName.slice(0, topicName.length - target.length) + mountpoint + target;
}

/** The name as the client behind the mountpoint knows it. */
export function unmountName(mountpoint: string, topicName: string): string {
  return topicName.startsWith(mountpoint) ? topicName.slice(mountpoint.length) : topicName;
}

/** What may stand for `${clientid}` and `${username}` in a mountpoint: one level, and no wildcard. */
export function isMountable(value: string): boolean {
  return value !== '' && !/[+#/\0]/.test(value);
}

/** The mountpoint of a client; undefined when its names cannot stand in it. */
export function mountpointOf(template: string, clientId: string, username: string | undefined): string | undefined {
  let good = true;
  const place = (value: string | undefined): string => {
    good &&= value !== undefined && isMountable(value);
    return value ?? '';
  };
  const out = template.replaceAll(/\$\{(clientid|username)\}/g, (_, name: string) => place(name === 'clientid' ? clientId : username));
  return good ? out : undefined;
}

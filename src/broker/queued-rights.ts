// Which messages of a session's queue its client may not have any more (recheck.ts). A message does not say for
// which subscription it came, and that one may be gone by an UNSUBSCRIBE, which takes nothing back: so it stays when
// the client may have its topic, or when a subscription that stands matches it.
import { matches } from '#mqtt/topic.js';
import type { QueuedMessage } from '#session/queue.js';
import type { Session } from '#session/session.js';
import { FilterIndex } from './filter-index.js';

const shapesMax = 64;

/**
 * `may`: whether the client may have the topic; undefined: somebody would have to be asked. `revoked`: filters that it
 * has just lost.
 */
export function notCovered(
  session: Session,
  may: (item: QueuedMessage) => boolean | undefined,
  revoked: readonly string[],
): (item: QueuedMessage) => boolean {
  let index: FilterIndex<true> | undefined;
  let groups: ReadonlySet<string> | undefined;
  const verdicts = new Map<string, boolean>();
  const stands = ({ message, group }: QueuedMessage): boolean => {
    if (group === undefined) {
      index ??= filtersOf(session);
      return index.match(message.topicName).length > 0;
    }
    groups ??= new Set([...session.subscriptions.values()].map((s) => s.group ?? ''));
    return groups.has(group);
  };
  const judge = (item: QueuedMessage): boolean => {
    const allowed = may(item) ?? !revoked.some((topicFilter) => matches(topicFilter, item.message.topicName));
    return !allowed && !stands(item);
  };
  return (item) => {
    const key = `${item.qos}${item.group ?? ''}\0${item.message.topicName}`;
    let verdict = verdicts.get(key);
    if (verdict === undefined) {
      verdict = judge(item);
      verdicts.set(key, verdict);
    }
    return verdict;
  };
}

function filtersOf(session: Session): FilterIndex<true> {
  const index = new FilterIndex<true>(shapesMax);
  for (const { topicFilter, group } of session.subscriptions.values()) if (group === undefined) index.add(topicFilter, true);
  return index;
}

// Overlapping subscriptions of one session. The class itself stands in `session.ts`.
import type { Qos } from './message.js';
import { Subscription } from './session.js';

/**
 * Overlapping subscriptions of one session as one: one copy of a message, with the highest QoS and all
 * identifiers. [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]
 */
export function mergeSubscriptions(parts: readonly Subscription[]): Subscription {
  const first = parts[0] as Subscription;
  let qos: Qos = 0;
  let noLocal = false;
  let retainAsPublished = false;
  let identifiers: number[] | undefined;
  for (const part of parts) {
    if (part.qos > qos) qos = part.qos;
    noLocal ||= part.noLocal;
    retainAsPublished ||= part.retainAsPublished;
    if (part.identifiers === undefined) continue;
    identifiers ??= [];
    identifiers.push(...part.identifiers);
  }
  const merged = new Subscription(
    first.session,
    first.topicFilter,
    { qos, noLocal, retainAsPublished, retainHandling: 0, subscriptionIdentifier: undefined },
    parts,
  );
  merged.identifiers = identifiers;
  return merged;
}

/** What is left of a merged subscription for a message of the session's own client, or undefined when nothing is. [MQTT-3.8.3-3] */
export function withoutNoLocal(subscription: Subscription): Subscription | undefined {
  if (subscription.merged === undefined) return subscription.noLocal ? undefined : subscription;
  const rest = subscription.merged.filter((part) => !part.noLocal);
  return rest.length === 0 ? undefined : rest.length === subscription.merged.length ? subscription : mergeSubscriptions(rest);
}

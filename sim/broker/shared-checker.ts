// What shared subscriptions promise, looked at when a run has ended (docs/shared-subscriptions.md): an
// acknowledged message is with a member of its group, if the group had one that stayed; and with one only,
// unless it was QoS 1 or a node was lost. All topic names under `s/` are for exactly one group.
import type { Disturbances } from './faults.js';
import type { History, SharedCopy, SimMessage, SimSession } from './history.js';

const never = Number.POSITIVE_INFINITY;

export function checkShared(history: History, disturbances: Disturbances, nodes: readonly string[]): void {
  for (const m of history.messages) {
    if (!m.topicName.startsWith('s/')) continue;
    const copies = history.shared.get(m.id) ?? [];
    const members = history.sessions.filter((s) => s.matching(m.topicName).length > 0);
    const disturbed = m.mayBeLost || nodes.some((n) => disturbances.overlaps(n, m.sentAt, never));
    if (!disturbed) atMostOne(history, m, copies);
    if (m.qos > 0 && m.ackedAt !== never && copies.length === 0) atLeastOne(history, m, members, disturbed);
  }
}

function atMostOne(history: History, m: SimMessage, copies: readonly SharedCopy[]): void {
  // What was not acknowledged may come again, to the same client or to another.
  if (copies.length < 2 || (m.qos === 1 && m.attempts > 1) || copies.some((c) => c.qos === 1 || c.session.tainted !== undefined)) return;
  const whom = copies.map((c) => `${c.session.clientId} (QoS ${c.qos}${c.dup ? ', DUP' : ''})`).join(', ');
  history.violation(`message ${m.id} of ${m.publisher} on ${m.topicName}, QoS ${m.qos}, sent ${m.sentAt.toFixed(1)}, went to ${whom}`);
}

function atLeastOne(history: History, m: SimMessage, members: readonly SimSession[], disturbed: boolean): void {
  const stable = members.some((s) =>
    s
      .matching(m.topicName)
      .some((x) => x.qos > 0 && x.ackedAt < m.sentAt && x.unsubscribeSentAt === never && s.endedAt === never && s.startedAt < m.sentAt),
  );
  if (!stable) return;
  const excuse = disturbed ? 'a node was lost' : excuseOf(m, members);
  if (excuse === undefined) {
    const whom = members.map((s) => `${s.clientId}/${s.number}${s.endedAt < never ? ` until ${s.endedAt.toFixed(1)}` : ''}`).join(', ');
    history.violation(`message ${m.id} of ${m.publisher} on ${m.topicName}, QoS ${m.qos}, sent ${m.sentAt.toFixed(1)}, went to nobody of ${whom}`);
  } else history.count(`shared excused: ${excuse}`);
}

/** Whoever may have been picked and could not keep what it got. */
function excuseOf(m: SimMessage, members: readonly SimSession[]): string | undefined {
  for (const s of members) {
    if (s.endedAt < m.sentAt) continue;
    if (s.overflowed) return 'full queue';
    if (s.tainted !== undefined) return 'a session without a registration';
    const granted = s.matching(m.topicName);
    if (granted.some((x) => x.qos === 0)) return 'QoS 0';
    if (granted.some((x) => x.notEffective)) return 'suback timeout';
    // It was sent with QoS 2 and not completed: for nobody else.
    if (s.endedAt !== never && m.qos === 2 && granted.some((x) => x.qos === 2)) return 'QoS 2 of a session that ended';
  }
  return undefined;
}

// QoS 2 messages whose publisher's session moves while they are on their way: the old holder keeps the
// acknowledgements that it owes and tells the new one how they ended (takeover.ts, connect.ts); the new
// one answers PUBREC only then, as the old one would have done. So a PUBREC always says that everybody
// who must has accepted the message, wherever it is sent from.
// If nobody knows any more how they ended, they count as lost with the node that took them in, and are
// acknowledged: the same as for a destination that is lost.
import { settle, settleRefused } from '#session/channel.js';
import type { AckChannel, DeferredAck, Session } from '#session/session.js';
import { Subscription } from '#session/session.js';
import type { SessionRest, SessionState } from '#session/session-codec.js';
import type { Core } from './core.js';
import type { AckOutcome } from './ports.js';

/** Until the client repeats the PUBLISH on its new connection. */
const noChannel: AckChannel = { flushAcks: () => {} };

/** The session leaves: the ticket under which the outcomes of what it is still owed can be asked for; empty when that is nothing. */
export function ticketFor(core: Core, session: Session): string {
  const acks: DeferredAck[] = [];
  if (session.awaitingRel !== undefined) for (const ack of session.awaitingRel.values()) if (ack !== undefined) acks.push(ack);
  if (acks.length === 0) return '';
  return core.ports.forwarder.outcomes.offer(() => {
    if (acks.some((ack) => ack.reasonCode < 0)) return undefined;
    return acks.map(({ packetId, reasonCode }): AckOutcome => ({ packetId, reasonCode }));
  });
}

/** The session as its old holder had it, without what waits. */
export function restore(session: Session, state: SessionState): void {
  session.mountpoint = state.mountpoint;
  session.username = state.username;
  session.lastPacketId = state.lastPacketId;
  for (const { topicFilter, options } of state.subscriptions) {
    if (!session.subscriptions.has(topicFilter)) session.addSubscription(new Subscription(session, topicFilter, options));
  }
  for (const entry of state.inflight) if (session.inflight?.get(entry.packetId) === undefined) session.needInflight().add(entry);
  if (state.awaitingRel.length > 0) session.awaitingRel = new Map(state.awaitingRel.map((id) => [id, undefined]));
}

/** The session has come with the rest that its old holder handed over last. */
export function takeIn(core: Core, session: Session, rest: SessionRest): void {
  session.queueDropped += rest.queueDropped;
  session.awaitingRel = undefined;
  if (rest.awaitingRel.length === 0) return;
  session.awaitingRel = new Map(rest.awaitingRel.map((id) => [id, undefined]));
  if (rest.unsettled.length === 0) return;
  const owed = new Map<number, DeferredAck>();
  for (const packetId of rest.unsettled) {
    const ack: DeferredAck = { channel: noChannel, session, packetId, qos: 2, reasonCode: -1 };
    owed.set(packetId, ack);
    session.awaitingRel.set(packetId, ack);
  }
  core.ports.forwarder.outcomes.ask(rest.ticket, (outcomes) => settleAll(core, owed, outcomes ?? []));
}

function settleAll(core: Core, owed: Map<number, DeferredAck>, outcomes: readonly AckOutcome[]): void {
  for (const { packetId, reasonCode } of outcomes) {
    const ack = owed.get(packetId);
    owed.delete(packetId);
    if (ack === undefined) continue;
    if (reasonCode >= 0x80) settleRefused(ack, reasonCode, core.now());
    else settle(ack, reasonCode);
  }
  for (const ack of owed.values()) {
    core.metrics.outcomesLost.value++;
    settle(ack, 0);
  }
}

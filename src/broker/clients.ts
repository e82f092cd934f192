// What the command line and the HTTP API show of this node's clients and subscriptions.
import type { QoS } from '#mqtt/packet.js';
import type { Session } from '#session/session.js';

export interface ClientInfo {
  readonly clientId: string;
  readonly username: string | undefined;
  /** `1.2.3.4:56789`; undefined while it is not connected. */
  readonly peer: string | undefined;
  readonly connected: boolean;
  /** 3, 4 or 5; 0 while it is not connected. */
  readonly protocolVersion: number;
  readonly cleanStart: boolean;
  /** Seconds. */
  readonly keepAlive: number;
  readonly sessionExpiryInterval: number;
  readonly subscriptions: number;
  readonly inflight: number;
  readonly queued: number;
  readonly queuedBytes: number;
  /** Messages that its queue had no room for, since the session began. */
  readonly queueDropped: number;
  readonly awaitingRel: number;
  /** Wall clock ms. */
  readonly createdAt: number;
  /** Wall clock ms; 0 while it is not connected. */
  readonly connectedAt: number;
  readonly epoch: number;
  /** It is on this node's disk. */
  readonly durable: boolean;
}

export interface SubscriptionInfo {
  readonly clientId: string;
  readonly topicFilter: string;
  readonly qos: QoS;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: number;
}

export function clientInfo(session: Session): ClientInfo {
  const { channel } = session;
  return {
    clientId: session.clientId,
    username: session.username,
    peer: channel?.out.peer,
    connected: channel !== undefined,
    protocolVersion: channel?.version ?? 0,
    cleanStart: channel?.cleanStart ?? false,
    keepAlive: channel?.keepAliveS ?? 0,
    sessionExpiryInterval: session.expiryIntervalS,
    subscriptions: session.subscriptions.size,
    inflight: session.inflightCount,
    queued: session.queuedCount,
    queuedBytes: session.queue?.bytes ?? 0,
    queueDropped: session.queueDropped,
    awaitingRel: session.awaitingRel?.size ?? 0,
    createdAt: session.createdAt,
    connectedAt: channel?.connectedAt ?? 0,
    epoch: session.epoch,
    durable: session.log !== undefined,
  };
}

export function* subscriptionsOf(session: Session): IterableIterator<SubscriptionInfo> {
  for (const s of session.subscriptions.values()) {
    yield {
      clientId: session.clientId,
      topicFilter: s.topicFilter,
      qos: s.qos,
      noLocal: s.noLocal,
      retainAsPublished: s.retainAsPublished,
      retainHandling: s.retainHandling,
    };
  }
}

// What is written of each change in a persistent session: the part of `SessionLog` that says what happened to its
// subscriptions, its queue and what is on its way. `durable-sessions.ts` says into which record it goes, if it can be written.
import type { ByteWriter } from '#base/byte-writer.js';
import type { InflightEntry } from '#session/inflight.js';
import type { Message } from '#session/message.js';
import type { QueuedMessage } from '#session/queue.js';
import type { Session, Subscription } from '#session/session.js';
import { writeOp } from '#session/session-record.js';

export abstract class WrittenChanges {
  /** The open record of the session's changes; `message` stands in the journal by then. Undefined: nothing is to be written. */
  protected abstract ops(session: Session, message?: Message): ByteWriter | undefined;

  subscribed(session: Session, subscription: Subscription): void {
    const w = this.ops(session);
    if (w !== undefined) writeOp.subscribed(w, subscription);
  }

  unsubscribed(session: Session, topicFilter: string): void {
    const w = this.ops(session);
    if (w !== undefined) writeOp.unsubscribed(w, topicFilter);
  }

  queued(session: Session, item: QueuedMessage, behind: number = 0): void {
    const w = this.ops(session, item.message);
    if (w !== undefined) writeOp.queued(w, item, behind);
  }

  /** It stands at the front, and then where it stood no more. */
  advanced(session: Session, item: QueuedMessage, place: number): void {
    this.queued(session, item, (session.queue?.reliableCount ?? 0) + 1);
    this.unqueued(session, place + 1);
  }

  unqueued(session: Session, place: number = 0): void {
    const w = this.ops(session);
    if (w !== undefined) writeOp.unqueued(w, place);
  }

  lost(session: Session): void {
    const w = this.ops(session);
    if (w !== undefined) writeOp.lost(w, session.queueDropped);
  }

  sent(session: Session, entry: InflightEntry, fromQueue: boolean): void {
    const w = this.ops(session, entry.message);
    if (w !== undefined) writeOp.sent(w, entry, fromQueue);
  }

  released(session: Session, packetId: number): void {
    this.#id(session, 'released', packetId);
  }

  completed(session: Session, packetId: number): void {
    this.#id(session, 'completed', packetId);
  }

  received(session: Session, packetId: number): void {
    this.#id(session, 'received', packetId);
  }

  freed(session: Session, packetId: number): void {
    this.#id(session, 'freed', packetId);
  }

  #id(session: Session, what: 'released' | 'completed' | 'received' | 'freed', packetId: number): void {
    const w = this.ops(session);
    if (w !== undefined) writeOp.id(w, what, packetId);
  }
}

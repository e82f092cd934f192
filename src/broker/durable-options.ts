// What `durable-sessions.ts` is made of: its journal as it sees it, its bounds, and what it reads of a session.
import type { ByteWriter } from '#base/byte-writer.js';
import type { Clock } from '#env/clock.js';
import type { FilesError } from '#env/files.js';
import type { Logger } from '#env/logger.js';
import type { Metrics } from '#env/metrics.js';
import type { Message } from '#session/message.js';
import type { QueuedMessage } from '#session/queue.js';
import type { Session } from '#session/session.js';
import type { SessionMeta, WillRecord } from '#session/session-meta.js';

export interface DurableEnv {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** The store's journal, as far as it is needed here. */
export interface JournalPort {
  readonly durable: number;
  readonly position: number;
  readonly diskBytes: number;
  readonly pendingBytes: number;
  /** Since the start; with what was found then. */
  readonly writtenBytes: number;
  readonly failure: FilesError | undefined;
  ensureBatch(): void;
  begin(type: number, slot: number): ByteWriter;
  end(): void;
  whenDurable(done: (error: FilesError | undefined) => void): void;
  rotate(): void;
  forgetBefore(segment: number): void;
  restart(): boolean;
  close(done: (error: FilesError | undefined) => void): void;
  onSegment: (segment: number) => void;
  beforeFlush: () => void;
  onFailure: (error: FilesError) => void;
}

export interface DurableOptions {
  /** `durable_sessions.max_bytes`: of the journal; beyond, nothing more is taken for persistent sessions. */
  readonly diskBytesMax: number;
  /** The journal is not made smaller below this size, and not before it has grown to that multiple of what lives. */
  readonly compactBytesMin: number;
  readonly compactFactor: number;
  /** Stated anew at a time, and the pause after it. */
  readonly sliceBytes: number;
  readonly slicePauseMs: number;
  /** What may wait for a slow disk. */
  readonly pendingBytesMax: number;
  /** From a failure of the disk to the next attempt. */
  readonly retryMs: number;
}

export const durableDefaults: DurableOptions = {
  diskBytesMax: 16 * 1024 * 1024 * 1024,
  compactBytesMin: 32 * 1024 * 1024,
  compactFactor: 2,
  sliceBytes: 256 * 1024,
  slicePauseMs: 5,
  pendingBytesMax: 64 * 1024 * 1024,
  retryMs: 1_000,
};

/** A session that is written down. */
export interface Held {
  readonly slot: number;
  leftAtMs: number;
  will: WillRecord | undefined;
  /** What the journal says of it is not what it is: it must be stated anew. */
  stale: boolean;
}

export function metaOf(session: Session, held: Held): SessionMeta {
  const { epoch, expiryIntervalS, username, mountpoint } = session;
  return { epoch, expiryIntervalS, username, mountpoint, leftAtMs: held.leftAtMs, will: held.will };
}

export function* queueOf(session: Session): IterableIterator<QueuedMessage> {
  const { queue } = session;
  for (let i = 0; queue !== undefined && i < queue.length; i++) {
    const item = queue.at(i);
    if (item !== undefined) yield item;
  }
}

/** While it moves here: what came for it already stands behind its queue. */
export function* heldBack(session: Session): IterableIterator<QueuedMessage> {
  yield* queueOf(session);
  yield* session.gate?.held?.() ?? [];
}

export function* messagesOf(session: Session, queue: Iterable<QueuedMessage>): IterableIterator<Message> {
  for (const entry of session.inflight?.entries() ?? []) if (entry.message !== undefined) yield entry.message;
  for (const item of queue) if (item.qos > 0) yield item.message;
}

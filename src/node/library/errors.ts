// What the library throws, beside `WriteFailure` (db/api.ts) for writes and `UnstorableError`
// (db/value-codec.ts) for keys and values that cannot be kept.

/**
 * - options: the options contradict each other; nothing was started.
 * - locked: another process, or another database of this one, uses the data directory.
 * - data-directory: the data directory is damaged or belongs to another role; the message says what to do.
 * - cannot-listen: the address cannot be listened on.
 * - refused: the cluster does not take this node.
 * - deadline: the node was not in service by `openDeadlineMs`; the message says what it waited for.
 * - failed: a disk failed or is full; the node has stopped by itself.
 * - damaged: a row of this node's copy is not what was written. The copy is replaced by another node's: read again
 *   later (the table's subscriptions begin anew then), or elsewhere. A node that nobody can help ends ('failed').
 * - closed: the database is closed.
 * - not-held: this node has no copy of the table's shard (a replicant and a shard of the cores alone).
 * - unknown-table: the table, command or shard is not among the `shards` that the database was opened with.
 * - ended: a transaction or command was used after its function had returned.
 */
export type DatabaseErrorCode =
  | 'options'
  | 'locked'
  | 'data-directory'
  | 'cannot-listen'
  | 'refused'
  | 'deadline'
  | 'failed'
  | 'damaged'
  | 'closed'
  | 'not-held'
  | 'unknown-table'
  | 'ended';

export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
  readonly code: DatabaseErrorCode;
  constructor(code: DatabaseErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

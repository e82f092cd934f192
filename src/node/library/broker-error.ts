// What `createBroker` and its broker throw.

/**
 * - options: the options contradict each other, or an argument is not what it must be; nothing was done.
 * - locked: another process, or another node of this one, uses the data directory.
 * - data-directory: the data directory is damaged or belongs to another role; the message says what to do.
 * - cannot-listen: an address cannot be listened on, or its certificates cannot be used.
 * - refused: the cluster does not take this node; or a hook refused the message.
 * - deadline: the node was not in service by `openDeadlineMs`; the message says what it waited for.
 * - no-quorum: too few cores answer to keep a retained message or to write a route. Try again later.
 * - failed: a disk failed or is full; the node has stopped by itself.
 * - closed: the broker is closed.
 */
export type BrokerErrorCode = 'options' | 'locked' | 'data-directory' | 'cannot-listen' | 'refused' | 'deadline' | 'no-quorum' | 'failed' | 'closed';

export class BrokerError extends Error {
  override readonly name = 'BrokerError';
  readonly code: BrokerErrorCode;
  constructor(code: BrokerErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

// What the write-ahead log of a node looks like from outside. `store/wal.ts` implements it on
// env's files; the database's driver is its caller, and hands a shard's log to the Raft machine.
//
// One log for all shards of the node. Everything handed over in one turn of the event loop goes
// to disk as one append and one sync; `done` callbacks run in the order of the calls, once
// durable. Reads see at once what was appended, durable or not.
//
// After the first failed write or sync the log has failed for ever: every callback that is still
// waiting, and each later one, gets a WalError of kind 'failed'. The node must stop serving writes.
export class WalError extends Error {
  name = 'WalError';
  kind;
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}
export const walDefaults = { dir: 'wal', segmentBytes: 64 * 1024 * 1024, cacheBytes: 64 * 1024 * 1024, shardCacheBytes: 32 * 1024 * 1024 };
//# sourceMappingURL=types.js.map

// The database's bounds and waits: every one named, with its default (design: defaults).

export interface DbBounds {
  /** Wait of a write, until its caller hears of it one way or the other. */
  readonly proposalDeadlineMs: number;
  /** Attempts of a transaction whose reads were overtaken. */
  readonly transactionRetries: number;
  /** One log entry: transactions and bytes. */
  readonly batchTransactionsMax: number;
  readonly batchBytesMax: number;
  /** Proposals waiting at the leader or on a proposer, per shard. */
  readonly pendingProposalsMax: number;
  readonly pendingProposalBytesMax: number;
  /** Rows of one apply batch. */
  readonly applyRowsMax: number;
  /** What is applied is committed to the tables after so long at most, or when so many rows or bytes wait; until then it is read from memory. */
  readonly tableCommitMs: number;
  readonly tableCommitRows: number;
  readonly tableCommitBytes: number;
  /** Under load committed entries wait up to this long for more, before they are applied on cores and before each stream's next frame. */
  readonly applyCoalesceMs: number;
  /** On cores, which nobody's replica waits for, batches of a shard with a steady load are applied at least so far apart. */
  readonly coreApplyPauseMs: number;
  /** Under load followers hear of commits up to this later, unless the next entries say it sooner. */
  readonly commitNewsMs: number;
  /** Recently written keys that the leader checks transactions against. */
  readonly conflictWindowKeys: number;
  /** A leader whose applied index trails its commit index by more hands leadership on. */
  readonly leaderApplyLagMax: number;
  /** Largest row value. */
  readonly rowBytesMax: number;
  /** Log kept for followers and replicants. */
  readonly logKeepBytes: number;
  readonly logKeepBytesMax: number;
  /** A node that has not renewed its lease for so long is not waited for. The same on all nodes; longer for holders that are far (lease.ts). */
  readonly leaseMs: number;
  /** A node that lags behind for longer is not waited for either, and not let in again for as long. */
  readonly lateMs: number;
  /** How often a replicant looks for a node that would feed it better; one leaves a node per `movePaceMs` at most. */
  readonly rebalanceMs: number;
  readonly movePaceMs: number;
  /** Before one core hands a shard's leadership to another that leads fewer, nothing has changed for so long; Infinity: leaders stay. */
  readonly leaderSpreadMs: number;
  /** Unacknowledged bytes per replicant and shard. */
  readonly replicaCreditBytes: number;
  readonly bootstrapChunkBytes: number;
  /** Entries that a relay keeps in memory per shard for those that it feeds. */
  readonly relayLogBytes: number;
  /** What one function reads of a shard that its node does not hold: rows and ranges, bytes; and reads that a core answers at once. */
  readonly remoteReadRowsMax: number;
  readonly remoteReadBytesMax: number;
  readonly remoteReadsMax: number;
  /** Outcomes kept per stream: proposals in flight per incarnation and shard. */
  readonly streamOutcomesMax: number;
  /** Rows deleted by one sweep entry. */
  readonly sweepRowsMax: number;
  /** A learner that has all but so many of the leader's entries on its disk becomes a voter. */
  readonly learnerLagMax: number;
  /** A core that was silent for longer does not count as running when the set of cores changes, and replicants that have no lease of it any more look for another. */
  readonly coreSilentMs: number;
  /** Wait for the linearizable read before a change of the set of cores. */
  readonly coreSetBarrierMs: number;
  /** Pause between attempts to reach a leader. */
  readonly proposalRetryMs: number;
  /** Wait of a write for being effective, once committed. Three leases at least: who is far and fell silent holds one for up to two, and its last word was under way. */
  readonly effectiveWaitMs: number;
  /** Log kept for late readers at least this long, as far as `logKeepBytesMax` allows. */
  readonly logKeepMs: number;
  /** Entries handed to apply and not applied yet, per shard. */
  readonly applyQueueBytesMax: number;
  /** One attempt at handing proposals to a leader. */
  readonly proposalAttemptMs: number;
  /** All rows of the tables are read so often to see whether they are damaged, and how fast; Infinity: never. */
  readonly scrubEveryMs: number;
  readonly scrubRowsPerSecond: number;
  readonly scrubBytesPerSecond: number;
}

export const dbBounds: DbBounds = {
  proposalDeadlineMs: 5_000,
  transactionRetries: 8,
  batchTransactionsMax: 1_000,
  batchBytesMax: 1024 * 1024,
  pendingProposalsMax: 100_000,
  pendingProposalBytesMax: 64 * 1024 * 1024,
  applyRowsMax: 1_000,
  tableCommitMs: 2_000,
  tableCommitRows: 4_000,
  tableCommitBytes: 2 * 1024 * 1024,
  applyCoalesceMs: 5,
  coreApplyPauseMs: 2,
  commitNewsMs: 2,
  conflictWindowKeys: 100_000,
  leaderApplyLagMax: 100_000,
  rowBytesMax: 1024 * 1024 + 64 * 1024,
  logKeepBytes: 256 * 1024 * 1024,
  logKeepBytesMax: 4 * 1024 * 1024 * 1024,
  leaseMs: 500,
  lateMs: 2_000,
  rebalanceMs: 10_000,
  movePaceMs: 1_000,
  leaderSpreadMs: 10_000,
  replicaCreditBytes: 8 * 1024 * 1024,
  bootstrapChunkBytes: 1024 * 1024,
  relayLogBytes: 64 * 1024 * 1024,
  remoteReadRowsMax: 10_000,
  remoteReadBytesMax: 4 * 1024 * 1024,
  remoteReadsMax: 256,
  streamOutcomesMax: 100_000,
  sweepRowsMax: 5_000,
  learnerLagMax: 256,
  coreSilentMs: 1_000,
  coreSetBarrierMs: 1_000,
  proposalRetryMs: 50,
  effectiveWaitMs: 1_500,
  logKeepMs: 600_000,
  applyQueueBytesMax: 32 * 1024 * 1024,
  proposalAttemptMs: 2_000,
  scrubEveryMs: 3_600_000,
  scrubRowsPerSecond: 5_000,
  scrubBytesPerSecond: 4 * 1024 * 1024,
};

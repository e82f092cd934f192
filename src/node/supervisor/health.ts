// What a node's own answer to `rlog status` means for the table and for `cluster ready`. Pure.

export interface Health {
  /** Every shard that this node uses is in service on it, and clients are accepted. */
  readonly inSync: boolean;
  /** For people: `in sync`, `bootstrap`, `joining`, … */
  readonly state: string;
  /** `7/7`. */
  readonly shards: string;
}

const unknown: Health = { inSync: false, state: 'starting', shards: '-' };

/**
 * @param data what `{"cmd": ["rlog", "status"]}` answered
 * @param serving what `{"cmd": ["status"]}` answered afterwards, see {@link isServing}
 */
export function healthOf(data: unknown, serving: boolean): Health {
  if (typeof data !== 'object' || data === null || !('shards' in data) || !('shards_in_sync' in data)) return unknown;
  const { shards, shards_in_sync: inSync } = data;
  if (typeof shards !== 'object' || shards === null || !Array.isArray(inSync)) return unknown;
  const states = new Map<string, string>();
  for (const [name, shard] of Object.entries(shards)) {
    const state: unknown = typeof shard === 'object' && shard !== null && 'state' in shard ? shard.state : undefined;
    // A shard that nobody uses here is no error.
    if (typeof state === 'string' && state !== 'down') states.set(name, state);
  }
  const waiting = [...states].filter(([name]) => !inSync.includes(name)).map(([, state]) => state);
  const complete = states.size > 0 && waiting.length === 0;
  const state = complete ? (serving ? 'in sync' : 'joining') : describe(waiting);
  return { inSync: complete && serving, state, shards: `${states.size - waiting.length}/${states.size}` };
}

/** @param data what `{"cmd": ["status"]}` answered */
export function isServing(data: unknown): boolean {
  return typeof data === 'object' && data !== null && 'state' in data && data.state === 'running';
}

// The least advanced state of a replicant's shards says most; a core that waits for the others joins.
function describe(waiting: readonly string[]): string {
  return ['disconnected', 'bootstrap', 'local_replay'].find((s) => waiting.includes(s)) ?? 'joining';
}

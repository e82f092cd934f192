// Watches the registry's rows on every core as they are applied: while a row exists, the epoch of its
// owner never goes back (a stale epoch writes nothing), but to that of a holder that has kept its session
// because a newer owner never got it, and is gone. Each core is watched for itself, from the start
// of its process on, so that a write that is overwritten soon after is seen as well.
import { byteString } from '#base/bytes.js';
import { type Claim, decodeRow } from '#broker/registry-row.js';
import { registryTables } from '#broker/schema.js';
import type { Database, Feed, Table } from '#db/api.js';

interface Seen {
  /** Of the latest owner that the row has had. */
  readonly ownerEpoch: number;
  /** As the row was last. */
  readonly owner: Claim | undefined;
  /** The row goes with its incarnation. */
  readonly holder: Claim;
}

/** `violation` is called with a sentence. */
export function watchEpochs(name: string, database: Database, violation: (text: string) => void): void {
  for (const table of registryTables)
    if (database.holds(table.shard)) database.subscribe(table.shard, new EpochFeed(name, database, table, violation));
}

class EpochFeed implements Feed {
  readonly #name: string;
  readonly #database: Database;
  readonly #table: Table;
  readonly #violation: (text: string) => void;
  readonly #rows: Map<string, Seen> = new Map();

  constructor(name: string, database: Database, table: Table, violation: (text: string) => void) {
    this.#name = name;
    this.#database = database;
    this.#table = table;
    this.#violation = violation;
  }

  reset(): void {
    this.#rows.clear();
    this.#database.range(this.#table, new Uint8Array(0), undefined, (key, row) => {
      this.#see(byteString(key), row.value);
      return true;
    });
  }

  change(table: Table, key: Uint8Array, row: { readonly value: Uint8Array } | undefined): void {
    if (table.id !== this.#table.id) return;
    const id = byteString(key);
    if (row === undefined) this.#rows.delete(id);
    else this.#see(id, row.value);
  }

  purged(_nodeId: string, incarnation: number): void {
    for (const [id, seen] of this.#rows) if (seen.holder.incarnation === incarnation) this.#rows.delete(id);
  }

  applied(): void {}

  #see(id: string, value: Uint8Array): void {
    const { owner, holder } = decodeRow(value);
    const before = this.#rows.get(id);
    const newest = before?.ownerEpoch ?? 0;
    if (before !== undefined && owner !== undefined && owner.epoch < newest && !this.#keptBy(before, owner)) {
      this.#violation(
        `${this.#name}: epoch ${owner.epoch} of ${owner.nodeId} has become the owner of ${id} in ${this.#table.shard} after epoch ${newest}`,
      );
    }
    this.#rows.set(id, { ownerEpoch: Math.max(newest, owner?.epoch ?? 0), owner, holder });
  }

  /** The takeover of the newer owner was given up, or went with its node. */
  #keptBy({ owner, holder }: Seen, claim: Claim): boolean {
    const gone = owner === undefined || owner.epoch === claim.epoch || !this.#database.isLive(this.#table.shard, owner.incarnation);
    return gone && holder.epoch === claim.epoch && holder.nodeId === claim.nodeId;
  }
}

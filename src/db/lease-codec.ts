// Frames by which nodes renew and grant leases (leases.ts), on the lane `raft`: small and urgent. One frame
// carries what a node asks of, or grants to, one other node for all shards.
import type { ByteReader } from '#base/byte-reader.js';
import { MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';

/** follow: a core asks its leader · lead: a leader asks its voters · stream: a receiver asks the node that feeds it. */
export type LeaseKind = 'follow' | 'lead' | 'stream';

export interface LeaseRequest {
  readonly shard: string;
  readonly kind: LeaseKind;
  /** Term of the leader, or number of the stream: an answer to another one is none. */
  readonly n: number;
  /** Seen by the feeds of the asking node and of all to whom it grants leases itself. */
  readonly visible: number;
}

export interface LeaseGrant {
  readonly shard: string;
  readonly kind: LeaseKind;
  readonly n: number;
  /** From the moment when the request was sent, by the clock of the node that asked. */
  readonly ms: number;
  /**
   * Index that the holder must have seen for the lease to count. Of kind lead: milliseconds for which leaders of
   * earlier terms may count on who answers.
   */
  readonly floor: number;
}

/** First bytes of the lane's frames that belong to leases. */
export const leaseCodes = { request: 8, grant: 9 } as const;

const kinds: readonly LeaseKind[] = ['follow', 'lead', 'stream'];

/** `round` comes back with the answer. */
export function writeLeaseRequests(w: ByteWriter, round: number, requests: readonly LeaseRequest[]): void {
  w.u8(leaseCodes.request);
  w.varint(round);
  w.varint(requests.length);
  for (const r of requests) {
    w.string(r.shard);
    w.u8(kinds.indexOf(r.kind));
    w.varint(r.n);
    w.varint(r.visible);
  }
}

export function writeLeaseGrants(w: ByteWriter, round: number, grants: readonly LeaseGrant[]): void {
  w.u8(leaseCodes.grant);
  w.varint(round);
  w.varint(grants.length);
  for (const g of grants) {
    w.string(g.shard);
    w.u8(kinds.indexOf(g.kind));
    w.varint(g.n);
    w.varint(g.ms);
    w.varint(g.floor);
  }
}

function readKind(r: ByteReader): LeaseKind {
  const kind = kinds[r.u8()];
  if (kind === undefined) throw new MalformedError('unknown kind of lease');
  return kind;
}

/** After the code. */
export function readLeaseRequests(r: ByteReader): { readonly round: number; readonly requests: readonly LeaseRequest[] } {
  const round = r.varint();
  const requests: LeaseRequest[] = [];
  for (let n = r.varint(); n > 0; n--) requests.push({ shard: r.string(), kind: readKind(r), n: r.varint(), visible: r.varint() });
  return { round, requests };
}

/** After the code. */
export function readLeaseGrants(r: ByteReader): { readonly round: number; readonly grants: readonly LeaseGrant[] } {
  const round = r.varint();
  const grants: LeaseGrant[] = [];
  for (let n = r.varint(); n > 0; n--) grants.push({ shard: r.string(), kind: readKind(r), n: r.varint(), ms: r.varint(), floor: r.varint() });
  return { round, grants };
}

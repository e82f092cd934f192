// How a cluster comes into being, exactly once: all configured cores are present and empty; the one
// with the smallest name mints the cluster id, keeps it on its disk, and announces it; the others
// take it over. So does every core that comes later, with an empty data directory or a new name: it takes
// over how the cluster began, which is what its logs begin with, and is admitted to the Raft groups by
// their leaders (db/core-set.ts). Pure: looks at what the nodes say of themselves and decides.
//
// Two of three wiped and the third away is not an empty set of cores: the empty ones wait.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Formation } from '#db/database-options.js';

/** The cluster goes on with one survivor of a lost majority (recovery.ts). */
export interface Recovery {
  /** How many there have been. */
  readonly count: number;
  /** Names the history that began with the last of them. */
  readonly tag: string;
}

export interface Formed {
  readonly clusterId: string;
  /** Node ids of the cores that formed the cluster: the Raft groups as their logs begin. None on a replicant. */
  readonly voters: readonly string[];
  /** Their names, in the same order; left out where they are not known. */
  readonly names?: readonly string[];
  readonly recovery?: Recovery;
}

/** For the database. `recover`: the new history begins here and now. */
export function formationOf(formed: Formed, recover: boolean): Formation {
  return { clusterId: formed.clusterId, voters: formed.voters, history: formed.recovery?.tag ?? '', recover };
}

/** Of a core that knows how many cores there shall be, not which (gathering.ts). */
export interface Gathering {
  readonly count: number;
  /** Node ids of the empty cores that it sees, its own included, sorted. */
  readonly seen: readonly string[];
  /** It will form a cluster with these and with no others: kept durably before it was said. */
  readonly bound: boolean;
}

/** What a core says in its hello. */
export interface FormationInfo {
  /** Names of the cores it is configured with, sorted. */
  readonly cores: readonly string[];
  readonly formed: Formed | undefined;
  /** Until it is formed. */
  readonly gathering?: Gathering;
}

export function encodeFormation(info: FormationInfo): Uint8Array {
  const w = new ByteWriter(256);
  w.u8(1);
  w.varint(info.cores.length);
  for (const c of info.cores) w.string(c);
  w.u8(info.formed === undefined ? 0 : 1);
  if (info.formed !== undefined) {
    w.string(info.formed.clusterId);
    w.varint(info.formed.voters.length);
    for (const v of info.formed.voters) w.string(v);
    const names = info.formed.names ?? [];
    w.varint(names.length);
    for (const n of names) w.string(n);
    if (info.formed.recovery !== undefined) {
      w.varint(info.formed.recovery.count);
      w.string(info.formed.recovery.tag);
    }
  } else if (info.gathering !== undefined) {
    const { count, seen, bound } = info.gathering;
    w.varint(count);
    w.u8(bound ? 1 : 0);
    w.varint(seen.length);
    for (const id of seen) w.string(id);
  }
  return w.finish();
}

/** Undefined when it is not ours to read. */
export function decodeFormation(bytes: Uint8Array): FormationInfo | undefined {
  if (bytes.length === 0) return undefined;
  try {
    const r = new ByteReader(bytes);
    if (r.u8() !== 1) return undefined;
    const cores = Array.from({ length: r.count() }, () => r.string());
    if (r.u8() === 0) {
      if (r.remaining === 0) return { cores, formed: undefined };
      const count = r.varint();
      const bound = r.u8() === 1;
      return { cores, formed: undefined, gathering: { count, bound, seen: Array.from({ length: r.count() }, () => r.string()) } };
    }
    const clusterId = r.string();
    const voters = Array.from({ length: r.count() }, () => r.string());
    const names = Array.from({ length: r.count() }, () => r.string());
    const recovery = r.remaining === 0 ? {} : { recovery: { count: r.varint(), tag: r.string() } };
    return { cores, formed: { clusterId, voters, ...(names.length === 0 ? {} : { names }), ...recovery } };
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

export interface CorePeer {
  readonly name: string;
  readonly nodeId: string;
  readonly info: FormationInfo | undefined;
  /** It is a member now: it has an incarnation. */
  readonly joined?: boolean;
}

export type FormationStep =
  | { readonly type: 'wait'; readonly why: string }
  /** Mint a cluster id for these voters, keep it durably, announce it. */
  | { readonly type: 'mint'; readonly voters: readonly string[]; readonly names: readonly string[] }
  /** Take over what a formed core announces; keep it durably, announce it. */
  | { readonly type: 'adopt'; readonly formed: Formed };

/**
 * Where a cluster is already. What another empty core has taken over is hearsay until it has joined: of a history that
 * is over it would go from one emptied core to the next, and never end.
 */
export function decideAdoption(peers: readonly CorePeer[]): FormationStep | undefined {
  let found: { readonly name: string; readonly formed: Formed } | undefined;
  let hearsay: string | undefined;
  for (const p of peers) {
    const formed = p.info?.formed;
    if (formed === undefined) continue;
    if (p.joined !== true && !formed.voters.includes(p.nodeId)) {
      hearsay ??= p.name;
      continue;
    }
    const other = found !== undefined && found.formed.clusterId !== formed.clusterId;
    const [ours, theirs] = [found?.formed.recovery, formed.recovery];
    if (found !== undefined && (other || (ours?.count === theirs?.count && ours?.tag !== theirs?.tag)))
      return { type: 'wait', why: `${found.name} and ${p.name} belong to two clusters: configure this core with the cores of one` };
    // Before and after a recovery by force: after.
    if (found === undefined || (theirs?.count ?? 0) > (ours?.count ?? 0)) found = { name: p.name, formed };
  }
  if (found !== undefined) return { type: 'adopt', formed: found.formed };
  return hearsay === undefined ? undefined : { type: 'wait', why: `${hearsay} knows of a cluster and has not joined it yet` };
}

/** For a core that is not formed yet. `peers`: cores whose link is up. */
export function decideFormation(
  self: { readonly name: string; readonly nodeId: string; readonly cores: readonly string[] },
  peers: readonly CorePeer[],
): FormationStep {
  const there = decideAdoption(peers);
  if (there !== undefined) return there;
  const byName = new Map(peers.map((p) => [p.name, p]));
  for (const name of self.cores) {
    if (name === self.name) continue;
    const p = byName.get(name);
    if (p?.info === undefined) return { type: 'wait', why: `core ${name} is not there yet` };
    if (p.info.cores.join() !== self.cores.join())
      return { type: 'wait', why: `core ${name} is configured with other cores: ${p.info.cores.join(', ')}` };
  }
  if (self.cores.length === 0) return { type: 'wait', why: 'no cores are configured: name one with "ctl cluster join"' };
  if (self.cores[0] !== self.name) return { type: 'wait', why: `waiting for ${self.cores[0]} to form the cluster` };
  const voters = self.cores.map((name) => (name === self.name ? self.nodeId : (byName.get(name)?.nodeId ?? '')));
  return { type: 'mint', voters, names: self.cores };
}

// Versions of the protocol between nodes. A build speaks its own version and the one before, so that a cluster
// is upgraded node by node: each link agrees on the highest version that both ends speak. What a version has
// brought is asked here by name, never by number, by whoever sends it and by whoever reads it.
// A new version: raise `protocolVersionMax`, add what it brings, keep `protocolVersionMin` one below, and drop
// what is older (docs/operations.md, rolling upgrades).

export const protocolVersionMin = 1;
export const protocolVersionMax = 2;

export interface ProtocolRange {
  readonly min: number;
  readonly max: number;
}

export const ownProtocol: ProtocolRange = { min: protocolVersionMin, max: protocolVersionMax };

/**
 * - gatheredBeats: heartbeats of all shards, and their answers, as one frame per pair of nodes.
 * - continuedCopies: a copy of the tables that was begun with one core goes on with another.
 * - wantedReports: who is waited for is told so; what nobody waits for is reported with requests for leases.
 */
export type ProtocolFeature = 'gatheredBeats' | 'continuedCopies' | 'wantedReports';

const since: Readonly<Record<ProtocolFeature, number>> = { gatheredBeats: 2, continuedCopies: 2, wantedReports: 2 };

export function hasFeature(version: number, feature: ProtocolFeature): boolean {
  return version >= since[feature];
}

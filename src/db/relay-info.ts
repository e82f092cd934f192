// What a relay says of itself to its peers (`PeerHello.info`; that of cores is the cluster room's).
import type { PeerHello } from '#link/api.js';

export const relayInfo: Uint8Array = Uint8Array.of(1);

export function isRelay(peer: PeerHello | undefined): boolean {
  return peer?.role === 'replicant' && peer.info.length === 1 && peer.info[0] === relayInfo[0];
}

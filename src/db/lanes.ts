// What comes in over the links, handed to the shards that it is for: links that come and go, and the
// messages of log streams. database.ts calls it once.
import { MalformedError } from '#base/byte-reader.js';
import type { Logger } from '#env/logger.js';
import type { Links, PeerHello } from '#link/api.js';
import type { CoreShard } from './core-shard.js';
import type { Replica } from './replica.js';
import { decodeRlog } from './rlog-codec.js';

/** One shard of this node; which of the two it has may change while the node runs. */
export interface LaneShard {
  readonly core: CoreShard | undefined;
  readonly replica: Replica | undefined;
}

/** `linked`: a link came up, whoever waits for one may try again. */
export function serveLanes(links: Links, log: Logger, shards: ReadonlyMap<string, LaneShard>, linked: () => void): void {
  links.listen({
    onUp: (peer) => {
      for (const s of shards.values()) s.core?.peerUp(peer.nodeId);
      linked();
    },
    onDown: (peer) => {
      for (const s of shards.values()) {
        s.core?.peerDown(peer.nodeId);
        s.replica?.peerDown(peer.nodeId);
      }
    },
    onDead: (peer) => {
      for (const s of shards.values()) s.core?.peerDead(peer.nodeId);
    },
    onDrain: (_peer, lane) => {
      if (lane === 'rlog') for (const s of shards.values()) (s.core ?? s.replica?.relay)?.server.pumpLater();
    },
  });
  links.onFrame('rlog', (from, frame) => receive(from, frame, log, shards));
}

function receive(from: PeerHello, frame: Uint8Array, log: Logger, shards: ReadonlyMap<string, LaneShard>): void {
  try {
    const message = decodeRlog(frame);
    const s = shards.get(message.shard);
    if (s === undefined) return;
    if (s.replica !== undefined) s.replica.receive(from, message);
    else s.core?.rlogMessage(from, message);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    log.warn('malformed log stream message', { from: from.name });
  }
}

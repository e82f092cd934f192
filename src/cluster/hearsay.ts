// Before the leader of shard `cluster` declares a node down that it hears nothing of, it asks the other cores:
// where not everybody reaches everybody, a node that one of them hears is not dead. Owned by cluster.ts.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Clock } from '#env/clock.js';
import type { Links } from '#link/api.js';

const heardMethod = 'cluster.heard';
/** Who does not answer by then has heard nothing. */
const heardMs = 1_000;

export class Hearsay {
  readonly #links: Pick<Links, 'peers' | 'call' | 'handle' | 'lastHeardAt'>;
  /** Nodes that are being asked about. */
  readonly #asking: Set<string> = new Set();

  constructor(links: Pick<Links, 'peers' | 'call' | 'handle' | 'lastHeardAt'>, clock: Pick<Clock, 'now'>) {
    this.#links = links;
    links.handle(heardMethod, (_from, body, reply) => {
      const at = links.lastHeardAt(readNodeId(body));
      const w = new ByteWriter(16);
      // One more than the time, so that 0 is never.
      w.varint(at === undefined ? 0 : 1 + Math.max(0, Math.ceil(clock.now() - at)));
      reply(undefined, w.finish());
    });
  }

  /** How long ago the core that heard it last did so; Infinity: none has a link to it. One question per node at a time. */
  ask(nodeId: string, then: (agoMs: number) => void): void {
    if (this.#asking.has(nodeId)) return;
    const cores = this.#links.peers().filter((p) => p.role === 'core' && p.nodeId !== nodeId);
    let missing = cores.length;
    let agoMs = Number.POSITIVE_INFINITY;
    if (missing === 0) return then(agoMs);
    this.#asking.add(nodeId);
    const w = new ByteWriter(64);
    w.string(nodeId);
    const body = w.finish();
    for (const core of cores)
      this.#links.call(core.nodeId, heardMethod, body, heardMs, (failure, answer) => {
        if (failure === undefined) agoMs = Math.min(agoMs, readAgo(answer));
        if (--missing > 0) return;
        this.#asking.delete(nodeId);
        then(agoMs);
      });
  }
}

function readNodeId(body: Uint8Array): string {
  try {
    return new ByteReader(body).string();
  } catch (error) {
    if (error instanceof MalformedError) return '';
    throw error;
  }
}

function readAgo(body: Uint8Array): number {
  try {
    const n = new ByteReader(body).varint();
    return n === 0 ? Number.POSITIVE_INFINITY : n - 1;
  } catch (error) {
    if (error instanceof MalformedError) return Number.POSITIVE_INFINITY;
    throw error;
  }
}

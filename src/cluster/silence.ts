// How long other nodes have been silent, as far as it may be held against them, and who of them need not be
// waited for. Asked by the leader of shard `cluster` once per round. Pure.
//
// Silence counts from when the watcher first asked about a node: a new leader has heard nobody yet, and a
// new member nobody. A watcher that stood still itself (its process
// was stopped, its machine suspended) has heard nobody meanwhile, and what came is not read yet when its
// timers run: that time counts for nobody.

import type { Links } from '#link/api.js';
import { autocleanVotersMin, type CoreRow, type Member } from './schema.js';

/** Rounds further apart than this are a standstill of the watcher. */
const stallMs = 500;

export class Silence {
  #roundAt = 0;
  readonly #heard: Map<string, number> = new Map();

  /** A round of watching, before the questions of that round. */
  round(now: number): void {
    const gap = now - this.#roundAt;
    this.#roundAt = now;
    if (gap <= stallMs) return;
    for (const [nodeId, at] of this.#heard) this.#heard.set(nodeId, at + gap);
  }

  /** Somebody else watches. */
  stop(): void {
    this.#heard.clear();
  }

  /** Milliseconds. `heardAt`: of the last sign of life, if there was one since the watcher's process began. */
  ofNode(nodeId: string, heardAt: number | undefined, now: number): number {
    const last = Math.max(this.#heard.get(nodeId) ?? now, heardAt ?? Number.NEGATIVE_INFINITY);
    this.#heard.set(nodeId, last);
    return Math.max(0, now - last);
  }

  /** Another core has heard it then. */
  heard(nodeId: string, at: number): void {
    this.#heard.set(nodeId, Math.max(at, this.#heard.get(nodeId) ?? at));
  }

  forget(nodeId: string): void {
    this.#heard.delete(nodeId);
  }
}

/** A core that is not connected, while one with a new data directory asks to come in under its name. */
export function isReplaced(m: Member, links: Pick<Links, 'peer' | 'peers'>): boolean {
  return m.role === 'core' && links.peer(m.nodeId) === undefined && links.peers().some((p) => p.name === m.name && p.role === 'core');
}

/**
 * Of a member that is down, `late`: for longer than the operator wants to wait. A core that was taken out is no
 * member any more; another goes only while enough are left.
 */
export function isForgettable(m: Member, late: boolean, cores: ReadonlyMap<string, CoreRow>): boolean {
  if (m.role === 'replicant') return late;
  if (cores.get(m.nodeId)?.wanted === 'removed') return true;
  let wanted = 0;
  for (const c of cores.values()) if (c.wanted === 'voter') wanted++;
  return late && wanted > autocleanVotersMin;
}

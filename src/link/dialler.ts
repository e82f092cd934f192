// Decides when to dial which target, and finds out whether a lost peer's process is dead: its host
// refuses connections. Used by links.ts.
// Invariant: per target at most one attempt or one timer, and none while a link with it is up.
import { toHex } from '#base/bytes.js';
import type { Timer } from '#env/clock.js';
import type { Connection } from '#env/net.js';
import type { DownReason, PeerHello, PeerTarget } from './api.js';
import { DialAttempt, type DialFailure } from './dial.js';
import { linkIdBytes } from './handshake.js';
import type { Link, ReadyLink } from './link.js';
import type { LinkContext } from './link-context.js';

/** A link that lived so long was no mishap: the next dial comes at once. */
const settledMs = 1_000;
/** Two targets that are one node: how often to look whether that is still so. */
const aliasRedialMs = 10_000;
/** When to look, after a link went down, whether the process of the lost peer still listens. */
const probeAtMs: readonly number[] = [0, 50, 150, 400, 900];
const probeTimeoutMs = 300;
const complaintEvery = 30;

interface Target {
  target: PeerTarget;
  attempt: DialAttempt | undefined;
  timer: Timer | undefined;
  failures: number;
  /** Who answered there last. */
  nodeId: string | undefined;
  /** Why it was unwelcome, as last said. */
  complaint: string;
  /** Links in a row that did not live for `settledMs`. */
  shortLives: number;
}

export interface DiallerOwner {
  isLinked(nodeId: string): boolean;
  isLinkedByName(name: string): boolean;
  onLink(ready: ReadyLink): void;
  onDead(peer: PeerHello): void;
}

export class Dialler {
  readonly #context: LinkContext;
  readonly #owner: DiallerOwner;
  readonly #targets = new Map<string, Target>();
  /** Peers whose link went down, until it is up again or their process is known to be dead. */
  readonly #lost = new Map<string, PeerHello>();
  readonly #process: Uint8Array;
  #attempts = 0;
  #running = false;

  constructor(context: LinkContext, owner: DiallerOwner) {
    this.#context = context;
    this.#owner = owner;
    this.#process = context.env.random.bytes(linkIdBytes / 2);
  }

  /** Begins to dial: our own address is known. */
  start(): void {
    this.#running = true;
    for (const one of this.#targets.values()) this.#dialSoon(one);
  }

  close(): void {
    this.#running = false;
    for (const one of this.#targets.values()) stop(one);
    this.#lost.clear();
  }

  /** Returns the names that were targets and are no longer. */
  setTargets(targets: readonly PeerTarget[]): string[] {
    const { self } = this.#context;
    const wanted = new Map(targets.filter((t) => t.name !== self.name).map((t) => [t.name, t]));
    const removed: string[] = [];
    for (const [name, one] of [...this.#targets]) {
      if (wanted.has(name)) continue;
      stop(one);
      this.#targets.delete(name);
      removed.push(name);
      for (const [nodeId, lost] of this.#lost) if (lost.name === name) this.#lost.delete(nodeId);
    }
    for (const [name, target] of wanted) {
      const known = this.#targets.get(name);
      if (known === undefined) {
        const made: Target = { target, attempt: undefined, timer: undefined, failures: 0, nodeId: undefined, complaint: '', shortLives: 0 };
        this.#targets.set(name, made);
        this.#dialSoon(made);
        continue;
      }
      const moved = known.target.host !== target.host || known.target.port !== target.port || known.target.role !== target.role;
      const ours = target.dial === true && known.target.dial !== true;
      known.target = target;
      if (ours) this.#dialSoon(known);
      if (!moved) continue;
      stop(known);
      known.failures = 0;
      this.#dialSoon(known);
    }
    return removed;
  }

  answeredAt(target: string): string | undefined {
    return this.#targets.get(target)?.nodeId;
  }

  /** The linkId is one of this process's attempts. */
  isOwn(linkId: string): boolean {
    return linkId.startsWith(toHex(this.#process));
  }

  linkUp(link: Link): void {
    this.#lost.delete(link.peer.nodeId);
    // Another node answers there now: nothing can be learnt of the old one any more.
    for (const [nodeId, lost] of this.#lost) if (lost.host === link.peer.host && lost.port === link.peer.port) this.#lost.delete(nodeId);
    for (const one of this.#of(link)) {
      stop(one);
      one.complaint = '';
    }
  }

  linkDown(link: Link, reason: DownReason): void {
    if (!this.#running) return;
    if (reason !== 'local' && link.peer.port !== 0) {
      this.#lost.set(link.peer.nodeId, link.peer);
      this.#probe(link.peer);
    }
    const lived = this.#context.env.clock.now() - link.upAt;
    for (const one of this.#of(link)) {
      stop(one);
      // Links that come and go are made ever more slowly.
      one.shortLives = lived >= settledMs ? 0 : one.shortLives + 1;
      one.failures = one.shortLives;
      // By chance: the other side may have dialled at the same time, and would again.
      const { limits, env } = this.#context;
      this.#dialSoon(one, reason === 'replaced' ? limits.redialMaxMs * (0.5 + env.random.next() / 2) : undefined);
    }
  }

  #of(link: Link): Target[] {
    const { name, nodeId } = link.peer;
    const found: Target[] = [];
    // A node may be a target under several names, or by its address.
    for (const [of, one] of this.#targets) if (of === name || of === link.dialled || one.nodeId === nodeId) found.push(one);
    return found;
  }

  /** A replicant dials every core; between equals the smaller name dials. */
  #isOurs(target: PeerTarget): boolean {
    const { self } = this.#context;
    if (target.dial === true) return true;
    if (self.role !== target.role) return self.role === 'replicant';
    return self.name < target.name;
  }

  #dialSoon(one: Target, waitMs?: number): void {
    if (!this.#running || !this.#isOurs(one.target) || one.attempt !== undefined || one.timer !== undefined) return;
    if (this.#owner.isLinkedByName(one.target.name)) return;
    const { limits, env } = this.#context;
    let wait = waitMs;
    if (wait === undefined) {
      const full = Math.min(limits.redialMaxMs, limits.redialMinMs * 2 ** Math.min(one.failures - 1, 20));
      wait = one.failures === 0 ? 0 : full * (0.5 + env.random.next() / 2);
    }
    one.timer = env.clock.setTimer(wait, () => {
      one.timer = undefined;
      this.#dial(one);
    });
  }

  #dial(one: Target): void {
    one.attempt = new DialAttempt(this.#context, one.target, this.#nextLinkId(), {
      isLinked: (nodeId) => this.#owner.isLinked(nodeId),
      onAnswered: (attempt, nodeId) => {
        if (one.attempt === attempt) one.nodeId = nodeId;
      },
      onLink: (attempt, ready) => {
        if (one.attempt !== attempt) return;
        one.attempt = undefined;
        this.#owner.onLink(ready);
      },
      onFailure: (attempt, failure, detail) => {
        if (one.attempt !== attempt) return;
        one.attempt = undefined;
        this.#onFailure(one, failure, detail);
      },
    });
  }

  #onFailure(one: Target, failure: DialFailure, detail: string): void {
    one.failures++;
    const { limits, env } = this.#context;
    const { name, host, port } = one.target;
    if (one.nodeId === this.#context.self.nodeId) {
      env.log.info('one of the addresses of other nodes is this node’s own', { host, port });
      return;
    }
    if (failure === 'unwelcome') {
      // The same again and again is said now and then.
      if (one.complaint !== detail || one.failures % complaintEvery === 0)
        env.log.warn('a node refuses the link, or is refused', { name, host, port, detail });
      one.complaint = detail;
    } else if (one.failures === 1 || (failure === 'known' && one.complaint !== detail))
      env.log.info('cannot link with a node; trying again', { name, host, port, detail });
    if (failure === 'known') one.complaint = detail;
    if (failure === 'known') this.#dialSoon(one, aliasRedialMs);
    else this.#dialSoon(one, failure === 'unwelcome' ? limits.redialMaxMs : undefined);
    if (failure !== 'refused') return;
    for (const lost of this.#lost.values()) {
      if (lost.host === host && lost.port === port) {
        this.#isDead(lost);
        return;
      }
    }
  }

  #isDead(peer: PeerHello): void {
    if (this.#lost.get(peer.nodeId) !== peer) return;
    this.#lost.delete(peer.nodeId);
    if (!this.#owner.isLinked(peer.nodeId)) this.#owner.onDead(peer);
  }

  /**
   * Looks a few times whether anybody listens where a lost peer did: a dying process may still take a
   * connection, and the dials come later and later. Then only the dials tell, on the side that dials.
   */
  #probe(peer: PeerHello): void {
    const { clock, net } = this.#context.env;
    const look = (): void => {
      if (this.#lost.get(peer.nodeId) !== peer) return;
      net.connect({ host: peer.host, port: peer.port }, { timeoutMs: probeTimeoutMs }, hangUp, (error) => {
        if (error.code === 'ECONNREFUSED') this.#isDead(peer);
      });
    };
    for (const at of probeAtMs) {
      if (at === 0) look();
      else clock.setTimer(at, look);
    }
    if (this.#dials(peer)) return;
    clock.setTimer((probeAtMs.at(-1) as number) + probeTimeoutMs + 1, () => {
      if (this.#lost.get(peer.nodeId) === peer) this.#lost.delete(peer.nodeId);
    });
  }

  /** True when we go on dialling this peer, and so learn of its death in any case. */
  #dials(peer: PeerHello): boolean {
    for (const { target } of this.#targets.values()) {
      if (target.host === peer.host && target.port === peer.port && this.#isOurs(target)) return true;
    }
    return false;
  }

  /** 8 bytes of this process, then a count: an acceptor tells an older attempt from a newer. */
  #nextLinkId(): Uint8Array {
    const id = new Uint8Array(linkIdBytes);
    id.set(this.#process);
    let count = ++this.#attempts;
    for (let i = linkIdBytes - 1; count > 0; i--) {
      id[i] = count & 255;
      count = Math.floor(count / 256);
    }
    return id;
  }
}

function stop(one: Target): void {
  one.attempt?.abort();
  one.attempt = undefined;
  one.timer?.cancel();
  one.timer = undefined;
}

function hangUp(connection: Connection): void {
  connection.handler = { onData: () => {}, onDrain: () => {}, onClose: () => {} };
  connection.destroy();
}

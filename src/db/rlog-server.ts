// The core's end of all log streams of one shard: one agent per receiver, pumped when something
// was committed, acknowledged or drained.
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { DbBounds } from './bounds.js';
import { Pacer } from './pacer.js';
import { RlogAgent, type RlogSource } from './rlog-agent.js';
import { encodeRlog, type RlogMessage } from './rlog-codec.js';

export interface ServedSource extends RlogSource {
  /** Caught up and in touch with a leader: fit to be followed. */
  readonly readyToServe: boolean;
  /** What this core has told the leader to be visible here. */
  readonly reportedVisible: number;
}

/** A copy that was announced but never fetched holds the log back no longer than this. */
const expectedCopyMs = 60_000;

export class RlogServer {
  readonly #env: Env;
  readonly #links: Links;
  readonly #bounds: DbBounds;
  readonly #source: ServedSource;
  readonly #onVisible: () => void;
  readonly #agents: Map<string, RlogAgent> = new Map();
  readonly #expected: Map<string, { readonly from: number; readonly until: number }> = new Map();
  /** Replicants that asked to count as normal and are still behind what this core has reported. */
  readonly #asking: Set<RlogAgent> = new Set();
  readonly #pacer: Pacer;
  #carried = 0;
  #scheduled = false;
  #closed = false;

  constructor(env: Env, links: Links, bounds: DbBounds, source: ServedSource, onVisible: () => void) {
    this.#env = env;
    this.#links = links;
    this.#bounds = bounds;
    this.#source = source;
    this.#onVisible = onVisible;
    this.#pacer = new Pacer(env.clock, bounds.applyCoalesceMs);
  }

  get streams(): number {
    return this.#agents.size;
  }

  serves(nodeId: string): boolean {
    return this.#agents.has(nodeId);
  }

  receive(from: { readonly nodeId: string; readonly name: string; readonly role: string }, m: RlogMessage): void {
    const agent = this.#agents.get(from.nodeId);
    switch (m.type) {
      case 'open':
        return this.#open(from, m);
      case 'ack':
        if (agent === undefined || agent.stream !== m.stream) return;
        agent.acked(m.visible, m.bytes);
        this.#maybeNormal(agent);
        if (agent.normal) this.#onVisible();
        if (agent.held) this.pumpLater();
        return;
      case 'normal':
        if (agent === undefined || agent.stream !== m.stream) return;
        agent.acked(m.visible, 0);
        this.#asking.add(agent);
        this.#maybeNormal(agent);
        return;
      case 'close':
        if (agent !== undefined && agent.stream === m.stream) this.#drop(agent);
        return;
    }
  }

  #open(from: { readonly nodeId: string; readonly name: string; readonly role: string }, m: Extract<RlogMessage, { type: 'open' }>): void {
    const old = this.#agents.get(from.nodeId);
    if (old !== undefined) this.#drop(old);
    this.#expected.delete(from.nodeId);
    const send = (frame: Uint8Array): boolean => this.#links.send(from.nodeId, 'rlog', frame) === 'sent';
    if (!this.#source.readyToServe) {
      const { shard, historyId, commitIndex } = this.#source;
      send(encodeRlog({ type: 'opened', shard, stream: m.stream, mode: 'later', historyId, commitIndex, rows: 0, why: 'this core is not in sync' }));
      return;
    }
    const agent = new RlogAgent(from, m.stream, this.#source, this.#bounds, send);
    if (!agent.open(m)) return;
    if (agent.copyWhy !== '')
      this.#env.log.info('a node copies the tables', { shard: this.#source.shard, node: from.name, index: m.appliedIndex, why: agent.copyWhy });
    this.#agents.set(from.nodeId, agent);
    this.pumpLater();
  }

  /** Counts as normal once it is not behind what the leader believes of this core: then no promise is broken. */
  #maybeNormal(agent: RlogAgent): void {
    if (!this.#asking.has(agent) || agent.visible < this.#source.reportedVisible) return;
    this.#asking.delete(agent);
    if (agent.isReplicant) agent.confirmNormal();
    this.#onVisible();
  }

  #drop(agent: RlogAgent): void {
    agent.closed = true;
    this.#asking.delete(agent);
    if (this.#agents.get(agent.receiver) === agent) this.#agents.delete(agent.receiver);
    if (agent.normal) this.#onVisible();
  }

  peerDown(nodeId: string): void {
    const agent = this.#agents.get(nodeId);
    if (agent !== undefined) this.#drop(agent);
  }

  /** A follower was told to copy this core's tables: keep the log from here for it. */
  expectCopy(nodeId: string): void {
    this.#expected.set(nodeId, { from: this.#source.appliedIndex + 1, until: this.#env.clock.now() + expectedCopyMs });
  }

  /** Lowest index that some stream still has to be sent. */
  oldestNeeded(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const a of this.#agents.values()) if (a.next < oldest) oldest = a.next;
    const now = this.#env.clock.now();
    for (const [id, e] of this.#expected) {
      if (e.until < now) this.#expected.delete(id);
      else if (e.from < oldest) oldest = e.from;
    }
    return oldest;
  }

  visibleOfNormal(): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const a of this.#agents.values()) if (a.normal && a.visible < lowest) lowest = a.visible;
    return lowest;
  }

  replicants(): string[] {
    const names: string[] = [];
    for (const a of this.#agents.values()) if (a.isReplicant) names.push(a.receiverName);
    return names.sort();
  }

  /** Entries committed and not yet handed to the slowest stream that is not catching up from disk. */
  backlog(): number {
    let most = 0;
    for (const a of this.#agents.values()) if (!a.catchingUp && a.backlog > most) most = a.backlog;
    return most;
  }

  /** Something was committed: the streams hear of it at the end of the turn, or a little later under load. */
  committed(): void {
    if (this.#scheduled || this.#closed || this.#agents.size === 0) return;
    if (!this.#pacer.holds(() => this.pumpLater())) this.pumpLater();
  }

  /** Once per turn, after everything that the turn committed. */
  pumpLater(): void {
    if (this.#scheduled || this.#closed || this.#agents.size === 0) return;
    this.#scheduled = true;
    this.#env.clock.endOfTurn(() => {
      this.#scheduled = false;
      if (this.#closed) return;
      const { committedTransactions } = this.#source;
      this.#pacer.ran(this.#env.clock.now(), committedTransactions - this.#carried);
      this.#carried = committedTransactions;
      for (const agent of [...this.#agents.values()]) {
        agent.pump();
        if (agent.closed) this.#drop(agent);
      }
    });
  }

  /** Ends all streams; their receivers look for another core. */
  dismiss(why: string): void {
    for (const agent of [...this.#agents.values()]) {
      agent.close(why);
      this.#drop(agent);
    }
  }

  close(): void {
    this.#closed = true;
    this.#pacer.reset();
    for (const agent of this.#agents.values()) agent.close('this core is stopping');
    this.#agents.clear();
  }
}

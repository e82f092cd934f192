// This node's part in the cluster: forms it (cores), joins it, watches the others, notices that it
// was declared dead and joins anew without a restart, and tells links and database who is there.
import { toHex } from '#base/bytes.js';
import type { NodeDatabase } from '#db/database.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Links, NodeRole, PeerHello, PeerTarget } from '#link/api.js';
import { decideFormation, decodeFormation, encodeFormation, type Formed } from './formation.js';
import { decodeIncarnation, decodeMember, encodeFence, encodeJoin, type Member, memberShard, membersTable } from './schema.js';
import { Silence } from './silence.js';

export interface ClusterOptions {
  readonly env: Env;
  readonly links: Links;
  readonly database: NodeDatabase;
  readonly nodeId: string;
  readonly name: string;
  readonly role: NodeRole;
  /** Where others dial this node's cluster port. */
  readonly host: string;
  readonly port: number;
  /** The configured cores, this node included if it is one. */
  readonly cores: readonly PeerTarget[];
  readonly nodeDownAfterMs: number;
  /** Down replicants are forgotten after this; Infinity: never. */
  readonly autocleanMs: number;
  /** As kept on disk from an earlier start. */
  readonly formed: Formed | undefined;
  /** Keeps it durably before anything relies on it. */
  readonly saveFormed: (formed: Formed, done: (error: Error | undefined) => void) => void;
  readonly onFatal: (error: Error) => void;
}

const stepMs = 100;
const joinDeadlineMs = 10_000;
const fenceDeadlineMs = 5_000;

export type ClusterPhase = 'forming' | 'joining' | 'joined' | 'refused' | 'stopped';

export class Cluster {
  readonly #o: ClusterOptions;
  readonly #coreNames: readonly string[];
  #formed: Formed | undefined;
  #phase: ClusterPhase = 'forming';
  #why = 'starting';
  #timer: Timer | undefined;
  #joining = false;
  #forming = false;
  #started = false;
  readonly #silence: Silence = new Silence();
  readonly #fencing: Set<string> = new Set();
  readonly #members: Map<string, Member> = new Map();
  readonly #listeners: (() => void)[] = [];

  constructor(options: ClusterOptions) {
    this.#o = options;
    this.#formed = options.formed;
    this.#coreNames = options.cores.map((c) => c.name).sort();
    options.database.setMembers(() => this.#members.values());
    options.database.onFenced = (incarnation) => this.#fenced(incarnation);
    options.database.onLeadership = () => options.database.reconcile();
  }

  get phase(): ClusterPhase {
    return this.#phase;
  }

  /** What the node is waiting for, for status and logs. */
  get why(): string {
    return this.#why;
  }

  get clusterId(): string {
    return this.#formed?.clusterId ?? '';
  }

  members(): IterableIterator<Member> {
    return this.#members.values();
  }

  member(nodeId: string): Member | undefined {
    return this.#members.get(nodeId);
  }

  /** Joined, and this incarnation is live and every held shard in sync: the node can serve clients. */
  get serving(): boolean {
    const { database } = this.#o;
    if (this.#phase !== 'joined' || database.incarnation === 0) return false;
    return database.status().every((s) => !database.holds(s.shard) || (database.inSync(s.shard) && database.isLive(s.shard, database.incarnation)));
  }

  /** Runs after every change of the members table. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  start(): void {
    const { links, database, role } = this.#o;
    this.#announce();
    links.setTargets(this.#o.cores.filter((c) => c.name !== this.#o.name));
    links.listen({ onUp: () => this.#step(), onDown: () => this.#step() });
    database.subscribe(memberShard, {
      reset: () => this.#readMembers(),
      change: () => {},
      purged: () => {},
      applied: () => this.#readMembers(),
    });
    if (role === 'replicant') {
      this.#phase = 'joining';
      database.startReplicas();
    }
    this.#step();
    this.#tick();
  }

  #tick(): void {
    this.#timer = this.#o.env.clock.setTimer(stepMs, () => {
      if (this.#phase === 'stopped') return;
      this.#step();
      this.#watch();
      this.#tick();
    });
  }

  #announce(): void {
    const info = this.#o.role === 'core' ? encodeFormation({ cores: this.#coreNames, formed: this.#formed }) : new Uint8Array(0);
    this.#o.links.updateSelf({ clusterId: this.clusterId, info });
  }

  #say(why: string): void {
    if (why === this.#why) return;
    this.#why = why;
    if (why !== '') this.#o.env.log.info('cluster', { phase: this.#phase, waiting: why });
  }

  #step(): void {
    if (this.#phase === 'stopped' || this.#phase === 'refused') return;
    if (this.#o.role === 'core') {
      if (this.#formed === undefined) return this.#form();
      if (!this.#started) return this.#startCores(this.#formed);
    }
    if (this.#phase === 'joining') this.#join();
  }

  // ---- formation ----

  #form(): void {
    if (this.#forming) return;
    const { links, name, nodeId, env } = this.#o;
    const peers = links
      .peers()
      .filter((p: PeerHello) => p.role === 'core')
      .map((p) => ({ name: p.name, nodeId: p.nodeId, info: decodeFormation(p.info) }));
    const step = decideFormation({ name, nodeId, cores: this.#coreNames }, peers);
    switch (step.type) {
      case 'wait':
        return this.#say(step.why);
      case 'refuse':
        this.#phase = 'refused';
        this.#say(step.why);
        env.log.error('this core cannot join the cluster', { why: step.why });
        return;
      case 'mint':
        return this.#keep({ clusterId: toHex(env.random.bytes(16)), voters: step.voters });
      case 'adopt':
        return this.#keep(step.formed);
    }
  }

  #keep(formed: Formed): void {
    this.#forming = true;
    this.#o.saveFormed(formed, (error) => {
      this.#forming = false;
      if (this.#phase === 'stopped') return;
      if (error !== undefined) return this.#o.onFatal(error);
      this.#formed = formed;
      this.#announce();
      this.#o.env.log.info('cluster formed', { clusterId: formed.clusterId, voters: formed.voters.length });
      this.#step();
    });
  }

  #startCores(formed: Formed): void {
    this.#started = true;
    if (!formed.voters.includes(this.#o.nodeId)) {
      this.#phase = 'refused';
      return this.#say('this node id is not one of the cluster’s cores: was the data directory cloned?');
    }
    this.#o.database.startCores(formed, (error) => {
      if (this.#phase === 'stopped') return;
      if (error !== undefined) return this.#o.onFatal(error);
      this.#phase = 'joining';
      this.#step();
    });
  }

  // ---- joining ----

  #join(): void {
    if (this.#joining) return;
    const { database, nodeId, name, role, host, port, links, env } = this.#o;
    this.#joining = true;
    this.#say('joining');
    database.commandUnjoined(memberShard, 'join', encodeJoin({ nodeId, name, role, host, port }), joinDeadlineMs, (failure, result) => {
      this.#joining = false;
      if (this.#phase !== 'joining') return;
      if (failure?.kind === 'refused') {
        this.#phase = 'refused';
        this.#say(failure.message);
        env.log.error('the cluster refused this node', { why: failure.message });
        return;
      }
      if (failure !== undefined) return this.#say(failure.message);
      const incarnation = decodeIncarnation(result.reply);
      this.#phase = 'joined';
      this.#say('');
      this.#adoptClusterId();
      env.log.info('joined the cluster', { incarnation });
      links.updateSelf({ incarnation });
      database.setIncarnation(incarnation);
      // A fence that overtook the reply shows in the members table.
      this.#checkSelf();
    });
  }

  #adoptClusterId(): void {
    if (this.#formed !== undefined) return;
    for (const p of this.#o.links.peers()) {
      if (p.role !== 'core' || p.clusterId === '') continue;
      const formed: Formed = { clusterId: p.clusterId, voters: [] };
      this.#formed = formed;
      this.#o.links.updateSelf({ clusterId: p.clusterId });
      this.#o.saveFormed(formed, (error) => {
        if (error !== undefined) this.#o.onFatal(error);
      });
      return;
    }
  }

  /** This incarnation was declared dead while the node lived: take a new one, without a restart. */
  #fenced(incarnation: number): void {
    if (this.#phase !== 'joined' || incarnation !== this.#o.database.incarnation) return;
    this.#o.env.log.warn('this node was declared down; it joins again', { incarnation });
    this.#phase = 'joining';
    this.#step();
  }

  #checkSelf(): void {
    const { database, nodeId } = this.#o;
    const self = this.#members.get(nodeId);
    if (self === undefined || database.incarnation === 0) return;
    // A newer one of our own: a join that was sent twice was also executed twice, and the later one counts.
    if (self.incarnation > database.incarnation || (!self.up && self.incarnation === database.incarnation)) this.#fenced(database.incarnation);
  }

  // ---- members ----

  #readMembers(): void {
    const { database, links, name } = this.#o;
    this.#members.clear();
    database.range(membersTable, new Uint8Array(0), undefined, (_key, row) => {
      const m = decodeMember(row.value);
      this.#members.set(m.nodeId, m);
      return true;
    });
    const targets = new Map<string, PeerTarget>();
    for (const c of this.#o.cores) targets.set(c.name, c);
    for (const m of this.#members.values()) if (m.up) targets.set(m.name, { name: m.name, role: m.role, host: m.host, port: m.port });
    targets.delete(name);
    links.setTargets([...targets.values()]);
    database.reconcile();
    this.#checkSelf();
    for (const listener of this.#listeners) listener();
  }

  // ---- watching the others (leader of shard `cluster` only) ----

  #watch(): void {
    const { database, env, links, nodeId } = this.#o;
    const leads = database.coreShard(memberShard)?.leader !== undefined;
    const now = env.clock.now();
    if (!leads) {
      this.#silence.stop();
      return;
    }
    // A new leader has heard nobody yet: silence counts from the start of its leadership.
    this.#silence.round(now);
    for (const m of this.#members.values()) {
      if (m.nodeId === nodeId) continue;
      if (m.up) {
        if (this.#silence.ofNode(m.nodeId, links.lastHeardAt(m.nodeId), now) > this.#o.nodeDownAfterMs) this.#declare('fence', m);
        continue;
      }
      this.#silence.forget(m.nodeId);
      if (m.role === 'replicant' && env.clock.wallNow() - m.changedMs > this.#o.autocleanMs) this.#declare('forget', m);
    }
  }

  #declare(command: 'fence' | 'forget', m: Member): void {
    if (this.#fencing.has(m.nodeId)) return;
    this.#fencing.add(m.nodeId);
    this.#o.env.log.warn('node is down', { node: m.name, incarnation: m.incarnation, action: command });
    this.#o.database.command(memberShard, command, encodeFence(m.nodeId, m.incarnation), { deadlineMs: fenceDeadlineMs }, () => {
      this.#fencing.delete(m.nodeId);
    });
  }

  stop(): void {
    this.#phase = 'stopped';
    this.#timer?.cancel();
  }
}

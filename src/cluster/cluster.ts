// This node's part in the cluster: forms it (cores), joins it, watches the others, notices that it
// was declared dead and joins anew without a restart, and tells links and database who is there and
// which nodes shall be in the Raft groups. How a core leaves is in leaving.ts.
import { relayInfo } from '#db/relay-info.js';
import type { Timer } from '#env/clock.js';
import type { PeerTarget } from '#link/api.js';
import { encodeFormation, type Formed, formationOf } from './formation.js';
import { Forming } from './forming.js';
import { Hearsay } from './hearsay.js';
import { Leaving } from './leaving.js';
import { type LevelFeature, Levels } from './level.js';
import type { ClusterOptions } from './options.js';
import { Promotion } from './promotion.js';
import { Histories } from './recovery.js';
import {
  type CoreRow,
  coresTable,
  decodeCore,
  decodeJoinReply,
  decodeMember,
  encodeFence,
  encodeJoin,
  type KnownCore,
  type Member,
  memberShard,
  membersTable,
  mintedIncarnation,
} from './schema.js';
import { isForgettable, isReplaced, Silence } from './silence.js';
import { copiedAdvice, Twins } from './twins.js';
import { Whereabouts } from './whereabouts.js';

const stepMs = 100;
const joinDeadlineMs = 10_000;
const fenceDeadlineMs = 5_000;
/** Between two attempts to join under a name that is still another's. */
const joinAgainMs = 500;

/** leaving: taken out of the Raft groups, by itself or by others · left: it is out. */
export type ClusterPhase = 'forming' | 'joining' | 'joined' | 'leaving' | 'left' | 'refused' | 'stopped';

export class Cluster {
  readonly #o: ClusterOptions;
  readonly #coreNames: readonly string[];
  #formed: Formed | undefined;
  #phase: ClusterPhase = 'forming';
  #why = 'starting';
  #timer: Timer | undefined;
  #joining = false;
  #started = false;
  readonly #silence: Silence = new Silence();
  readonly #fencing: Set<string> = new Set();
  readonly #members: Map<string, Member> = new Map();
  readonly #cores: Map<string, CoreRow> = new Map();
  readonly #whereabouts: Whereabouts;
  readonly #forming: Forming;
  readonly #leaving: Leaving;
  readonly #promotion: Promotion;
  readonly #histories: Histories;
  readonly #twins: Twins;
  readonly #hearsay: Hearsay;
  readonly #levels: Levels;
  #minted = 0;
  /** Tables of which rows changed since they were read. */
  readonly #changed: Set<number> = new Set();
  #joinAt = 0;
  readonly #listeners: (() => void)[] = [];

  constructor(options: ClusterOptions) {
    this.#o = options;
    this.#formed = options.formed;
    this.#whereabouts = new Whereabouts(options, () => this.#members.values());
    this.#twins = new Twins(options);
    this.#hearsay = new Hearsay(options.links, options.env.clock);
    this.#levels = new Levels(options);
    this.#coreNames = options.cores.map((c) => c.name).sort();
    this.#forming = new Forming(options, this.#coreNames, {
      waits: (why) => this.#say(why),
      unknown: () => this.#whereabouts.unknown(),
      stopped: () => this.#phase === 'stopped',
      formed: (formed) => {
        this.#formed = formed;
        this.#announce();
        this.#step();
      },
    });
    this.#leaving = new Leaving(options, {
      cores: () => this.#cores,
      members: () => this.#members,
      left: () => {
        this.#phase = 'left';
        this.#say('');
        options.env.log.info('this core has left the cluster');
        options.onLeft();
      },
      leaving: () => {
        this.#phase = 'leaving';
        this.#say('being taken out of the Raft groups');
      },
    });
    this.#promotion = new Promotion(
      { ...options, log: options.env.log },
      {
        members: () => this.#members,
        clusterId: () => this.clusterId,
        joined: () => this.#phase === 'joined',
        isCore: (formed) => {
          this.#formed = formed;
          this.#started = true;
          options.links.updateSelf({ role: 'core' });
          this.#announce();
        },
      },
    );
    this.#histories = new Histories(
      options,
      () => this.#formed,
      (formed) => {
        this.#formed = formed;
        this.#fenced(options.database.incarnation);
      },
    );
    options.database.setMembers(
      () => this.#members.values(),
      () => this.#minted,
    );
    options.database.setCores(
      () => this.#cores.values(),
      (nodeId, done) => this.#leaving.outElsewhere(nodeId, done),
    );
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
    return database.shards.every((s) => !database.holds(s) || (database.inSync(s) && database.isLive(s, database.incarnation)));
  }

  /** Every member can do it. */
  hasFeature(feature: LevelFeature): boolean {
    return this.#levels.hasFeature(feature);
  }

  /** Runs after every change of the members table. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  start(): void {
    const { links, database, role } = this.#o;
    this.#announce();
    this.#whereabouts.start();
    links.listen({
      onUp: (peer) => {
        this.#histories.meet(peer);
        this.#step();
      },
      onChange: (peer) => this.#histories.meet(peer),
      onDown: () => this.#step(),
    });
    database.subscribe(memberShard, {
      reset: () => this.#readMembers(),
      change: (table) => this.#changed.add(table.id),
      purged: () => {},
      applied: () => (this.#changed.size > 0 ? this.#readMembers() : database.reconcile()),
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
      this.#o.database.changeCores();
      this.#tick();
    });
  }

  #announce(): void {
    const info =
      this.#o.database.role === 'core'
        ? encodeFormation({ cores: this.#coreNames, formed: this.#formed })
        : this.#o.database.relay
          ? relayInfo
          : new Uint8Array(0);
    this.#o.links.updateSelf({ clusterId: this.clusterId, info });
  }

  #say(why: string): void {
    if (why === this.#why) return;
    this.#why = why;
    if (why !== '') this.#o.env.log.info('cluster', { phase: this.#phase, waiting: why });
  }

  #step(): void {
    if (this.#phase === 'stopped' || this.#phase === 'refused' || this.#phase === 'left') return;
    const core = this.#o.database.coreShard(memberShard);
    const lost = core !== undefined ? core.raft.leader === '' : this.#o.links.peers().every((p) => p.role !== 'core');
    this.#whereabouts.step(this.#phase === 'joined' ? (lost ? 'lost' : 'joined') : this.#phase === 'forming' ? 'forming' : 'joining', () => {
      if (core !== undefined) this.#leaving.suspect();
    });
    if (this.#o.database.role === 'core' && this.#phase !== 'joined') {
      if (this.#formed === undefined) return this.#forming.step();
      if (!this.#started) return this.#startCores(this.#formed);
    }
    if (this.#phase === 'joining') this.#join();
    else if (this.#phase === 'leaving') this.#leaving.step();
    else {
      this.#promotion.tell();
      this.#levels.tell(this.#members.get(this.#o.nodeId));
    }
  }

  /** Another node of the cluster that this one shall join: `host:port`, or under its name. */
  addSeed(target: PeerTarget): void {
    this.#whereabouts.add(target);
  }

  #startCores(formed: Formed): void {
    this.#started = true;
    const recovery = this.#o.recover === true ? formed.recovery : undefined;
    const joining = (): void => {
      if (this.#phase === 'stopped') return;
      this.#phase = 'joining';
      this.#step();
    };
    this.#o.database.startCores(formationOf(formed, recovery !== undefined), (error) => {
      if (this.#phase === 'stopped') return;
      if (error !== undefined) return this.#o.onFatal(error);
      if (recovery === undefined) joining();
      else this.#histories.begin(recovery, joining);
    });
  }

  // ---- joining ----

  #join(): void {
    const { clock } = this.#o.env;
    if (this.#joining || clock.now() < this.#joinAt) return;
    if (this.#why === '' || this.#phase === 'forming') this.#say('joining');
    // With nobody there is nobody to ask, nor to join, but for a core that leads by itself.
    const leads = this.#o.database.coreShard(memberShard)?.leader !== undefined;
    if (!leads && this.#o.links.peers().every((p) => p.role !== 'core')) return;
    this.#joining = true;
    this.#twins.look((why, stays) => {
      if (this.#phase === 'joining' && why === undefined) return this.#askToJoin();
      this.#joining = false;
      if (this.#phase !== 'joining' || why === undefined) return;
      this.#joinAt = clock.now() + joinAgainMs;
      this.#say(why);
      if (stays) this.#o.onFatal(new Error(why));
    });
  }

  #askToJoin(): void {
    const { database, nodeId, name, host, port, links, env } = this.#o;
    const { role, incarnation } = database;
    const lives = this.#o.lives?.() ?? [];
    const founders: KnownCore[] = [];
    this.#formed?.names?.forEach((of, i) => {
      founders.push({ nodeId: this.#formed?.voters[i] ?? '', name: of });
    });
    database.commandUnjoined(
      memberShard,
      'join',
      encodeJoin({ nodeId, name, role, host, port, founders, incarnation, lives, level: this.#levels.own }),
      joinDeadlineMs,
      (failure, result) => {
        this.#joining = false;
        if (this.#phase !== 'joining') return;
        if (failure?.kind === 'refused') {
          this.#phase = 'refused';
          this.#say(failure.message);
          env.log.error('the cluster refused this node', { why: failure.message });
          return;
        }
        if (failure !== undefined) return this.#say(failure.message);
        const { outcome, incarnation } = decodeJoinReply(result.reply);
        if (outcome === 'nameInUse') {
          this.#joinAt = env.clock.now() + joinAgainMs;
          return this.#say(`a core ${name} with another node id counts as up: this one is admitted once that is known to be gone`);
        }
        if (outcome === 'copied') return this.#o.onFatal(new Error(`another process joined with the identity of this one: ${copiedAdvice}`));
        if (outcome === 'removed') {
          env.log.warn('this core was taken out of the cluster');
          return this.#leaving.begin();
        }
        this.#phase = 'joined';
        this.#say('');
        this.#adoptClusterId();
        this.#o.saveJoined?.((error) => error !== undefined && this.#o.onFatal(error));
        env.log.info('joined the cluster', { incarnation });
        links.updateSelf({ incarnation });
        database.setIncarnation(incarnation);
        // A fence that overtook the reply shows in the members table.
        this.#checkSelf();
      },
    );
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
    const { database } = this.#o;
    this.#changed.clear();
    this.#members.clear();
    database.range(membersTable, new Uint8Array(0), undefined, (_key, row) => {
      const m = decodeMember(row.value);
      this.#members.set(m.nodeId, m);
      return true;
    });
    this.#levels.read(this.#members.values());
    this.#minted = mintedIncarnation(database);
    this.#cores.clear();
    database.range(coresTable, new Uint8Array(0), undefined, (_key, row) => {
      const c = decodeCore(row.value);
      this.#cores.set(c.nodeId, c);
      return true;
    });
    this.#whereabouts.set();
    database.reconcile();
    database.changeCores();
    if (this.#phase === 'joined' && this.#cores.get(this.#o.nodeId)?.wanted === 'removed') this.#leaving.begin();
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
    if (this.#o.coreAutoPromote > 0) this.#promotion.watch(this.#o.coreAutoPromote);
    // A new leader has heard nobody yet: silence counts from the start of its leadership.
    this.#silence.round(now);
    for (const m of this.#members.values()) {
      if (m.nodeId === nodeId) continue;
      if (m.up) {
        const silent = this.#silence.ofNode(m.nodeId, links.lastHeardAt(m.nodeId), now) > this.#o.nodeDownAfterMs;
        if (isReplaced(m, links)) this.#declare('fence', m);
        else if (silent) this.#hearsay.ask(m.nodeId, (agoMs) => this.#silent(m, agoMs));
        continue;
      }
      this.#silence.forget(m.nodeId);
      if (isForgettable(m, env.clock.wallNow() - m.changedMs > this.#o.autocleanMs, this.#cores)) this.#declare('forget', m);
    }
  }

  /** This core has heard nothing of it for too long; the others since `agoMs`. */
  #silent(m: Member, agoMs: number): void {
    const { env, database, nodeDownAfterMs } = this.#o;
    if (agoMs <= nodeDownAfterMs) this.#silence.heard(m.nodeId, env.clock.now() - agoMs);
    else if (database.coreShard(memberShard)?.leader !== undefined) this.#declare('fence', m);
  }

  // ---- changing the set of cores ----

  /** Which nodes the Raft groups shall consist of, and which never again. */
  cores(): IterableIterator<CoreRow> {
    return this.#cores.values();
  }

  /** Why this node cannot leave now, as far as it knows; undefined: it can. */
  leaveRefusal(): string | undefined {
    return this.#phase === 'joined' ? this.#leaving.refusal() : `this node has not joined a cluster (${this.#why || this.#phase})`;
  }

  /** Takes this node out of the cluster for good; `done` with the reason when that cannot be. It serves no clients any more. */
  leave(done: (refused: string | undefined) => void): void {
    const refused = this.leaveRefusal();
    if (refused !== undefined) return done(refused);
    this.#leaving.ask(done);
  }

  /** Makes a replicant a core. */
  promote(name: string, done: (refused: string | undefined) => void): void {
    this.#promotion.promote(name, done);
  }

  /** Takes another node out that does not come back. */
  forceLeave(name: string, done: (refused: string | undefined) => void): void {
    this.#leaving.force(name, done);
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
    this.#whereabouts.stop();
  }
}

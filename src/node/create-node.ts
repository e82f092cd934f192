// The whole node over an `Env`: the database half (`node-core.ts`), the clustered half of the broker
// over it, the broker, and its listeners. Used by `start-node.ts` over the real world and by the
// simulator over its own, so nothing of Node is touched here.
// Invariants: no client is accepted before the node has joined and every shard it holds is in sync;
// from then on the listeners stay open, whatever becomes of the cluster, until `stop`.
import type { AccessControl } from '#auth/access-control.js';
import { AuthAdmin } from '#auth/admin.js';
import { type AuthSettings, adminSettings, buildAccess, openSettings } from '#auth/build.js';
import { PasswordHasher } from '#auth/password.js';
import { authSchema } from '#auth/schema.js';
import { utf8Encode } from '#base/utf8.js';
import { NodeHandover } from '#broker/adoption.js';
import { type Broker, createBroker } from '#broker/broker.js';
import { type DelayedOptions, ReplicatedDelayed } from '#broker/delayed.js';
import type { DurableOptions } from '#broker/durable-options.js';
import { ReplicatedExclusive } from '#broker/exclusive.js';
import { type ForwardOptions, NodeForwarder } from '#broker/forward.js';
import type { BrokerOptions } from '#broker/options.js';
import type { BrokerPorts } from '#broker/ports.js';
import { ClusterRegistry, type RegistryOptions } from '#broker/registry.js';
import { ReplicatedRetained, type RetainedOptions } from '#broker/retained.js';
import { RouteSync } from '#broker/route-sync.js';
import type { RouteSyncSettings } from '#broker/route-table.js';
import { brokerSchema } from '#broker/schema.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { NetAddress, NetError } from '#env/net.js';
import type { Listener } from '#listener/listener.js';
import { Listeners } from '#listener/listeners.js';
import { defaultListenerOptions, type ListenerOptions } from '#listener/options.js';
import { RecoveringSessions } from '#session/session-record.js';
import { type JournalOptions, openJournal } from '#store/journal.js';
import { JournalVersionError } from '#store/journal-recovery.js';
import { DataDirectoryError } from './data-directory-error.js';
import { MemoryWatch, type MemoryWatchOptions } from './memory-watch.js';
import { createNodeCore, type NodeCore, type NodeCoreOptions } from './node-core.js';

export interface NodeOptions {
  /** `schemas`: shards beside the broker's. */
  readonly core: Omit<NodeCoreOptions, 'schemas'> & { readonly schemas?: NodeCoreOptions['schemas'] };
  /** None: a core that only keeps data. */
  readonly listeners: readonly Partial<ListenerOptions>[];
  readonly broker?: Partial<BrokerOptions>;
  readonly routes?: Partial<RouteSyncSettings>;
  readonly forward?: Partial<ForwardOptions>;
  readonly retained?: Partial<RetainedOptions>;
  readonly registry?: Partial<RegistryOptions>;
  /** undefined: `$delayed/…` are names like any other. */
  readonly delayed?: Partial<DelayedOptions> | undefined;
  /** Persistent sessions on this node's disk (docs/sessions.md). */
  readonly sessions?: SessionOptions;
  /** Absent: everybody may come in and do everything, unless banned. */
  readonly auth?: AuthSettings;
  /** Absent, or where the world does not say what memory there is: it is not watched. */
  readonly overload?: MemoryWatchOptions | undefined;
  /** The listeners accept clients: once. */
  readonly onServing?: (node: StarmeshNode) => void;
  readonly onListenerError?: (listener: Listener, error: NetError) => void;
}

export interface SessionOptions extends Partial<DurableOptions> {
  /** `durable_sessions.enable`; default true. */
  readonly enable?: boolean;
  readonly segmentBytes?: number;
}

/** How often a node that does not serve yet looks whether it can. */
const servingPollMs = 20;
/** While stopping: how long clients have to take their DISCONNECT, and the last writes to reach the leader. */
const farewellMs = 1_000;
const farewellPollMs = 20;

export type NodeState = 'starting' | 'running' | 'stopping';

export class StarmeshNode {
  readonly core: NodeCore;
  readonly broker: Broker;
  readonly routes: RouteSync;
  readonly forwarder: NodeForwarder;
  readonly retained: ReplicatedRetained;
  readonly registry: ClusterRegistry;
  readonly delayed: ReplicatedDelayed | undefined;
  readonly exclusive: ReplicatedExclusive;
  readonly access: AccessControl;
  readonly authAdmin: AuthAdmin;
  readonly listeners: Listeners;
  readonly memory: MemoryWatch | undefined;
  readonly #env: Env;
  readonly #options: NodeOptions;
  readonly #hasher: PasswordHasher;
  /** Of the messages: a plain object, as the broker that warms the code up has it. */
  readonly #identity: { incarnation: number } = { incarnation: 0 };
  #state: NodeState = 'starting';
  #timer: Timer | undefined;
  #stopped = false;

  constructor(env: Env, options: NodeOptions) {
    this.#env = env;
    this.#options = options;
    const core = createNodeCore(env, { ...options.core, schemas: [...brokerSchema, ...authSchema, ...(options.core.schemas ?? [])] });
    const { database, links, cluster } = core;
    this.core = core;
    this.forwarder = new NodeForwarder(env, links, database, options.forward);
    this.routes = new RouteSync(env, database, options.routes, {
      nodeName: (nodeId) => cluster.member(nodeId)?.name,
      onPurged: (nodeId, incarnation) => this.forwarder.purged(nodeId, incarnation),
    });
    this.retained = new ReplicatedRetained(env, database, options.retained);
    this.registry = new ClusterRegistry(env, database, links, options.registry);
    this.registry.beforeHandOver = (done) => this.forwarder.arrived(done);
    this.registry.keepsWills = () => cluster.hasFeature('registeredWills');
    this.delayed = options.delayed === undefined ? undefined : new ReplicatedDelayed(env, database, options.delayed);
    this.exclusive = new ReplicatedExclusive(env, database);
    const ports: BrokerPorts = {
      routes: this.routes,
      shared: this.routes.shared,
      forwarder: this.forwarder,
      retained: this.retained,
      registry: this.registry,
      delayed: this.delayed,
      exclusive: this.exclusive,
      handover: new NodeHandover(links, (nodeId) => cluster.member(nodeId)?.up === true),
      identity: this.#identity,
    };
    database.onIncarnation((incarnation) => {
      this.#identity.incarnation = incarnation;
    });
    const auth = options.auth ?? openSettings;
    this.#hasher = new PasswordHasher(env.metrics);
    const decoySecret = env.hash.sha256(utf8Encode(`names without an account: ${options.core.cookie}`));
    this.access = buildAccess(env, database, auth, this.#hasher, decoySecret);
    this.authAdmin = new AuthAdmin(database, this.#hasher, env.clock, adminSettings(auth));
    const broker = createBroker(env, options.broker ?? {}, ports, this.access);
    this.broker = broker;
    this.exclusive.onLost = (topicFilter, clientId) => {
      env.log.warn('an exclusive subscription has ended: another client has the filter by now', { clientId, topicFilter });
      broker.endSubscription(clientId, topicFilter);
    };
    if (options.sessions?.enable !== false) this.#openSessions(options.sessions ?? {});
    database.onIncarnation(() => this.registry.reassert(broker.epochs()));
    const listeners = options.listeners.map((l) => ({ ...defaultListenerOptions, ...l }));
    this.listeners = new Listeners(env, broker, listeners);
    const { overload } = options;
    if (overload !== undefined && env.memory !== undefined) this.memory = new MemoryWatch(env, env.memory, this, overload);
    this.#waitUntilServing();
  }

  /** The sessions that were here when the node ended come back before anybody connects. */
  #openSessions(options: SessionOptions): void {
    const env = this.#env;
    const found = new RecoveringSessions(env.clock.wallNow() - env.clock.now());
    const { nodeId } = this.core;
    const { segmentBytes } = options;
    const { journal, recovery } = openSessionJournal(env, { nodeId, ...(segmentBytes === undefined ? {} : { segmentBytes }) }, found);
    for (const d of recovery.damage)
      env.log.error('the journal of persistent sessions is damaged', { file: d.file, offset: d.offset, reason: d.reason });
    if (recovery.damage.length > 0)
      env.log.error('persistent sessions were lost with the damage: they begin anew, with Session Present 0', { sessions: found.damagedCount });
    env.metrics.counter('starmesh_session_journal_damaged_total', 'Persistent sessions lost to damage of their journal').value += found.damagedCount;
    const back = this.broker.keepSessions(journal, found, options);
    if (back > 0) env.log.info('persistent sessions are back', { sessions: back });
    if (this.broker.durable !== undefined) this.forwarder.keeping = this.broker.durable;
  }

  /** `running`: clients are accepted, or would be if there were a listener. */
  get state(): NodeState {
    return this.#state;
  }

  /** Where each listener accepts clients; undefined while it does not. */
  addresses(): readonly (NetAddress | undefined)[] {
    return this.listeners.all.map((l) => l.address);
  }

  #waitUntilServing(): void {
    if (this.#state !== 'starting') return;
    if (this.core.cluster.serving) this.#serve();
    else this.#timer = this.#env.clock.setTimer(servingPollMs, () => this.#waitUntilServing());
  }

  #serve(): void {
    const { all } = this.listeners;
    this.#identity.incarnation = this.core.database.incarnation;
    this.broker.resumeSessions();
    this.registry.recheck();
    this.memory?.start();
    let open = all.length;
    const serving = (): void => {
      if (this.#state !== 'starting') return;
      this.#state = 'running';
      this.#addUsers();
      this.#env.log.info('the node serves clients', { listeners: all.length });
      this.#options.onServing?.(this);
    };
    if (open === 0) serving();
    this.listeners.start((listener, error) => {
      // Somebody stopped it before it could start: as wished.
      if (error === undefined || error.code === 'ECANCELED') {
        if (--open === 0) serving();
        return;
      }
      this.#env.log.error('a listener cannot start', { id: listener.id, port: listener.options.port, code: error.code, reason: error.message });
      this.#options.onListenerError?.(listener, error);
    });
  }

  /** Those of `bootstrap_file`. */
  #addUsers(): void {
    const users = this.#options.auth?.authentication.flatMap((a) => (a.kind === 'builtin' ? a.bootstrap : [])) ?? [];
    if (users.length === 0) return;
    this.authAdmin.addMissing(users).then(
      (added) => this.#env.log.info('users of the bootstrap file were added', { added, there: users.length - added }),
      (error: unknown) =>
        this.#env.log.error('users of the bootstrap file could not be added', { reason: error instanceof Error ? error.message : 'unknown' }),
    );
  }

  /** In order: no new clients, those that are here are told and closed, what that changes is written, then the database. */
  stop(done: () => void): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.retire(() => this.#close(done));
  }

  /** Serves clients no more: those that are here are told and closed. The database goes on until `stop`. */
  retire(done: () => void): void {
    if (this.#state === 'stopping') return done();
    this.#state = 'stopping';
    this.#timer?.cancel();
    this.memory?.stop();
    this.listeners.stop();
    this.broker.stop();
    const end = this.#env.clock.now() + farewellMs;
    const wait = (): void => {
      const connected = this.listeners.connectionCount > 0;
      const written = !this.core.cluster.serving || (this.registry.idle && this.routes.quiet);
      if ((connected || !written) && this.#env.clock.now() < end) this.#env.clock.setTimer(farewellPollMs, wait);
      else done();
    };
    this.#env.clock.endOfTurn(wait);
  }

  #close(done: () => void): void {
    this.listeners.closeAll();
    this.registry.close();
    this.routes.close();
    this.retained.close();
    this.delayed?.close();
    this.exclusive.close();
    this.forwarder.close();
    this.access.close();
    this.#hasher.close();
    const { durable } = this.broker;
    if (durable === undefined) this.core.stop(done);
    else durable.close(() => this.core.stop(done));
  }

  /** The disk failed: nothing may be acknowledged any more. Clients are cut off at once; `stop` follows. */
  cutOff(): void {
    this.listeners.stop();
    this.listeners.closeAll();
  }
}

function openSessionJournal(env: Env, options: JournalOptions, found: RecoveringSessions): ReturnType<typeof openJournal> {
  try {
    return openJournal(env, options, found);
  } catch (error) {
    if (error instanceof JournalVersionError) throw new DataDirectoryError(error.message);
    throw error;
  }
}

export function createNode(env: Env, options: NodeOptions): StarmeshNode {
  return new StarmeshNode(env, options);
}

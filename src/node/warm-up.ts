// Runs the way of a message (read, decode, judge, route, deliver, write, acknowledge) for a moment before
// the node serves. JavaScript is compiled by how often it has run: a process that was just started makes
// the first messages of its clients wait for its compilers. create-node.ts asks for it where it is wanted.
//
// It is a broker of its own, made of the same parts (code that was compiled for others would be thrown
// away at the first real message) over a database without rows that takes no writes, a journal in memory
// and metrics that nobody reads; its clients come over the loopback interface. Nothing of the node's
// changes. Invariants: `done` runs exactly once, after `ms` and a grace at the latest, whatever fails.
import { AccessControl } from '#auth/access-control.js';
import { parseAclFile } from '#auth/acl-file.js';
import { Chain } from '#auth/chain.js';
import { defaultFlapping } from '#auth/flapping.js';
import { readRules } from '#auth/rule.js';
import { FileSource } from '#auth/sources.js';
import { toHex } from '#base/bytes.js';
import { type Broker, createBroker } from '#broker/broker.js';
import { NodeForwarder } from '#broker/forward.js';
import { LocalRegistry, LocalRetained } from '#broker/local-ports.js';
import { RouteSync } from '#broker/route-sync.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Metrics } from '#env/metrics.js';
import { Listener } from '#listener/listener.js';
import { defaultListenerOptions } from '#listener/options.js';
import { RecoveringSessions } from '#session/session-record.js';
import { openJournal } from '#store/journal.js';
import { MemoryFiles } from '#store/memory-files.js';
import { WarmUpClient } from './warm-up-client.js';
import { emptyDatabase, noLinks } from './warm-up-database.js';

export interface WarmUpOptions {
  /** How long; the node serves that much later at most. */
  readonly ms: number;
  /** Of its own, thrown away. */
  readonly metrics: Metrics;
}

/**
 * How long unless the configuration says it, in ms: where a second processor compiles beside the first clients, a begin is
 * enough; where they would wait for it, it pays to have more done before.
 */
export function usualWarmUpMs(processors: number): number {
  return processors > 1 ? 300 : 2_000;
}

/** More helps nobody. */
const msMax = 10_000;
const host = '127.0.0.1';
/** As many publishers, each with a subscriber. */
const pairs = 8;
/** Messages of a publisher in one go, in turn: all of them with QoS 0, then all with QoS 1, whose way is another. */
const bursts: readonly number[] = [1, 2, 1, 4, 100, 1, 16, 1];
/**
 * The time of a first broker, whose end is awaited: compiled code takes for constant what has never changed, and is
 * thrown away when it does. What changes when clients leave has changed before the second one.
 */
const firstPart = 0.3;
/** For what is still on its way when the time is over. */
const graceMs = 250;
const rules = `
{deny, all, publish, ["forbidden/\${clientid}/#"]}.
{deny, all, subscribe, [{eq, "#"}]}.
{allow, all}.
`;

/** Messages that went through. */
export type WarmedUp = (messages: number) => void;

class WarmUp {
  readonly #env: Env;
  readonly #routes: RouteSync;
  readonly #access: AccessControl;
  readonly #broker: Broker;
  readonly #listener: Listener;
  readonly #clients: WarmUpClient[] = [];
  readonly #until: number;
  readonly #timer: Timer;
  readonly #identity = { incarnation: 0 };
  #done: WarmedUp | undefined;
  #round = 0;
  /** Packets that the clients of this round still wait for. */
  #awaited = 0;
  #messages = 0;

  constructor(real: Env, { ms, metrics }: WarmUpOptions, done: WarmedUp) {
    const { clock } = real;
    const env: Env = { ...real, metrics, files: new MemoryFiles((fn) => clock.endOfTurn(fn)) };
    this.#env = env;
    this.#done = done;
    this.#until = clock.now() + ms;
    this.#timer = clock.setTimer(ms + graceMs, () => this.#end());
    const nodeId = toHex(real.random.bytes(16));
    const empty = emptyDatabase(nodeId, (fn) => clock.endOfTurn(fn));
    this.#routes = new RouteSync(env, empty);
    this.#access = new AccessControl(env, empty, {
      chain: new Chain([]),
      sources: [new FileSource(readRules(parseAclFile(rules), 'rules', []))],
      noMatch: 'deny',
      denyAction: 'ignore',
      concealReason: false,
      cache: { enable: true, maxSize: 32, ttlMs: 60_000 },
      recheckMs: Number.POSITIVE_INFINITY,
      flapping: defaultFlapping,
    });
    const ports = {
      routes: this.#routes,
      shared: this.#routes.shared,
      forwarder: new NodeForwarder(env, noLinks(nodeId), empty),
      retained: new LocalRetained(),
      registry: new LocalRegistry(),
      identity: this.#identity,
    };
    this.#broker = createBroker(env, {}, ports, this.#access);
    const found = new RecoveringSessions(clock.wallNow() - clock.now());
    this.#broker.keepSessions(openJournal(env, { nodeId }, found).journal, found);
    this.#listener = new Listener(env, this.#broker, { ...defaultListenerOptions, id: 'tcp:warm-up', host, port: 0, maxConnections: 2 * pairs });
  }

  start(): void {
    this.#identity.incarnation = 1;
    this.#listener.start((error) => {
      const { address } = this.#listener;
      if (error !== undefined || address === undefined) this.#end();
      else for (let i = 0; i < 2 * pairs; i++) this.#connect(address.port, i);
    });
  }

  #connect(port: number, i: number): void {
    this.#awaited++;
    this.#env.net.connect(
      { host, port },
      { timeoutMs: graceMs },
      (connection) => {
        if (this.#done === undefined) {
          connection.destroy();
          return;
        }
        const pair = i >> 1;
        const client = new WarmUpClient(connection, i, pair >= pairs / 2 ? 5 : 4, {
          packet: (isPublish) => this.#got(isPublish),
          lost: () => this.#end(),
        });
        this.#clients.push(client);
        // CONNACK, and SUBACK of those who listen.
        if ((i & 1) === 0) client.connect([]);
        else {
          client.connect([`warm-up/${pair}`, 'warm-up/all', '$share/warm-up/warm-up/one']);
          this.#awaited++;
        }
      },
      () => this.#end(),
    );
  }

  #got(isPublish: boolean): void {
    if (isPublish) this.#messages++;
    if (--this.#awaited === 0) this.#env.clock.endOfTurn(() => this.#next());
  }

  /** Everybody has what was sent: once more. */
  #next(): void {
    if (this.#done === undefined) return;
    if (this.#env.clock.now() >= this.#until) {
      this.#end();
      return;
    }
    const round = this.#round++;
    const count = bursts[round % bursts.length] as number;
    const qos = Math.floor(round / bursts.length) & 1;
    for (const client of this.#clients) {
      if ((client.number & 1) !== 0) continue;
      const pair = client.number >> 1;
      let topicName = `warm-up/${pair}`;
      let receivers = 1;
      // Now and then one for all, and one for somebody.
      if (round % 8 === 3 && pair === round % pairs) {
        topicName = 'warm-up/all';
        receivers = pairs;
      } else if (round % 4 === 2) topicName = 'warm-up/one';
      this.#awaited += count * (receivers + qos);
      client.publish(topicName, qos, count);
    }
  }

  #end(): void {
    const done = this.#done;
    if (done === undefined) return;
    this.#done = undefined;
    this.#timer.cancel();
    for (const client of this.#clients) client.close();
    this.#listener.stop(() => {
      this.#listener.closeAll();
      this.#broker.stop();
      this.#routes.close();
      this.#access.close();
      done(this.#messages);
    });
  }
}

/** Ends at once when its broker cannot listen. `done` gets the number of messages that went through. */
export function warmUp(env: Env, { ms, metrics }: WarmUpOptions, done: WarmedUp): void {
  const all = Math.min(ms, msMax);
  const first = all * firstPart;
  new WarmUp(env, { ms: first, metrics }, (before) => {
    new WarmUp(env, { ms: all - first, metrics }, (messages) => done(before + messages)).start();
  }).start();
}

// The clustered half of the broker as doubles for several brokers in one process. What takes time in a
// cluster waits here until the test lets it go, unless the matching `auto*` flag is on.
import { copyBytes } from '#base/bytes.js';
import { LocalRetained } from '#broker/local-ports.js';
import type {
  AckOutcome,
  BrokerPorts,
  ForwardOutcome,
  MemberCounts,
  RegisterRequest,
  RegisterResult,
  RemoteTarget,
  RouteOutcome,
  SharedAddress,
  SharedRoutes,
  SharedRow,
  TakeoverOutcome,
  TakeoverSource,
} from '#broker/ports.js';
import { formatTopicFilter, matches, parseTopicFilter } from '#mqtt/topic.js';
import type { Message } from '#session/message.js';

interface Row {
  epoch: number;
  holder: FakeNode;
}

type Answer = (outcomes: readonly AckOutcome[] | undefined) => void;
interface Ticket {
  readonly read: () => readonly AckOutcome[] | undefined;
  readonly waiting: Answer[];
}

type Finish = (outcome: TakeoverOutcome) => void;
type Prepare = (queue: Uint8Array, next: (ok: boolean) => void) => void;

class FakeNode {
  readonly nodeId: string;
  readonly filters: Set<string> = new Set();
  source: TakeoverSource | undefined = undefined;
  receive: (message: Message, to?: SharedAddress) => boolean = () => false;
  counts: (name: string) => MemberCounts = () => ({ here: 0, away: 0 });
  sharedChanged: (topicFilter: string | undefined) => void = () => {};
  readonly relief: (() => void)[] = [];
  congested = false;
  readonly log: string[] = [];

  constructor(nodeId: string) {
    this.nodeId = nodeId;
  }
}

export class FakeCluster {
  readonly nodes: FakeNode[] = [];
  readonly rows: Map<string, Row> = new Map();
  readonly retained: LocalRetained = new LocalRetained();
  quorum = true;
  autoRoutes = true;
  autoForward = true;
  autoStore = true;
  autoFinish = true;
  finishAs: TakeoverOutcome = 'done';
  autoBarrier = true;
  /** Routes that wait to be effective, frames on their way, messages to be stored, hand-overs to be finished. */
  readonly routes: ((outcome: RouteOutcome) => void)[] = [];
  readonly frames: (() => void)[] = [];
  readonly lost: (() => void)[] = [];
  readonly stores: (() => void)[] = [];
  readonly finishes: (() => void)[] = [];
  readonly barriers: (() => void)[] = [];
  autoArrived = true;
  /** Who waits for what nodes of these incarnations have sent, and goes on when it is run. */
  readonly arrivals: { readonly origins: readonly number[]; readonly done: () => void }[] = [];
  /** Who has asked for outcomes that are not known yet. */
  readonly tickets: Map<string, Ticket> = new Map();
  #epoch = 0;
  #routeChanges = 0;

  /** Lets everything of one kind go, what follows from it included. */
  run(list: (() => void)[]): void {
    for (let next = list.shift(); next !== undefined; next = list.shift()) next();
  }

  /** Answers who asked for outcomes that are known now. */
  answerTickets(): void {
    for (const { read, waiting } of this.tickets.values()) {
      const outcomes = read();
      if (outcomes !== undefined) for (const answer of waiting.splice(0)) answer(outcomes);
    }
  }

  settleRoutes(outcome: RouteOutcome): void {
    for (let next = this.routes.shift(); next !== undefined; next = this.routes.shift()) next(outcome);
  }

  ports(): BrokerPorts {
    const node = new FakeNode(`n${this.nodes.length + 1}`);
    this.nodes.push(node);
    const cluster = this;
    return {
      identity: { incarnation: this.nodes.length },
      routes: {
        add: (topicFilter, done) => this.#add(node, topicFilter, done),
        remove: (topicFilter) => this.#remove(node, topicFilter),
        match: (topicName) => this.nodes.filter((n) => n !== node && [...n.filters].some((f) => matches(f, topicName))),
        list: () => {},
        get changes(): number {
          return cluster.#routeChanges;
        },
        get count(): number {
          return cluster.nodes.reduce((sum, n) => sum + n.filters.size, 0);
        },
      },
      shared: this.#shared(node),
      forwarder: {
        forwardTo: (message, target, to, done) => this.#forward(message, [target], done, to),
        forward: (message, targets, done) => this.#forward(message, targets, done),
        get congested(): boolean {
          return node.congested;
        },
        onRelief: (listener) => void node.relief.push(listener),
        onMessage: (receive) => {
          node.receive = receive;
        },
        arrivedOf: (origins, done) => this.#arrivedOf(origins, done),
        outcomes: {
          offer: (read) => {
            const ticket = `ticket ${this.tickets.size + 1}`;
            this.tickets.set(ticket, { read, waiting: [] });
            return ticket;
          },
          ask: (ticket, done) => void this.tickets.get(ticket)?.waiting.push(done),
        },
      },
      retained: {
        store: (message, done) => this.#store(message, done),
        scan: (topicFilter, visit, after, rowsMax) => this.retained.scan(topicFilter, visit, after, rowsMax),
        barrier: (done) => {
          if (this.autoBarrier) done();
          else this.barriers.push(done);
        },
        get count(): number {
          return cluster.retained.count;
        },
      },
      registry: {
        register: (request, done) => this.#register(node, request, done),
        finishTakeover: (clientId, epoch, prepare, done) => this.#finish(node, clientId, epoch, prepare, done),
        disconnected: (clientId, epoch) => void node.log.push(`disconnected ${clientId} ${epoch}`),
        ended: (clientId, epoch) => {
          node.log.push(`ended ${clientId} ${epoch}`);
          if (this.rows.get(clientId)?.epoch === epoch) this.rows.delete(clientId);
        },
        serve: (source) => {
          node.source = source;
        },
        kick: (clientId, done) => {
          const row = this.rows.get(clientId);
          row?.holder.source?.discard(clientId, row.epoch, 0x98);
          done(row !== undefined);
        },
        reassert: () => {},
      },
    };
  }

  #shared(node: FakeNode): SharedRoutes {
    const cluster = this;
    return {
      nodeId: node.nodeId,
      get counts() {
        return node.counts;
      },
      set counts(counts) {
        node.counts = counts;
      },
      get onChange() {
        return node.sharedChanged;
      },
      set onChange(listener) {
        node.sharedChanged = listener;
      },
      changed: () => this.#sharedChanged(),
      get empty(): boolean {
        return !cluster.nodes.some((n) => [...n.filters].some((f) => parseTopicFilter(f)?.group !== undefined));
      },
      match: (topicName) => this.#sharedRows(node, topicName),
    };
  }

  #add(node: FakeNode, topicFilter: string, done: (outcome: RouteOutcome) => void): void {
    if (!this.quorum && !node.filters.has(topicFilter)) {
      done('failed');
      return;
    }
    node.filters.add(canonical(topicFilter));
    this.#routeChanges++;
    this.#sharedChanged();
    if (this.autoRoutes) done('effective');
    else this.routes.push(done);
  }

  #remove(node: FakeNode, topicFilter: string): void {
    node.filters.delete(canonical(topicFilter));
    this.#routeChanges++;
    this.#sharedChanged();
  }

  #sharedChanged(): void {
    for (const n of this.nodes) n.sharedChanged(undefined);
  }

  #sharedRows(node: FakeNode, topicName: string): SharedRow[] {
    const rows: SharedRow[] = [];
    for (const target of this.nodes) {
      for (const name of target === node ? [] : target.filters) {
        const parsed = parseTopicFilter(name);
        if (parsed?.group !== undefined && matches(parsed.topicFilter, topicName)) rows.push({ name, target, ...target.counts(name) });
      }
    }
    return rows;
  }

  #store(message: Message, done: (outcome: 'stored' | 'refused' | 'no-quorum', message: string) => void): void {
    const store = (): void => (this.quorum ? this.retained.store(message, done) : done('no-quorum', 'no quorum'));
    if (this.autoStore) store();
    else this.stores.push(store);
  }

  #arrivedOf(origins: ReadonlySet<number>, done: () => void): void {
    if (this.autoArrived) done();
    else this.arrivals.push({ origins: [...origins], done });
  }

  /** The destinations of what is under way are gone. */
  loseFrames(): void {
    this.frames.length = 0;
    for (const lost of this.lost.splice(0)) lost();
  }

  #forward(
    message: Message,
    targets: readonly RemoteTarget[],
    done: ((outcome: ForwardOutcome, matched: boolean) => void) | undefined,
    to?: SharedAddress,
  ): void {
    let open = targets.length;
    let matched = false;
    for (const target of targets) {
      const node = target as FakeNode;
      // As over a wire: nothing is shared.
      const copy: Message = { ...message, payload: copyBytes(message.payload), kept: true, journalNumber: 0 };
      const arrive = (): void => {
        matched = node.receive(copy, to) || matched;
        if (--open === 0 && message.qos > 0) done?.('accepted', matched);
      };
      if (this.autoForward) arrive();
      else {
        this.frames.push(arrive);
        this.lost.push(() => {
          if (--open === 0 && message.qos > 0) done?.('lost', matched);
        });
      }
    }
  }

  #register(node: FakeNode, request: RegisterRequest, done: (result: RegisterResult) => void): void {
    if (!this.quorum) {
      done({ kind: 'failed', reason: 'no-quorum' });
      return;
    }
    const epoch = ++this.#epoch;
    const row = this.rows.get(request.clientId);
    const remote = row !== undefined && row.holder !== node;
    if (remote && request.offer === true) {
      done({ kind: 'failed', reason: 'overtaken' });
      return;
    }
    if (row === undefined || request.cleanStart) {
      if (remote) row.holder.source?.discard(request.clientId, row.epoch, 0x8e);
      this.rows.set(request.clientId, { epoch, holder: node });
      done({ kind: 'fresh', epoch });
      return;
    }
    if (!remote) {
      const heldEpoch = row.epoch;
      row.epoch = epoch;
      done({ kind: 'local', epoch, heldEpoch });
      return;
    }
    const state = row.holder.source?.begin(request.clientId, row.epoch);
    if (state === undefined) {
      this.rows.set(request.clientId, { epoch, holder: node });
      done({ kind: 'fresh', epoch });
      return;
    }
    done({ kind: 'remote', epoch, state });
  }

  #finish(node: FakeNode, clientId: string, epoch: number, prepare: Prepare, done: Finish): void {
    const finish = (): void => {
      if (!this.quorum) {
        done('no-quorum');
        return;
      }
      const row = this.rows.get(clientId);
      const queue = row?.holder.source?.finish(clientId, row.epoch);
      const claim = (ok: boolean): void => {
        this.rows.set(clientId, { epoch, holder: node });
        done(ok ? this.finishAs : 'no-quorum');
        if (ok && this.finishAs === 'done') row?.holder.source?.discard(clientId, row.epoch, 0x8e);
      };
      if (queue === undefined) claim(true);
      else prepare(queue, claim);
    };
    if (this.autoFinish) finish();
    else this.finishes.push(finish);
  }
}

function canonical(filter: string): string {
  const parsed = parseTopicFilter(filter);
  return parsed === undefined ? filter : formatTopicFilter(parsed);
}

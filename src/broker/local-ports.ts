// The clustered half of a broker that is alone: everything in this process's memory. For tests, and for
// embedding the broker without a database.
import { matches } from '#mqtt/topic.js';
import type { Message } from '#session/message.js';
import { keep } from '#session/message.js';
import type {
  BrokerPorts,
  Forwarder,
  ForwardOutcome,
  HeldSession,
  Outcomes,
  RegisterRequest,
  RegisterResult,
  Registry,
  RemoteTarget,
  RetainedStore,
  RouteOutcome,
  Routes,
  TakeoverOutcome,
  TakeoverSource,
} from './ports.js';

const nowhere: readonly RemoteTarget[] = [];

export class LocalRoutes implements Routes {
  readonly #filters = new Set<string>();
  readonly #nodeName: string;

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  add(topicFilter: string, done: (outcome: RouteOutcome) => void): void {
    this.#filters.add(topicFilter);
    done('effective');
  }

  remove(topicFilter: string): void {
    this.#filters.delete(topicFilter);
  }

  get changes(): number {
    return 0;
  }

  match(_topicName: string): readonly RemoteTarget[] {
    return nowhere;
  }

  list(visit: (topicFilter: string, nodeName: string) => boolean): void {
    for (const filter of this.#filters) if (!visit(filter, this.#nodeName)) return;
  }

  get count(): number {
    return this.#filters.size;
  }
}

export class LocalForwarder implements Forwarder {
  readonly congested = false;
  /** Sessions do not move. */
  readonly outcomes: Outcomes = { offer: () => '', ask: (_ticket, done) => done(undefined) };

  forward(_message: Message, _targets: readonly RemoteTarget[], done?: (outcome: ForwardOutcome, matched: boolean) => void): void {
    done?.('accepted', false);
  }

  onRelief(_listener: () => void): void {}

  onMessage(_receive: (message: Message) => boolean): void {}
}

export class LocalRetained implements RetainedStore {
  readonly #messages = new Map<string, { readonly message: Message; readonly index: number }>();
  /** Topic names in order, made when a scan needs them. */
  #sorted: string[] | undefined = undefined;
  #index = 0;

  store(message: Message, done: (outcome: 'stored' | 'refused' | 'no-quorum', message: string) => void): void {
    this.#index++;
    if (message.payload.length === 0) {
      if (this.#messages.delete(message.topicName)) this.#sorted = undefined;
    } else {
      keep(message);
      if (!this.#messages.has(message.topicName)) this.#sorted = undefined;
      this.#messages.set(message.topicName, { message, index: this.#index });
    }
    done('stored', '');
  }

  scan(
    topicFilter: string,
    visit: (message: Message, index: number) => boolean,
    after?: string,
    rowsMax: number = Number.POSITIVE_INFINITY,
  ): string | undefined {
    let looked = 0;
    this.#sorted ??= [...this.#messages.keys()].sort();
    const sorted = this.#sorted;
    for (let i = after === undefined ? 0 : firstBehind(sorted, after); i < sorted.length; i++) {
      const topicName = sorted[i] as string;
      const found = this.#messages.get(topicName);
      if (found !== undefined && matches(topicFilter, topicName) && !visit(found.message, found.index)) return undefined;
      if (++looked === rowsMax) return topicName;
    }
    return undefined;
  }

  barrier(done: () => void): void {
    done();
  }

  get count(): number {
    return this.#messages.size;
  }
}

function firstBehind(sorted: readonly string[], after: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if ((sorted[mid] as string) <= after) low = mid + 1;
    else high = mid;
  }
  return low;
}

export class LocalRegistry implements Registry {
  readonly #held = new Map<string, number>();
  #epoch = 0;

  register(request: RegisterRequest, done: (result: RegisterResult) => void): void {
    const epoch = ++this.#epoch;
    const heldEpoch = this.#held.get(request.clientId);
    this.#held.set(request.clientId, epoch);
    if (heldEpoch === undefined || request.cleanStart) done({ kind: 'fresh', epoch });
    else done({ kind: 'local', epoch, heldEpoch });
  }

  finishTakeover(
    _clientId: string,
    _epoch: number,
    _prepare: (queue: Uint8Array, next: (ok: boolean) => void) => void,
    done: (outcome: TakeoverOutcome) => void,
  ): void {
    done('done');
  }

  disconnected(_clientId: string, _epoch: number): void {}

  ended(clientId: string, epoch: number): void {
    if (this.#held.get(clientId) === epoch) this.#held.delete(clientId);
  }

  serve(_source: TakeoverSource): void {}

  kick(_clientId: string, done: (found: boolean) => void): void {
    done(false);
  }

  reassert(_sessions: Iterable<HeldSession>): void {}
}

export function localPorts(nodeName: string = 'core1@127.0.0.1'): BrokerPorts {
  return {
    routes: new LocalRoutes(nodeName),
    forwarder: new LocalForwarder(),
    retained: new LocalRetained(),
    registry: new LocalRegistry(),
    identity: { incarnation: 1 },
  };
}

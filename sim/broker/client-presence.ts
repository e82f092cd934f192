// What a simulated client makes of Session Present: whether the session that it is told of is its own, and whether it may be
// told that there is none. client.ts asks it for every CONNACK that lets it in.
import type { BrokerNode, BrokerWorld } from './broker-world.js';
import { type ClientProfile, never } from './client-host.js';
import type { History, SimSession } from './history.js';

/** What it sees of its client. */
export interface PresentClient {
  readonly profile: ClientProfile;
  readonly name: string;
  readonly world: BrokerWorld;
  readonly history: History;
  readonly session: SimSession | undefined;
  readonly node: BrokerNode | undefined;
  readonly nodeLife: number;
}

export type Verdict = 'mine' | 'new' | 'not mine';

export class Presence {
  /** The CONNECT under way is a clean start. */
  cleanSent = false;
  readonly #client: PresentClient;
  /** Attempts since the last CONNACK that sent a CONNECT and got no answer: the server may have begun a session that we do not know. */
  #unanswered = 0;
  /** A CONNECT went to another node than the one that had the session last. */
  #wasElsewhere = false;
  /** Which life of its node had the session last. */
  #lifeThen = 0;
  /** The client had sessions that the registry did not know. */
  #wasIsolated = false;
  readonly #isolatedMarkers: Set<string> = new Set();
  /** Also when it has ended. */
  #latest: SimSession | undefined = undefined;
  #connectSentAt = 0;

  constructor(client: PresentClient) {
    this.#client = client;
  }

  connectSent(now: number): void {
    this.#connectSentAt = now;
    const { node, session } = this.#client;
    if (session?.nodes.at(-1)?.node !== node?.name) this.#wasElsewhere = true;
  }

  get connectSentAt(): number {
    return this.#connectSentAt;
  }

  noAnswer(): void {
    this.#unanswered++;
  }

  begun(session: SimSession): void {
    this.#latest = session;
  }

  /** The client is in, with the session that it has now. */
  accepted(): void {
    this.#unanswered = 0;
    this.#wasElsewhere = false;
    this.#lifeThen = this.#client.nodeLife;
  }

  /** What the session is worth. */
  taint(): void {
    const { session, profile, history } = this.#client;
    if (session === undefined) return;
    if (profile.double) session.tainted = 'double';
    if (this.#broker()?.client(profile.clientId)?.epoch === 0 || this.#letInIsolated()) {
      session.tainted = 'isolated';
      this.#wasIsolated = true;
      this.#isolatedMarkers.add(session.marker);
      history.count('isolated');
    }
  }

  /** The broker's own view of the client, while its process is the one that we are connected to. */
  #broker(): NonNullable<BrokerNode['node']>['broker'] | undefined {
    const { node, nodeLife } = this.#client;
    return node?.sim.up === true && node.sim.lives === nodeLife ? node.node?.broker : undefined;
  }

  /** CONNACK may have been long on its way: what it is about has ended by now, maybe. */
  #letInIsolated(): boolean {
    const { node, profile } = this.#client;
    return (node?.isolatedAt.get(profile.clientId) ?? Number.NEGATIVE_INFINITY) >= this.#connectSentAt;
  }

  /** CONNACK says that there was a session. */
  present(): Verdict {
    const { session, profile, name, node, nodeLife, history } = this.#client;
    if (profile.double) return 'new';
    if (this.cleanSent) {
      history.violation(`${name}: Session Present after a clean start`);
      return 'mine';
    }
    const broker = this.#broker();
    if (broker?.client(profile.clientId)?.epoch === 0) {
      history.violation(`${name}: Session Present on ${node?.name}, which has no registration of it`);
      return 'mine';
    }
    const markers = broker === undefined ? [] : [...broker.subscriptions(profile.clientId)].filter((x) => x.topicFilter.startsWith('session/'));
    if (session?.lasting === true && markers.some((x) => x.topicFilter === session.marker)) {
      history.count('resumed');
      if (this.#lifeThen !== nodeLife && !this.#wasElsewhere) history.count('resumedAfterCrash');
      return 'mine';
    }
    // A node short of memory refuses filters that are new to their session, and by nothing else it is known.
    const marker = session?.active(session.marker);
    const known = marker !== undefined && marker.ackedAt !== never;
    // The registry knows the session that the client left, even by a clean start, for one without a registration, or has got
    // to know that one later.
    const isolated = this.#latest?.tainted !== undefined || (this.#wasIsolated && markers.every((x) => this.#isolatedMarkers.has(x.topicFilter)));
    // CONNACK may have been long on its way: the node may have given the session away meanwhile.
    const movedOn = broker?.evacuation !== undefined && broker.client(profile.clientId) === undefined;
    // Not the session that we know: begin anew.
    if (broker === undefined || movedOn || isolated || this.#unanswered > 0 || (session?.lasting === true && !known)) return 'not mine';
    history.violation(
      `${name}: Session Present on ${node?.name}, but ${session === undefined ? 'there was no session' : `it is not session ${session.number}`}`,
    );
    return 'not mine';
  }

  /** CONNACK says that there was none. */
  absent(now: number): void {
    const { session, profile, name, node, history } = this.#client;
    if (session?.lasting === true && !this.cleanSent) {
      history.count('sessionsLost');
      const from = session.nodes.at(-1)?.at ?? session.startedAt;
      if (!profile.double && !this.#wasIsolated)
        history.lostSessions.push({ what: `${name}: session ${session.number} is lost on ${node?.name}`, from, to: now });
    }
    if (this.#mustBeThere())
      history.violation(`${name}: session ${session?.number} is lost on ${node?.name}, which had it on its disk, and nobody else was asked`);
  }

  /** The node had the session last, and no other node was asked for it since: it is there, whatever has become of its process. */
  #mustBeThere(): boolean {
    const { session, profile, node, history } = this.#client;
    if (session?.lasting !== true || this.cleanSent || profile.double || this.#wasIsolated || session.tainted !== undefined) return false;
    if (this.#wasElsewhere || this.#unanswered > 0 || session.nodes.length === 0) return false;
    if (this.#letInIsolated()) return false;
    // A node that gave it away has been seen to have it since.
    if (session.nodes.at(-1)?.node !== node?.name) return false;
    if ((node?.gaveAwayAt ?? 0) > (session.nodes.at(-1)?.at ?? 0)) return false;
    const epoch = this.#broker()?.client(profile.clientId)?.epoch ?? 0;
    if (epoch > 0) history.count('mustBeThere');
    return epoch > 0;
  }
}

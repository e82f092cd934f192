// What happened, as the clients saw it: messages, sessions, subscriptions, deliveries. Clients write it,
// checkers read it. Times are the world's. Violations that show at once are noted here too.
import type { QoS } from '#mqtt/packet.js';
import { matches, parseTopicFilter } from '#mqtt/topic.js';
import type { BrokerNode } from './broker-world.js';

export interface SimMessage {
  readonly id: number;
  readonly publisher: string;
  readonly topicName: string;
  readonly qos: QoS;
  readonly retain: boolean;
  /** Retained deletions have an empty payload and are never delivered as messages of their own. */
  readonly empty: boolean;
  readonly sentAt: number;
  /** The publisher's connection on which it was sent first. */
  readonly connection: number;
  /** Publisher, connection, topic name and QoS: first copies of one line come in order. */
  readonly line: string;
  attempts: number;
  readonly firstNode: string;
  /** The node of the latest sending. */
  node: string;
  /** QoS 1 and 2: where it was sent, each with what that node had given up then. */
  readonly sendings: { readonly node: BrokerNode; readonly lostThen: number }[];
  /** Of the first answer that accepted it. */
  ackedAt: number;
  /** A node that forwarded it gave up a destination meanwhile. */
  mayBeLost: boolean;
  refused: boolean;
}

export interface SimSubscription {
  readonly filter: string;
  readonly qos: QoS;
  readonly sentAt: number;
  ackedAt: number;
  /** The wait for its route ended before it was effective. */
  notEffective: boolean;
  unsubscribeSentAt: number;
  unsubscribedAt: number;
}

export interface Received {
  copies: number;
  /** The first copy came from the retained store. */
  readonly scanned: boolean;
  readonly firstAt: number;
  readonly sequence: number;
}

/** One session as its client knows it: from a CONNACK without Session Present to the next one. */
export class SimSession {
  readonly clientId: string;
  readonly number: number;
  readonly startedAt: number;
  /** Ends with its connection. */
  readonly lasting: boolean;
  endedAt: number = Number.POSITIVE_INFINITY;
  /** Taken in without a quorum, or otherwise outside of what is promised. */
  tainted: string | undefined = undefined;
  /** Its queue had no room for something: messages are missing. */
  overflowed = false;
  readonly subscriptions: SimSubscription[] = [];
  readonly received: Map<number, Received> = new Map();
  /** Nodes that had its connection, with the time of CONNECT. */
  readonly nodes: { readonly at: number; readonly node: string }[] = [];
  /** Per line and delivered QoS the id of the last first delivery. */
  readonly lastFirst: Map<string, [number, number, number]> = new Map();
  sequence = 0;
  /** Per topic name: the subscriptions that match it, of the first `upTo`. */
  readonly #matching: Map<string, { upTo: number; readonly found: SimSubscription[] }> = new Map();

  constructor(clientId: string, number: number, startedAt: number, lasting: boolean) {
    this.clientId = clientId;
    this.number = number;
    this.startedAt = startedAt;
    this.lasting = lasting;
  }

  get marker(): string {
    return `session/${this.clientId}/${this.number}`;
  }

  /** Subscriptions, past ones included, whose filter matches the topic name, in their order. */
  matching(topicName: string): readonly SimSubscription[] {
    let known = this.#matching.get(topicName);
    if (known === undefined) {
      known = { upTo: 0, found: [] };
      this.#matching.set(topicName, known);
    }
    for (; known.upTo < this.subscriptions.length; known.upTo++) {
      const s = this.subscriptions[known.upTo] as SimSubscription;
      if (matches(parseTopicFilter(s.filter)?.topicFilter ?? s.filter, topicName)) known.found.push(s);
    }
    return known.found;
  }

  active(filter: string): SimSubscription | undefined {
    for (let i = this.subscriptions.length - 1; i >= 0; i--) {
      const s = this.subscriptions[i] as SimSubscription;
      if (s.filter === filter) return s.unsubscribeSentAt === Number.POSITIVE_INFINITY ? s : undefined;
    }
    return undefined;
  }
}

/** A copy of a message for a shared subscription (all topic names under `s/`) that a client got. */
export interface SharedCopy {
  readonly session: SimSession;
  readonly qos: QoS;
  readonly dup: boolean;
}

export interface SimWill {
  readonly clientId: string;
  readonly topicName: string;
  readonly qos: 1 | 2;
  readonly delayMs: number;
  /** The session that it belongs to, once CONNACK has said which, and from when; undefined: none that is registered. */
  session: SimSession | undefined;
  acceptedAt: number;
  /** The node of its connection, when CONNECT was sent to it, and when that was over, as the client knows it. */
  readonly node: string;
  readonly sentAt: number;
  lostAt: number;
  /** Since when the client had not read what its node said: it may have been over since then. */
  unseenFrom: number;
  /** The client went on with the session. */
  resumedAt: number;
  /** DISCONNECT was sent, and nothing may have come of it. */
  disconnectSent: boolean;
  /** The client was back in its session and did not know it: with a delay the will is off, if that was in time. */
  mayBeOff: boolean;
  readonly received: Map<SimSession, { count: number; readonly firstAt: number }>;
  /** The client took it back at that time, and its connection to that node ended in order, which it knew at `until`. */
  withdrawn: { readonly at: number; readonly node: string; readonly until: number } | undefined;
}

/** A message came after a later one of its line; whether that is a fault the end tells. */
export interface Disorder {
  readonly session: SimSession;
  readonly message: SimMessage;
  readonly at: number;
  readonly what: string;
}

export class History {
  readonly disorder: Disorder[] = [];
  readonly violations: string[] = [];
  readonly messages: SimMessage[] = [];
  readonly sessions: SimSession[] = [];
  readonly wills: SimWill[] = [];
  /** By message. */
  readonly shared: Map<number, SharedCopy[]> = new Map();
  /** SUBSCRIBEs that were answered with a failure. */
  readonly refusals: { readonly what: string; readonly from: number; readonly to: number; readonly shortOfMemory: boolean }[] = [];
  /** CONNACKs without Session Present for a client that had one; `from`: when it was connected last. */
  readonly lostSessions: { readonly what: string; readonly from: number; readonly to: number }[] = [];
  readonly counts: Record<string, number> = {};
  /** Whether a session of that client id has lost something to a bound by now. */
  overflowed: (clientId: string) => boolean = () => false;
  /** Whether a node's process has ended without a word since then (and until then). */
  ended: (node: string, since: number, until?: number) => boolean = () => false;
  /** Whether some node had no memory for messages that have to wait, at any time between. */
  memoryFull: (from: number, to: number) => boolean = () => false;
  /** Hears of every acknowledgement that a client gets from a node. */
  onAcknowledged: ((node: BrokerNode, message: SimMessage) => void) | undefined = undefined;
  /** Hears of everything, when somebody looks. */
  trace: ((line: string) => void) | undefined = undefined;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The client's session was subscribed before the message was sent, and has not got it. */
  owes(clientId: string, m: SimMessage): boolean {
    const session = this.sessions.findLast((s) => s.clientId === clientId);
    if (session === undefined || session.endedAt !== Number.POSITIVE_INFINITY || session.received.has(m.id)) return false;
    return session.matching(m.topicName).some((x) => x.qos > 0 && x.ackedAt < m.sentAt && m.ackedAt < x.unsubscribeSentAt);
  }

  count(name: string, by: number = 1): void {
    this.counts[name] = (this.counts[name] ?? 0) + by;
  }

  note(who: string, what: () => string): void {
    this.trace?.(`${this.#now().toFixed(3)} ${who} ${what()}`);
  }

  violation(what: string): void {
    this.note('VIOLATION', () => what);
    this.count('violations');
    if (this.violations.length < 20) this.violations.push(`${this.#now().toFixed(1)} ms: ${what}`);
  }

  /** A PUBLISH came to a client, duplicates by packet identifier already taken out. */
  delivered(s: SimSession, m: SimMessage, qos: QoS, dup: boolean, retain: boolean): void {
    this.count(retain ? 'retainedDeliveries' : 'deliveries');
    this.#wanted(s, m, retain);
    const known = s.received.get(m.id);
    if (retain) {
      if (known === undefined) s.received.set(m.id, { copies: 1, scanned: true, firstAt: this.#now(), sequence: s.sequence++ });
      return;
    }
    if (known !== undefined) {
      known.copies++;
      this.count('duplicates');
      // The copy that a SUBSCRIBE got from the retained store counts too, unless its publisher sent it again (a refused one may
      // be stored all the same), or another subscription was there to get the live one: that may have waited for the client
      // before this one asked, or have a higher QoS.
      // Nor if the node that took a QoS 2 message in ended before it had answered: its client may send it again (docs/guarantees.md).
      const inDoubt = m.sendings.some(({ node }) => node.crashedAt.some((at) => at >= m.sentAt && at <= m.ackedAt));
      if (inDoubt && qos === 2) this.count('excused: twice, its node ended before PUBREC');
      // A refused one may have gone to others, and its publisher has it still: before 5.0, or if the answer is lost, it sends it again.
      const again = qos === 2 && m.attempts > 1 && this.memoryFull(m.sentAt, this.#now());
      if (again) this.count('excused: twice, it was refused for lack of memory in between');
      // What a session got with QoS 0 stands in no journal: a node that ended since has forgotten it (docs/guarantees.md).
      const forgotten = m.qos === 0 && s.nodes.some(({ node }) => this.ended(node, known.firstAt));
      if (forgotten) this.count('excused: QoS 0 twice, its node ended in between');
      const once = (qos === 2 || m.qos === 0) && !inDoubt && !again && !forgotten && !(known.scanned && (m.attempts > 1 || overlapping(s, m)));
      if (once && s.tainted === undefined)
        this.violation(`${s.clientId} got message ${m.id} (QoS ${m.qos}→${qos}${dup ? ', DUP' : ''}) ${known.copies} times in session ${s.number}`);
      return;
    }
    s.received.set(m.id, { copies: 1, scanned: false, firstAt: this.#now(), sequence: s.sequence++ });
    let lasts = s.lastFirst.get(m.line);
    if (lasts === undefined) {
      lasts = [-1, -1, -1];
      s.lastFirst.set(m.line, lasts);
    }
    const last = lasts[qos];
    if (last > m.id && s.tainted === undefined) {
      s.overflowed ||= this.overflowed(s.clientId);
      this.disorder.push({
        session: s,
        message: m,
        at: this.#now(),
        what: `${s.clientId} got message ${m.id} after ${last} (${m.line} → QoS ${qos}, session ${s.number})`,
      });
    }
    // What was sent again through another node may have come that way, past what the first node still has to hand on.
    if (m.id > last && m.node === m.firstNode) lasts[qos] = m.id;
  }

  /** As `delivered`, on a topic name that only groups subscribe to. */
  deliveredShared(session: SimSession, m: SimMessage, qos: QoS, dup: boolean): void {
    this.count('sharedDeliveries');
    this.#wanted(session, m, false);
    const copies = this.shared.get(m.id);
    if (copies === undefined) this.shared.set(m.id, [{ session, qos, dup }]);
    else copies.push({ session, qos, dup });
  }

  #wanted(s: SimSession, m: SimMessage, retain: boolean): void {
    const ok = s.matching(m.topicName).some((x) => retain || m.sentAt <= x.unsubscribedAt || m.attempts > 1);
    if (!ok && s.tainted === undefined)
      this.violation(`${s.clientId} got message ${m.id} on ${m.topicName}, which session ${s.number} did not subscribe to then`);
  }
}

/** Two subscriptions of the session match, and each may have brought a copy. */
function overlapping(s: SimSession, m: SimMessage): boolean {
  return s.matching(m.topicName).filter((x) => m.sentAt <= x.unsubscribedAt).length > 1;
}

// The seams inside the broker: what the single-node half (sessions, publish, subscribe, deliver)
// asks of the clustered half (routes, forwarding, retained store, registry), and the other way
// round. Both halves are tested against these with doubles.
import type { Message, Qos } from '#session/message.js';
import type { Session } from '#session/session.js';
import type { Adopted } from './adopted.js';
import type { WillWord } from './registered-wills.js';

// ---- routes ----

/** effective: every node seen connected and `normal` knows it · committed: it is kept, the wait for the rest ran out. */
export type RouteOutcome = 'effective' | 'committed' | 'failed';

export interface RemoteTarget {
  readonly nodeId: string;
}

export interface Routes {
  /**
   * This node has its first subscriber of `topicFilter` (`$share/GROUP/FILTER`: its first member of the group). Joins the wait when a change is in flight; answers in the
   * same turn when the route is effective already. Always answers within `mqtt.suback_timeout` plus the proposal deadline.
   */
  add(topicFilter: string, done: (outcome: RouteOutcome) => void): void;
  /** The last local subscriber of `topicFilter` is gone. Nobody waits. */
  remove(topicFilter: string): void;
  /** Other live nodes with at least one filter that matches, each once. The array may be reused by the next call. */
  match(topicName: string): readonly RemoteTarget[];
  /** Grows with each change of what `match` answers, whose arrays are then good until the next one. Absent: not known. */
  readonly changes?: number;
  /** Whether anybody in the cluster has a filter that begins with `$SYS/`. Absent: it may be. */
  systemWanted?(): boolean;
  /** Route rows, for `topics list`. */
  list(visit: (topicFilter: string, nodeName: string) => boolean): void;
  readonly count: number;
}

// ---- shared subscriptions ----

/** Members of a group on one node. */
export interface MemberCounts {
  /** Whose client is connected. */
  readonly here: number;
  /** Whose session waits for its client. */
  readonly away: number;
}

/** Another node's members of a group that matches. */
export interface SharedRow extends MemberCounts {
  /** `$share/GROUP/FILTER`. */
  readonly name: string;
  readonly target: RemoteTarget;
}

export interface SharedRoutes {
  /** Of this node. */
  readonly nodeId: string;
  /** Where the counts of this node's groups are read when a row is written. */
  counts: (name: string) => MemberCounts;
  /** Called when rows of other nodes have changed: those of a filter, or any. */
  onChange: (topicFilter: string | undefined) => void;
  /** This node's counts of a group are others now. Nobody waits. */
  changed(name: string): void;
  /** True when no node has shared subscriptions. */
  readonly empty: boolean;
  match(topicName: string): readonly SharedRow[];
}

/** Which member of which group a message that is forwarded is for. */
export interface SharedAddress {
  /** `$share/GROUP/FILTER`. */
  readonly name: string;
  /** `away`: no node has a member that is here. */
  readonly presence: 'here' | 'away';
  /** The member's place among those of that presence. */
  readonly place: number;
  /** Messages of one publisher are for one member. */
  readonly sticky: boolean;
}

// ---- forwarding ----

/**
 * accepted: taken by every destination · lost: at least one destination was lost (counted), the rest accepted · refused: at
 * least one could not keep it on its disk as it must.
 */
export type ForwardOutcome = 'accepted' | 'lost' | 'refused';

export interface Forwarder {
  /**
   * Sends one frame per target. QoS 0: `done` is not called, a full or closed window drops and counts. QoS 1/2: `done`
   * exactly once, at the latest when the forward acknowledgement deadline has passed for every target. `matched`: whether
   * any destination had a receiver (for reason code 0x10). Copies what it needs of the message before returning.
   */
  forward(message: Message, targets: readonly RemoteTarget[], done?: (outcome: ForwardOutcome, matched: boolean) => void): void;
  /** As `forward`, to one member of a group. `matched` false: the node has no such member any more. */
  forwardTo?(message: Message, target: RemoteTarget, to: SharedAddress, done?: (outcome: ForwardOutcome, matched: boolean) => void): void;
  /** Whether the node is linked: a message for it need not wait. */
  reachable?(target: RemoteTarget): boolean;
  /** True while a window is so full that publishers of QoS 1/2 should not be read. `onRelief` listeners run when it falls. */
  readonly congested: boolean;
  onRelief(listener: () => void): void;
  /** Frames of other nodes: the receiver delivers locally and never routes again. Its result: had it any receiver. */
  onMessage(receive: (message: Message, to?: SharedAddress) => boolean): void;
  /** `done`: all that these incarnations of other nodes had forwarded here before this call was taken, or the wait for it ended. */
  arrivedOf?(origins: ReadonlySet<number>, done: () => void): void;
  readonly outcomes: Outcomes;
}

/** Where messages for persistent sessions are written down (`DurableSessions`). */
export interface Keeping {
  /** Grows with everything that is. */
  readonly position: number;
  /** Whether a message that may have to wait for the session is taken. */
  takes(session: Session, message: Message): boolean;
  /** While it is set messages are taken in spite of full memory: they were acknowledged before. */
  owed: boolean;
  /** Runs once when what came after `position` was `from` is on disk (true), or some of it never will be. */
  kept(from: number, done: (ok: boolean) => void): void;
  /** Whether anything was refused since `position` was `from`. */
  refusedSince(from: number): boolean;
}

/** How a QoS 2 message ended: the reason code that its PUBREC carries. */
export interface AckOutcome {
  readonly packetId: number;
  readonly reasonCode: number;
}

/** Outcomes of QoS 2 messages that were on their way when their publisher's session moved to another node. */
export interface Outcomes {
  /** The name, on every node, of what `read` answers: undefined until all outcomes are known. */
  offer(read: () => readonly AckOutcome[] | undefined): string;
  /** Asks the node that made the ticket until they are known. Undefined, at a bound: nobody knows. */
  ask(ticket: string, done: (outcomes: readonly AckOutcome[] | undefined) => void): void;
}

// ---- retained messages ----

export interface RetainedStore {
  /** Commits the message (empty payload: the deletion) in log order. `until: applied` on this node. */
  store(message: Message, done: (outcome: 'stored' | 'refused' | 'no-quorum', message: string) => void): void;
  /**
   * Current retained messages that match, as of now; QoS and properties as stored; `index` is its log position for dedup.
   * The message carries the origin incarnation and number of the PUBLISH that stored it, by which live copies are told.
   * `after`: go on behind this topic name (in the store's order, which does not change), for paced delivery. Looks at
   * `rowsMax` messages at most, matching or not; the name behind which to go on is returned then, undefined otherwise.
   */
  scan(topicFilter: string, visit: (message: Message, index: number) => boolean, after?: string, rowsMax?: number): string | undefined;
  /** Runs `done` when everything that was committed before the call is readable here (bounded; then anyway, counted). */
  barrier(done: () => void): void;
  readonly count: number;
}

// ---- delayed messages ----

/** Whose rights are looked at again when a message's time has come; its client id is the message's. */
export interface DelayedPublisher {
  readonly username: string | undefined;
  /** Rights are asked for what stands behind it. */
  readonly mountpoint: string;
}

/** Messages to `$delayed/SECONDS/NAME` until their time has come. */
export interface DelayedStore {
  /** Commits the message, whose topic name is the one it is published under. `no-quorum`: nobody knows, or it is not kept. */
  store(
    message: Message,
    delayMs: number,
    done: (outcome: 'stored' | 'refused' | 'no-quorum', message: string) => void,
    publisher?: DelayedPublisher | undefined,
  ): void;
  /** Whoever is to publish a message whose time has come; `done` once everybody who must has accepted it. */
  onDue(publish: (message: Message, done: () => void, publisher?: DelayedPublisher) => void): void;
  /** Those that wait, in the cluster. */
  readonly count: number;
}

// ---- exclusive subscriptions ----

/** taken: it is this client's · held: another client has it. */
export type ExclusiveOutcome = 'taken' | 'held' | 'no-quorum';

/** Which client has the one subscription `$exclusive/FILTER`. */
export interface ExclusiveStore {
  /** A client that has it already, here or on another node, takes it again. */
  take(topicFilter: string, clientId: string, done: (outcome: ExclusiveOutcome) => void): void;
  /**
   * A session that came back, or came from another node, has had it: it is taken until a leader has decided, however long
   * there is no quorum. Until then, and from then on, the subscription is in force; it is ended if another client has it.
   */
  keep(topicFilter: string, clientId: string): void;
  /** No-op if this node does not have it for the client. Nobody waits. */
  release(topicFilter: string, clientId: string): void;
  list(visit: (topicFilter: string, clientId: string) => boolean): void;
}

// ---- registry and takeover ----

/** What a session is, for a hand-over between nodes: encoded by the session room, opaque to the registry. */
export interface SessionTransfer {
  /** Session state without queue: subscriptions, inflight, QoS 2 ids, expiry. */
  readonly state: Uint8Array;
}

/** A session that is registered, or was. */
export interface HeldSession {
  readonly clientId: string;
  readonly epoch: number;
  readonly connected: boolean;
  /** It is written down on this node. */
  readonly durable: boolean;
  /** Seconds. */
  readonly sessionExpiryInterval: number;
}

export interface TakeoverSource {
  /**
   * Phase 1 at the holder: close the connection of `clientId` if one is open (MQTT 5: DISCONNECT 0x8E), keep the session
   * queueing, and give its state. Undefined: there is no session here (or its epoch is not `epoch`).
   */
  begin(clientId: string, epoch: number): Uint8Array | undefined;
  /**
   * Phase 2: everything queued and the QoS 2 identifiers, encoded. The session stays whole here and goes on queueing until
   * `discard`: the new owner may yet fail, and then the next one asks for it all again.
   */
  finish(clientId: string, epoch: number): Uint8Array | undefined;
  /** It has a new holder, or ends: close the connection with this MQTT 5 reason code and drop the session. */
  discard(clientId: string, epoch: number, reasonCode: number): void;
  /** Closes and ends every session of the client here, registered or not. Was there one? */
  kick?(clientId: string, reasonCode: number): boolean;
  /** All registered sessions here, for the audit. */
  held?(): Iterable<HeldSession>;
  /**
   * Epoch of the session that is here, undefined when there is none. With it a session survives a registration on this
   * node whose answer was lost.
   */
  heldEpoch?(clientId: string): number | undefined;
  /** The registry knows the session under this epoch. */
  confirmed?(clientId: string, epoch: number): void;
}

/** A will whose node is lost, as `encodeWillBody` made it; `done` once everybody who must has accepted it. */
export type PublishWill = (clientId: string, epoch: number, body: Uint8Array, done: () => void) => void;

export interface RegisterRequest {
  readonly clientId: string;
  readonly cleanStart: boolean;
  /** Seconds; 0xFFFFFFFF never expires. */
  readonly sessionExpiryInterval: number;
  /** It is written down on this node, and comes back with it: the registration is the node's, not its incarnation's. */
  readonly durable?: boolean;
  /** A session that was begun without a quorum is made known. It stands back behind any other node: then 'overtaken'. */
  readonly offer?: boolean;
  /**
   * The session of a client that is away, of this epoch, shall be held here, because its node goes. It stands back behind
   * every client, and if that node has it no more: then 'overtaken'.
   */
  readonly adopt?: number | undefined;
  /** The client's will, for a registry that keeps wills: `standingWill` in will-body.ts. */
  readonly will?: Uint8Array | undefined;
}

/**
 * done: this node has the session · overtaken: a newer connection has the client id · no-quorum: it has not been taken over and
 * never will be, the old holder keeps it · undecided: nobody knows; keep the session as that of a client that is away,
 * the registry finds out and discards it if need be.
 */
export type TakeoverOutcome = 'done' | 'overtaken' | 'no-quorum' | 'undecided';

export type RegisterResult =
  /** `epoch` identifies this connection cluster-wide. */
  | { readonly kind: 'fresh'; readonly epoch: number }
  /** A session exists on this node, under `heldEpoch`: continue it. */
  | { readonly kind: 'local'; readonly epoch: number; readonly heldEpoch: number }
  /** State fetched from another node; the session must now be built and its routes made effective, then `finishTakeover`. */
  | { readonly kind: 'remote'; readonly epoch: number; readonly state: Uint8Array }
  | { readonly kind: 'failed'; readonly reason: 'no-quorum' | 'overtaken' | 'refused' };

export interface Registry {
  /** One command to the leader, and phase 1 when another node holds the session. Ends within the registration deadline. */
  register(request: RegisterRequest, done: (result: RegisterResult) => void): void;
  /**
   * After 'remote': fetches the rest of the queue (phase 2), hands it to `prepare`, goes on when that says so, commits
   * `takeoverDone` and tells the old holder. 'done' without a call of `prepare`: the holder was lost, start fresh with
   * Session Present 0. 'undecided' always had one. `next(false)`: the session cannot be kept here, its holder keeps it.
   */
  finishTakeover(
    clientId: string,
    epoch: number,
    prepare: (queue: Uint8Array, next: (ok: boolean) => void) => void,
    done: (outcome: TakeoverOutcome) => void,
  ): void;
  /** The connection closed; the session stays on this node for its expiry (state.md), `expiryS` from now on. No wait. */
  disconnected(clientId: string, epoch: number, will?: WillWord, expiryS?: number): void;
  /** The session ended on this node (expiry, clean disconnect): its row is deleted if it still has this epoch. No wait. */
  ended(clientId: string, epoch: number, will?: WillWord): void;
  /**
   * Who publishes the wills that stand with the registry when their nodes are lost; absent: none do. `will` above is what has
   * become of the connection's: it was published or is off, or waits so many ms; undefined: there was none.
   */
  onWill?(publish: PublishWill): void;
  /** Whether a will stands there from now on: not while a node is there that does not know of it. Absent: if `onWill` is there. */
  readonly keepsWills?: () => boolean;
  /** Routed here by other nodes, and by this node's own new connections when a session is displaced. */
  serve(source: TakeoverSource): void;
  /** Has every session of `clientId` on other nodes, and what is being registered here, closed. `found`: there was one. */
  kick(clientId: string, done: (found: boolean) => void): void;
  /** Asks now whether the sessions here are still their clients': some have come back with this node. */
  recheck?(): void;
  /** Called when this node has a new incarnation: every live session is asserted again, paced; losers are discarded. */
  reassert(sessions: Iterable<HeldSession>): void;
}

/** QoS of a granted subscription and the options of MQTT 5.0, 3.8.3.1. */
export interface SubscriptionOptions {
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  readonly subscriptionIdentifier: number | undefined;
}

// ---- sessions of a node that goes ----

/** A node that can take sessions in. */
export interface Recipient {
  readonly nodeId: string;
  readonly name: string;
}

/** Hands sessions of absent clients to other nodes, and takes such in. */
export interface Handover {
  recipients(): readonly Recipient[];
  /** Answers once; false: not taken, or nobody knows. */
  give(nodeId: string, adopted: Adopted, done: (taken: boolean) => void): void;
  onGiven(take: (adopted: Adopted, done: (taken: boolean) => void) => void): void;
}

// ---- everything together ----

export interface NodeIdentity {
  /** This node's incarnation; it may change while the node runs. 0 before it has joined. */
  readonly incarnation: number;
}

/** What `createBroker` is given: the clustered half, or the doubles of `local-ports.ts`. */
export interface BrokerPorts {
  readonly routes: Routes;
  /** Absent: shared subscriptions have members on this node only. */
  readonly shared?: SharedRoutes | undefined;
  readonly forwarder: Forwarder;
  readonly retained: RetainedStore;
  readonly registry: Registry;
  /** Absent: `$delayed/…` are names like any other. */
  readonly delayed?: DelayedStore | undefined;
  /** Absent: `$exclusive/…` is refused. */
  readonly exclusive?: ExclusiveStore | undefined;
  /** Absent: sessions of absent clients stay. */
  readonly handover?: Handover | undefined;
  readonly identity: NodeIdentity;
}

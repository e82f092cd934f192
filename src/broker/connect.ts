// The journey of a CONNECT: authenticated, registered in the cluster (one owner per client id), its
// session begun, continued or fetched from the node that holds it, then CONNACK.
// Invariants: CONNECTs of one client id are handled one after the other on this node (at most one waits);
// Session Present says 1 only when the complete session is here; nothing is sent before CONNACK.
import { MalformedError } from '#base/byte-reader.js';
import { toHex } from '#base/bytes.js';
import type { AuthPacket, ConnectPacket, Properties } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { isMountable, mountpointOf } from '#mqtt/special-topics.js';
import type { Channel } from '#session/channel.js';
import { accept, refuse, sessionExpiryOf } from '#session/on-connect.js';
import type { Session } from '#session/session.js';
import type { SessionRest } from '#session/session-codec.js';
import { decodeRest, decodeSession } from '#session/session-codec.js';
import { start } from '#session/step.js';
import { absentChannel } from './absent-client.js';
import { askAccess } from './access.js';
import type { Adopted } from './adopted.js';
import type { Core } from './core.js';
import { Enhanced } from './enhanced.js';
import { HoldBack, originsOf } from './hold-back.js';
import { keepConnect } from './hooks.js';
import type { RegisterResult, TakeoverOutcome } from './ports.js';
import type { Sessions } from './sessions.js';
import { restore, takeIn } from './settling.js';
import type { Unregistered } from './unregistered.js';

interface Attempt {
  readonly channel: Channel;
  readonly packet: ConnectPacket;
  readonly clientId: string;
  readonly expiryIntervalS: number;
  /** Of what is written of persistent sessions: CONNACK waits for what came after. */
  writtenBefore: number;
  /** Its client is away, and so is its channel from the beginning: the session comes because its node goes. */
  readonly adoption?: { readonly adopted: Adopted; taken: boolean; readonly done: (taken: boolean) => void };
}

export class Connector {
  readonly #core: Core;
  readonly #enhanced: Enhanced;
  readonly #sessions: Sessions;
  readonly #unregistered: Unregistered;
  /** The attempt under way for a client id, and the newest one that waits for it. */
  readonly #active = new Map<string, Attempt>();
  readonly #waiting = new Map<string, Attempt>();
  #stopping = false;
  /** What a client hears instead of being let in, while this node gives its clients away. */
  farewell: { readonly reasonCode: number; readonly properties: Properties | undefined } | undefined = undefined;
  /** Whose registration was begun last. */
  #entered: Channel | undefined = undefined;

  constructor(core: Core, sessions: Sessions, unregistered: Unregistered) {
    this.#core = core;
    this.#enhanced = new Enhanced(core);
    this.#sessions = sessions;
    this.#unregistered = unregistered;
  }

  /** New clients are refused from now on. */
  stop(): void {
    this.#stopping = true;
  }

  /** Whoever has not proved who it is by the end of the call is not read until it has: a stranger's bytes are not kept. */
  connect(channel: Channel, packet: ConnectPacket): void {
    this.#entered = undefined;
    this.#connect(channel, packet);
    if (this.#entered !== channel && channel.state === 'connecting' && channel.authMethod === undefined) channel.holdUntilConnected();
  }

  #connect(channel: Channel, packet: ConnectPacket): void {
    const core = this.#core;
    core.metrics.clientConnect.value++;
    if (this.#stopping) {
      refuse(channel, ReasonCode.serverUnavailable, core.now());
      return;
    }
    if (this.farewell !== undefined) {
      refuse(channel, this.farewell.reasonCode, core.now(), this.farewell.properties);
      return;
    }
    if (packet.clientId === '') channel.clientId = `sm-${toHex(core.env.random.bytes(12))}`; // [MQTT-3.1.3-6] [MQTT-3.1.3-7]
    const hook = core.hooks.connect;
    if (hook === undefined) {
      this.#authenticate(channel, packet);
      return;
    }
    const kept = keepConnect(packet);
    hook(channel, kept, (reasonCode) => {
      if (channel.state !== 'connecting') return;
      if (reasonCode !== 0) refuse(channel, reasonCode, core.now());
      else this.#authenticate(channel, kept);
    });
  }

  #authenticate(channel: Channel, packet: ConnectPacket): void {
    const core = this.#core;
    if (channel.authMethod !== undefined) {
      this.#enhanced.begin(channel, packet, (reasonCode) => {
        packet.username = channel.username;
        this.#authenticated(channel, packet, reasonCode);
      });
      return;
    }
    const request = { clientId: channel.clientId, username: packet.username, password: packet.password, client: channel };
    core.access.authenticate(request, (reasonCode) => this.#authenticated(channel, packet, reasonCode));
  }

  auth(channel: Channel, packet: AuthPacket, now: number): void {
    this.#enhanced.auth(channel, packet, now);
  }

  closed(channel: Channel): void {
    this.#enhanced.closed(channel);
  }

  #authenticated(channel: Channel, packet: ConnectPacket, reasonCode: number): void {
    if (channel.state !== 'connecting') return;
    this.#core.hooks.authenticated?.(channel, reasonCode);
    if (reasonCode !== 0) this.#denied(channel, reasonCode);
    else this.#checkWill(channel, packet);
  }

  #checkWill(channel: Channel, packet: ConnectPacket): void {
    const { access } = this.#core;
    const { will } = channel;
    if (!this.#mount(channel)) return;
    const judged = (allowed: boolean): void => {
      if (channel.state !== 'connecting') return;
      if (!allowed) this.#denied(channel, ReasonCode.notAuthorized);
      else this.#enter({ channel, packet, clientId: channel.clientId, expiryIntervalS: sessionExpiryOf(channel, packet), writtenBefore: 0 });
    };
    const topicName = will === undefined ? '' : this.#core.rightsTopic(will.topicName);
    const may = will === undefined || access.mayPublish(channel, topicName, will.qos, will.retain, this.#core.now());
    if (will !== undefined && may === undefined) askAccess(access, channel, 'publish', topicName, will.qos, will.retain, judged);
    else judged(may === true);
  }

  /** What stands before the client's topics, once its names are known. False: they cannot stand there. */
  #mount(channel: Channel): boolean {
    const template = channel.out.mountpoint ?? '';
    if (template === '') return true;
    const mountpoint = mountpointOf(template, channel.clientId, channel.username);
    if (mountpoint !== undefined) {
      channel.mountpoint = mountpoint;
      return true;
    }
    const ofId = template.includes('${clientid}') && !isMountable(channel.clientId);
    refuse(channel, ofId ? ReasonCode.clientIdentifierNotValid : ReasonCode.badUserNameOrPassword, this.#core.now());
    return false;
  }

  #denied(channel: Channel, reasonCode: number): void {
    this.#core.metrics.connackAuthError.value++;
    refuse(channel, reasonCode, this.#core.now()); // [MQTT-3.1.4-2]
  }

  /** Takes in the session of a client that is away. It stands back behind every client. */
  adopt(adopted: Adopted, done: (taken: boolean) => void): void {
    const { clientId, meta } = adopted;
    const { effects, limits, metrics } = this.#core;
    if (this.#stopping || this.farewell !== undefined || this.#active.has(clientId) || effects === undefined) {
      done(false);
      return;
    }
    const channel = absentChannel(effects, limits, metrics, adopted);
    const packet: ConnectPacket = { type: 'connect', protocolVersion: 5, clientId, cleanStart: false, keepAlive: 0, username: meta.username };
    this.#run({ channel, packet, clientId, expiryIntervalS: meta.expiryIntervalS, writtenBefore: 0, adoption: { adopted, taken: false, done } });
  }

  // ---- one at a time per client id ----

  #enter(attempt: Attempt): void {
    this.#entered = attempt.channel;
    if (!this.#active.has(attempt.clientId)) {
      this.#run(attempt);
      return;
    }
    const older = this.#waiting.get(attempt.clientId);
    this.#waiting.set(attempt.clientId, attempt);
    if (older !== undefined) refuse(older.channel, ReasonCode.serverBusy, this.#core.now());
  }

  #run(attempt: Attempt): void {
    this.#active.set(attempt.clientId, attempt);
    const { clientId, expiryIntervalS, packet } = attempt;
    const durable = this.#core.durable !== undefined && expiryIntervalS > 0;
    const adopt = attempt.adoption?.adopted.meta.epoch;
    const will = this.#willOf(attempt);
    const request = { clientId, cleanStart: packet.cleanStart, sessionExpiryInterval: expiryIntervalS, durable, adopt, will }; // [MQTT-3.1.4-4]
    this.#core.ports.registry.register(request, (result) => this.#registered(attempt, result));
  }

  #willOf({ adoption, channel, expiryIntervalS }: Attempt): Uint8Array | undefined {
    const will = adoption === undefined ? channel.will : adoption.adopted.meta.will?.will;
    return this.#sessions.standingWill(channel, will, expiryIntervalS);
  }

  #leave(attempt: Attempt): void {
    this.#active.delete(attempt.clientId);
    attempt.adoption?.done(attempt.adoption.taken);
    const next = this.#waiting.get(attempt.clientId);
    if (next === undefined) return;
    this.#waiting.delete(attempt.clientId);
    if (next.channel.state === 'connecting') this.#run(next);
  }

  #refuse(attempt: Attempt, reasonCode: number, reasonString?: string): void {
    const tell = reasonString !== undefined && attempt.packet.properties?.requestProblemInformation !== false;
    refuse(attempt.channel, reasonCode, this.#core.now(), tell ? { reasonString } : undefined);
    this.#leave(attempt);
  }

  // ---- what the registry said ----

  #registered(attempt: Attempt, result: RegisterResult): void {
    attempt.writtenBefore = this.#core.durable?.position ?? 0;
    if (result.kind !== 'failed') this.#sessions.endUnregistered(attempt.clientId, this.#core.now());
    switch (result.kind) {
      case 'fresh':
        this.#begin(attempt, result.epoch);
        return;
      case 'local':
        this.#continue(attempt, result.epoch, result.heldEpoch);
        return;
      case 'remote':
        this.#takeOver(attempt, result.epoch, result.state);
        return;
      case 'failed':
        if (result.reason === 'no-quorum') this.#withoutQuorum(attempt);
        else this.#refuse(attempt, result.reason === 'overtaken' ? ReasonCode.serverBusy : ReasonCode.quotaExceeded);
    }
  }

  /** A new session; one that is still here is over. [MQTT-3.1.2-4] [MQTT-3.1.2-6] */
  #begin(attempt: Attempt, epoch: number, reasonString?: string): void {
    const now = this.#core.now();
    if (epoch > 0) this.#sessions.discardAll(attempt.clientId, ReasonCode.sessionTakenOver, now, 'silent'); // [MQTT-3.1.4-3]
    if (attempt.channel.state !== 'connecting') {
      if (epoch > 0) this.#core.ports.registry.ended(attempt.clientId, epoch, 'over');
      this.#leave(attempt);
      return;
    }
    const session = this.#sessions.create(attempt.clientId, epoch, attempt.expiryIntervalS);
    if (epoch === 0) this.#unregistered.add(session);
    this.#bind(attempt, session, false, reasonString);
  }

  /** The session is here. [MQTT-3.1.2-5] */
  #continue(attempt: Attempt, epoch: number, heldEpoch: number, reasonString?: string): void {
    const now = this.#core.now();
    const session = this.#sessions.get(attempt.clientId);
    if (session === undefined || session.epoch !== heldEpoch) {
      this.#begin(attempt, epoch, reasonString);
      return;
    }
    if (session.channel !== undefined) {
      this.#core.metrics.sessionTakenover.value++;
      this.#core.hooks.session?.('takenover', session);
      session.channel.disconnect(ReasonCode.sessionTakenOver, now); // [MQTT-3.1.4-3]
    }
    // One that was to end with its connection has [MQTT-3.1.2-6] of 3.1.1; one of another user is not handed over.
    if (session.ended || !this.#isOf(attempt, session)) {
      this.#begin(attempt, epoch, reasonString);
      return;
    }
    session.epoch = epoch;
    if (attempt.channel.state !== 'connecting') {
      this.#sessions.abandoned(session, now);
      this.#leave(attempt);
      return;
    }
    session.expiryIntervalS = attempt.expiryIntervalS;
    this.#core.metrics.sessionResumed.value++;
    this.#bind(attempt, session, true, reasonString);
  }

  /** Whether a session made by that user may be continued: else its subscriptions and messages were anybody's who knows the client id. */
  #isOf(attempt: Attempt, made: Pick<Session, 'username' | 'mountpoint'>): boolean {
    const sameUser = this.#core.access.provesUsers !== true || made.username === attempt.packet.username;
    // Its subscriptions are behind the mountpoint that it was made with.
    if (sameUser && made.mountpoint === attempt.channel.mountpoint) return true;
    this.#core.metrics.sessionOfOther.value++;
    return false;
  }

  /** `mqtt.without_quorum`: the session lives in this node's memory only, and is offered to the registry later. */
  #withoutQuorum(attempt: Attempt): void {
    const { metrics, options } = this.#core;
    if (attempt.channel.state !== 'connecting') {
      this.#leave(attempt);
      return;
    }
    if (options.withoutQuorum === 'refuse' || this.#unregistered.count >= options.maxUnregisteredSessions) {
      metrics.refusedWithoutQuorum.value++;
      this.#refuse(attempt, ReasonCode.serverUnavailable, 'no quorum of cores');
      return;
    }
    metrics.acceptedWithoutQuorum.value++;
    // Nobody can say whether a session that is here is still the client's: it is not continued, but kept if it was asked for.
    const { clientId, packet } = attempt;
    if (packet.cleanStart) this.#sessions.discardAll(clientId, ReasonCode.sessionTakenOver, this.#core.now(), 'tell');
    else this.#sessions.park(clientId, this.#core.now());
    this.#begin(attempt, 0, 'no quorum of cores: the session is in the memory of this node only');
  }

  // ---- the session comes from another node ----

  #takeOver(attempt: Attempt, epoch: number, bytes: Uint8Array): void {
    const now = this.#core.now();
    const decoded = this.#decode(() => decodeSession(bytes, now));
    const state = decoded !== undefined && this.#isOf(attempt, decoded) ? decoded : undefined;
    this.#sessions.discardAll(attempt.clientId, ReasonCode.sessionTakenOver, now, 'silent');
    const session = this.#sessions.create(attempt.clientId, epoch, attempt.expiryIntervalS);
    const holdBack = new HoldBack(this.#core, session, state?.recent ?? []);
    if (state !== undefined) restore(session, state);
    let open = 1;
    let failed = false;
    const answered = (): void => {
      if (--open > 0) return;
      if (failed) {
        this.#core.ports.registry.ended(attempt.clientId, epoch, 'over');
        this.#giveUp(attempt, session, ReasonCode.serverUnavailable);
      } else this.#fetchQueue(attempt, session, holdBack, state !== undefined);
    };
    for (const subscription of [...session.subscriptions.values()]) {
      open++;
      // Its client has it on the node that it comes from; if that node was out of the cluster, another may have it by now.
      if (subscription.exclusive) this.#core.ports.exclusive?.keep(subscription.topicFilter, session.clientId);
      this.#core.subscribers.add(subscription);
      this.#core.ports.routes.add(subscription.topicFilter, (outcome) => {
        subscription.settled = true;
        failed ||= outcome === 'failed';
        answered();
      });
    }
    answered();
  }

  #fetchQueue(attempt: Attempt, session: Session, holdBack: HoldBack, whole: boolean): void {
    let rest: SessionRest | undefined;
    const prepare = (bytes: Uint8Array, next: (ok: boolean) => void): void => {
      const decoded = whole ? this.#decode(() => decodeRest(bytes, this.#core.now())) : undefined;
      rest = decoded;
      if (decoded === undefined) next(true);
      else this.#whenArrived(decoded, () => this.#keepMoved(session, decoded, holdBack, next));
    };
    const finished = (outcome: TakeoverOutcome): void => {
      const now = this.#core.now();
      if (outcome === 'overtaken' || outcome === 'no-quorum' || session.ended) {
        // Kicked meanwhile: what has just been made ours is nobody's.
        if (outcome === 'done' || outcome === 'undecided') this.#core.ports.registry.ended(attempt.clientId, session.epoch, 'over');
        this.#giveUp(attempt, session, outcome === 'no-quorum' ? ReasonCode.serverUnavailable : ReasonCode.serverBusy);
        return;
      }
      if (rest === undefined) {
        // The rest is lost: a session with holes is none.
        this.#sessions.end(session, now, outcome === 'undecided' ? 'tell' : 'silent', outcome === 'undecided' ? 'over' : undefined);
        if (outcome === 'undecided') this.#refuse(attempt, ReasonCode.serverUnavailable);
        else this.#begin(attempt, session.epoch);
        return;
      }
      this.#core.durable?.suspend(session);
      takeIn(this.#core, session, rest);
      holdBack.release(rest.queue);
      // The old holder may have known other rules.
      if (session.queue !== undefined) session.queue.judgedAt = -1;
      this.#core.durable?.resume(session);
      if (outcome === 'done') this.#takenOver(attempt, session, now);
      else {
        this.#sessions.abandoned(session, now, 'silent');
        this.#refuse(attempt, ReasonCode.serverUnavailable, 'no quorum of cores');
      }
    };
    this.#core.ports.registry.finishTakeover(attempt.clientId, session.epoch, prepare, finished);
  }

  /** What is older than what was handed over may be on its own way here, and goes before it [MQTT-4.6.0-6]: it is waited for, some time. */
  #whenArrived({ queue }: SessionRest, then: () => void): void {
    const origins = originsOf(queue);
    const { forwarder } = this.#core.ports;
    if (origins.size === 0 || forwarder.arrivedOf === undefined) then();
    else forwarder.arrivedOf(origins, then);
  }

  /** Before this node claims the session it is on its disk: the old holder drops it as soon as it is claimed. */
  #keepMoved(session: Session, rest: SessionRest, holdBack: HoldBack, next: (ok: boolean) => void): void {
    const { durable } = this.#core;
    if (durable === undefined || !session.lasting || session.ended) {
      next(true);
      return;
    }
    const from = durable.position;
    const unsettled = new Set(rest.unsettled);
    session.awaitingRel = new Map(rest.awaitingRel.filter((id) => !unsettled.has(id)).map((id) => [id, undefined]));
    if (!this.#sessions.keep(session)) {
      next(false);
      return;
    }
    durable.rewrite(session, holdBack.expect(rest.queue));
    durable.kept(from, next);
  }

  #takenOver(attempt: Attempt, session: Session, now: number): void {
    const { adoption } = attempt;
    if (adoption !== undefined) {
      adoption.taken = true;
      this.#sessions.adopted(session, adoption.adopted, now);
      this.#leave(attempt);
      return;
    }
    if (attempt.channel.state !== 'connecting') {
      this.#sessions.abandoned(session, now);
      this.#leave(attempt);
      return;
    }
    this.#core.metrics.sessionResumed.value++;
    this.#bind(attempt, session, true);
  }

  #giveUp(attempt: Attempt, session: Session, reasonCode: number): void {
    session.inflight = undefined; // its holder has it
    this.#sessions.end(session, this.#core.now(), 'silent');
    this.#refuse(attempt, reasonCode);
  }

  #decode<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#core.env.log.warn('a session handed over by another node is malformed', { reason: error.message });
      return undefined;
    }
  }

  // ---- accepted ----

  #bind(attempt: Attempt, session: Session, sessionPresent: boolean, reasonString?: string): void {
    const { durable } = this.#core;
    session.username = attempt.packet.username;
    session.mountpoint = attempt.channel.mountpoint;
    const kept = this.#sessions.keep(session, attempt.channel);
    if (durable === undefined || (kept && durable.position === attempt.writtenBefore)) {
      this.#bound(attempt, session, sessionPresent, reasonString);
      return;
    }
    // What CONNACK says of a persistent session is on disk before it is said: that there is one, or that the old one is over.
    durable.kept(attempt.writtenBefore, (ok) => {
      if (ok && kept && !session.ended && attempt.channel.state === 'connecting') this.#bound(attempt, session, sessionPresent, reasonString);
      else this.#notBound(attempt, session, sessionPresent, ok && kept ? ReasonCode.serverBusy : ReasonCode.quotaExceeded);
    });
  }

  #notBound(attempt: Attempt, session: Session, sessionPresent: boolean, reasonCode: number): void {
    const now = this.#core.now();
    if (!session.ended && sessionPresent) this.#sessions.abandoned(session, now);
    else this.#sessions.end(session, now, 'tell', 'over');
    this.#refuse(attempt, reasonCode);
  }

  /** A session is continued with what its client may have now. */
  #bound(attempt: Attempt, session: Session, sessionPresent: boolean, reasonString: string | undefined): void {
    if (!sessionPresent) {
      this.#accept(attempt, session, sessionPresent, reasonString);
      return;
    }
    const { channel } = attempt;
    this.#core.recheck.resuming(channel, session, () => {
      if (session.ended || channel.state !== 'connecting') this.#notBound(attempt, session, sessionPresent, ReasonCode.serverBusy);
      else this.#accept(attempt, session, sessionPresent, reasonString);
    });
  }

  #accept(attempt: Attempt, session: Session, sessionPresent: boolean, reasonString: string | undefined): void {
    const { channel, packet } = attempt;
    this.#sessions.connecting(session);
    this.#core.metrics.clientConnected.value++;
    accept(channel, session, sessionPresent, packet, this.#core.env.clock.wallNow(), reasonString);
    const { hooks } = this.#core;
    if (sessionPresent) hooks.session?.('resumed', session);
    if (channel.session === session) {
      hooks.connected?.(channel, sessionPresent);
      this.#core.sys?.connected(channel, session);
    }
    start(channel, this.#core.now());
    this.#leave(attempt);
  }
}

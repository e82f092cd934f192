// Who hooked what: lists by name and priority behind the broker's slots, which are filled while a list has
// somebody in it. Promises, exceptions and deadlines end here.
import type { BrokerHooks } from '#broker/hooks.js';
import type { Logger } from '#env/logger.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { isTopicName } from '#mqtt/topic.js';
import { Channel } from '#session/channel.js';
import { keep, type Message, makeMessage } from '#session/message.js';
import type { Session } from '#session/session.js';
import type { ClientRefs } from './client-refs.js';
import type { HookClient, HookConnect, HookMessage, HookName, HookSession, Hooks } from './hook-types.js';

interface Entry {
  readonly fn: (...args: never[]) => unknown;
  readonly priority: number;
}

const sessionNames = {
  created: 'session.created',
  resumed: 'session.resumed',
  discarded: 'session.discarded',
  takenover: 'session.takenover',
  terminated: 'session.terminated',
} as const;

/** Thrown, rejected, or too late. */
const failed: unique symbol = Symbol('failed');

export class HookTable {
  readonly #lists: Map<HookName, readonly Entry[]> = new Map();
  readonly #slots: BrokerHooks;
  readonly #hookAccess: () => void;
  readonly #clients: ClientRefs;
  readonly #log: Logger;
  readonly #failures: Counter;
  readonly #deadlineMs: number;

  constructor(
    slots: BrokerHooks,
    hookAccess: () => void,
    clients: ClientRefs,
    env: { readonly log: Logger; readonly metrics: Metrics },
    deadlineMs: number,
  ) {
    this.#slots = slots;
    this.#hookAccess = hookAccess;
    this.#clients = clients;
    this.#log = env.log;
    this.#failures = env.metrics.counter('starmesh_hook_failures', 'hooks that threw, rejected or took too long');
    this.#deadlineMs = deadlineMs;
  }

  /** Returns what takes it out again. Equal priorities: in the order in which they came. */
  add<N extends HookName>(name: N, fn: Hooks[N], priority: number): () => void {
    const entry: Entry = { fn, priority };
    const list = [...(this.#lists.get(name) ?? []), entry].sort((a, b) => b.priority - a.priority);
    this.#set(name, list);
    return () =>
      this.#set(
        name,
        (this.#lists.get(name) ?? []).filter((e) => e !== entry),
      );
  }

  #set(name: HookName, list: readonly Entry[]): void {
    if (list.length === 0) this.#lists.delete(name);
    else this.#lists.set(name, list);
    this.#fill(name);
  }

  // ---- running them ----

  #tell<N extends HookName>(name: N, ...args: Parameters<Hooks[N]>): void {
    for (const { fn } of this.#lists.get(name) ?? []) {
      try {
        const result = (fn as (...a: Parameters<Hooks[N]>) => unknown)(...args);
        if (result instanceof Promise) result.catch((error: unknown) => this.#failed(name, error));
      } catch (error) {
        this.#failed(name, error);
      }
    }
  }

  #failed(name: HookName, error: unknown): void {
    this.#failures.value++;
    this.#log.error('a hook failed', { name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }

  /** `take`: false ends the asking. `done` runs once. */
  #ask(name: HookName, call: (fn: Entry['fn']) => unknown, take: (said: unknown) => boolean, done: () => void): void {
    const list = this.#lists.get(name) ?? [];
    const from = (start: number): void => {
      for (let i = start; i < list.length; i++) {
        const said = this.#call(name, (list[i] as Entry).fn, call);
        if (said instanceof Promise) {
          this.#await(name, said, (value) => (take(value) ? from(i + 1) : done()));
          return;
        }
        if (!take(said)) break;
      }
      done();
    };
    from(0);
  }

  #call(name: HookName, fn: Entry['fn'], call: (fn: Entry['fn']) => unknown): unknown {
    try {
      return call(fn);
    } catch (error) {
      this.#failed(name, error);
      return failed;
    }
  }

  #await(name: HookName, promise: Promise<unknown>, then: (said: unknown) => void): void {
    let open = true;
    const end = (said: unknown): void => {
      if (!open) return;
      open = false;
      clearTimeout(timer);
      then(said);
    };
    const fail = (error: unknown): void => {
      if (open) this.#failed(name, error);
      end(failed);
    };
    const timer = setTimeout(() => fail(new Error(`no answer within ${this.#deadlineMs} ms`)), this.#deadlineMs);
    promise.then(end, fail);
  }

  /** Of a hook that refuses by `false` or a code: 0, or that code. */
  #verdict(name: HookName, call: (fn: Entry['fn']) => unknown, onFalse: number, answer: (code: number) => void): void {
    let code = 0;
    const take = (said: unknown): boolean => {
      if (said === undefined) return true;
      code = codeOf(said, onFalse);
      return false;
    };
    this.#ask(name, call, take, () => answer(code));
  }

  // ---- the slots ----

  #fill(name: HookName): void {
    const s = this.#slots;
    const on = this.#lists.has(name);
    switch (name) {
      case 'client.connect':
        s.connect = on ? (channel, packet, answer) => this.#connect(name, this.#clients.of(channel), packet, answer) : undefined;
        return;
      case 'client.authenticate':
        this.#hookAccess();
        s.authenticate = on ? (request, answer) => this.#authenticate(request, answer) : undefined;
        return;
      case 'client.authorize':
        this.#hookAccess();
        s.authorize = on
          ? (client, action, topic, qos, retain, answer) => this.#authorize(client, { action, topic, qos, retain }, answer)
          : undefined;
        return;
      case 'client.check_authn_complete':
        s.authenticated = on ? (channel, code) => this.#tell(name, this.#clients.of(channel), code) : undefined;
        return;
      case 'client.check_authz_complete':
        this.#hookAccess();
        s.authorized = on
          ? (client, action, topic, qos, retain, allowed) =>
              this.#tell(name, this.#clients.of(client as Channel), { action, topic, qos, retain }, allowed)
          : undefined;
        return;
      case 'client.connack':
        s.connack = on ? (channel, code) => this.#tell(name, this.#clients.of(channel), code) : undefined;
        return;
      case 'client.connected':
        s.connected = on ? (channel, sessionPresent) => this.#tell(name, this.#clients.of(channel), sessionPresent) : undefined;
        return;
      case 'client.disconnected':
        s.disconnected = on ? (channel, _session, end) => this.#tell(name, this.#clients.of(channel), end) : undefined;
        return;
      case 'client.refused':
        s.refused = on ? (channel, end) => this.#tell(name, this.#clients.of(channel), end) : undefined;
        return;
      case 'client.ping':
        s.pinged = on ? (session) => this.#tellClient(name, session, (c) => this.#tell(name, c)) : undefined;
        return;
      case 'client.subscribe':
        s.subscribe = on ? (channel, request, answer) => this.#subscribe(channel, request, answer) : undefined;
        return;
      case 'client.unsubscribe':
        s.unsubscribe = on ? (channel, filters) => this.#tell(name, this.#clients.of(channel), filters) : undefined;
        return;
      default:
        this.#fillOthers(name, on);
    }
  }

  #fillOthers(name: HookName, on: boolean): void {
    const s = this.#slots;
    switch (name) {
      case 'session.subscribed':
        s.subscribed = on ? (session, topicFilter, o) => this.#tell(name, sessionOf(session), { topicFilter, ...o }) : undefined;
        return;
      case 'session.unsubscribed':
        s.unsubscribed = on ? (session, topicFilter) => this.#tell(name, sessionOf(session), topicFilter) : undefined;
        return;
      case 'message.publish':
        s.publish = on ? (message, channel, answer) => this.#publish(message, channel, answer) : undefined;
        return;
      case 'message.delivered':
        s.delivered = on ? (session, m) => this.#tellClient(name, session, (c) => this.#tell(name, c, messageOf(m))) : undefined;
        return;
      case 'message.acked':
        s.acked = on ? (session, m) => this.#tellClient(name, session, (c) => this.#tell(name, c, messageOf(m))) : undefined;
        return;
      case 'message.puback':
        s.answered = on
          ? (channel, m, code) => {
              if (channel instanceof Channel)
                this.#tell(name, this.#clients.of(channel), { ...messageOf(m), topic: channel.mountpoint + m.topicName }, code);
            }
          : undefined;
        return;
      case 'delivery.completed':
        s.completed = on ? (session, m, _qos, latencyMs) => this.#tell(name, sessionOf(session), messageOf(m), latencyMs) : undefined;
        return;
      case 'delivery.dropped':
        s.undelivered = on ? (session, m, reason) => this.#tell(name, sessionOf(session), messageOf(m), reason) : undefined;
        return;
      case 'message.dropped':
        s.dropped = on ? (m) => this.#tell(name, messageOf(m)) : undefined;
        return;
      default:
        s.session = Object.values(sessionNames).some((n) => this.#lists.has(n))
          ? (moment, session) => this.#tell(sessionNames[moment], sessionOf(session))
          : undefined;
    }
  }

  #tellClient(_name: HookName, session: Session, tell: (client: HookClient) => void): void {
    if (session.channel instanceof Channel) tell(this.#clients.of(session.channel));
  }

  #connect(
    name: 'client.connect',
    client: HookClient,
    packet: Parameters<NonNullable<BrokerHooks['connect']>>[1],
    answer: (code: number) => void,
  ): void {
    const { username, password, will } = packet;
    const connect: HookConnect = {
      username,
      password,
      will: will && { topic: will.topicName, payload: will.payload, qos: will.qos, retain: will.retain },
    };
    this.#verdict(name, (fn) => (fn as Hooks['client.connect'])(client, connect), ReasonCode.notAuthorized, answer);
  }

  #authenticate(request: Parameters<NonNullable<BrokerHooks['authenticate']>>[0], answer: (code: number) => void): void {
    const client = this.#clients.of(request.client as Channel);
    const proof: HookConnect = { username: request.username, password: request.password, will: undefined };
    const call = (fn: Entry['fn']): unknown => (fn as Hooks['client.authenticate'])(client, proof);
    this.#verdict('client.authenticate', call, ReasonCode.badUserNameOrPassword, answer);
  }

  #authorize(who: unknown, wish: Parameters<Hooks['client.authorize']>[1], answer: (allowed: boolean | undefined) => void): void {
    const client = this.#clients.of(who as Channel);
    let allowed: boolean | undefined;
    const take = (said: unknown): boolean => {
      if (said === undefined) return true;
      allowed = said === true;
      return false;
    };
    this.#ask(
      'client.authorize',
      (fn) => (fn as Hooks['client.authorize'])(client, wish),
      take,
      () => answer(allowed),
    );
  }

  #subscribe(channel: Channel, request: Parameters<NonNullable<BrokerHooks['subscribe']>>[1], answer: (code: number) => void): void {
    const client = this.#clients.of(channel);
    const { topicFilter, options } = request;
    let code: number = request.reasonCode;
    const take = (said: unknown): boolean => {
      if (said === undefined) return true;
      if (said !== true) code = said === 0 || said === 1 || said === 2 ? Math.min(said, code) : codeOf(said, ReasonCode.notAuthorized);
      return false;
    };
    const call = (fn: Entry['fn']): unknown => (fn as Hooks['client.subscribe'])(client, { topicFilter, ...options });
    this.#ask('client.subscribe', call, take, () => answer(code));
  }

  #publish(message: Message, channel: Channel | undefined, answer: (verdict: Message | number) => void): void {
    const client = channel && this.#clients.of(channel);
    let now = message;
    let code = 0;
    const take = (said: unknown): boolean => {
      if (said === undefined || said === true) return true;
      if (typeof said === 'object' && said !== null) {
        const next = changed(now, said as Partial<HookMessage>);
        if (next !== undefined) {
          now = next;
          return true;
        }
        this.#failed('message.publish', new Error('what it answered is no message'));
        code = ReasonCode.unspecifiedError;
        return false;
      }
      code = codeOf(said, ReasonCode.notAuthorized);
      return false;
    };
    const call = (fn: Entry['fn']): unknown => (fn as Hooks['message.publish'])(messageOf(now), client);
    this.#ask('message.publish', call, take, () => answer(code === 0 ? now : code));
  }
}

/** 0 for `true`; a code that refuses for everything else. */
function codeOf(said: unknown, onFalse: number): number {
  if (said === true) return 0;
  if (said === false) return onFalse;
  return typeof said === 'number' && said >= 0x80 && said <= 0xff ? said : ReasonCode.unspecifiedError;
}

/** Undefined: with what is changed it would be no PUBLISH. */
function changed(m: Message, by: Partial<HookMessage>): Message | undefined {
  const { topic = m.topicName, payload = m.payload, qos = m.qos, retain = m.retain, properties = m.properties } = by;
  if (!isTopicName(topic, Number.POSITIVE_INFINITY) || !(payload instanceof Uint8Array) || ![0, 1, 2].includes(qos)) return undefined;
  const made = makeMessage(topic, payload, qos, retain, properties, m.expiresAt, m.publisherId);
  keep(made);
  return made;
}

function messageOf(m: Message): HookMessage {
  const { topicName: topic, payload, qos, retain, properties, publisherId } = m;
  return { topic, payload, qos, retain, properties, publisherId: publisherId === '' ? undefined : publisherId };
}

function sessionOf(session: Session): HookSession {
  const { clientId, username, createdAt } = session;
  return { clientId, username, createdAt };
}

// What the broker tells about itself under `$SYS/brokers`, in EMQX's names: which nodes there are, each
// node's version, uptime, counters and gauges at intervals, and clients that come and go. Ordinary
// messages: who may subscribe is the business of access control. Made by `node`; `Connector`, `Broker` and
// `Subscriber` tell it of clients.
// Invariant: nothing is built or published that nobody in the cluster has subscribed to, but for the
// retained ones, which are written again only when they change.
import { utf8Encode } from '#base/utf8.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { MetricFamily } from '#env/metric-family.js';
import { ReasonCode, reasonCodeName } from '#mqtt/reason-code.js';
import type { Channel, ChannelEnd } from '#session/channel.js';
import { makeMessage } from '#session/message.js';
import type { Session, SubscriptionOptions } from '#session/session.js';
import type { Broker } from './broker.js';
import { metricTopics } from './sys-names.js';

export interface SysTopicsOptions {
  readonly nodeName: string;
  readonly version: string;
  readonly description: string;
  /** `sys_topics.sys_msg_interval`, `sys_topics.sys_heartbeat_interval`. Infinity: never. */
  readonly messageIntervalMs: number;
  readonly heartbeatIntervalMs: number;
  /** `sys_topics.sys_event_messages`. */
  readonly clientConnected: boolean;
  readonly clientDisconnected: boolean;
  readonly clientSubscribed: boolean;
  readonly clientUnsubscribed: boolean;
}

export const sysTopicsDefaults: Omit<SysTopicsOptions, 'nodeName' | 'version'> = {
  description: 'Starmesh',
  messageIntervalMs: 60_000,
  heartbeatIntervalMs: 30_000,
  clientConnected: true,
  clientDisconnected: true,
  clientSubscribed: false,
  clientUnsubscribed: false,
};

export interface SysSource {
  /** Names of the nodes that run. */
  brokers(): readonly string[];
  collect(): readonly MetricFamily[];
}

/** Counters and gauges published in one turn. */
const batchMax = 50;

export class SysTopics {
  readonly #env: Env;
  readonly #broker: Broker;
  readonly #options: SysTopicsOptions;
  readonly #source: SysSource;
  readonly #prefix: string;
  readonly #startedAt: number;
  readonly #retained = new Map<string, string>();
  /** Since when each is raised, in wall clock ms. */
  readonly #alarms = new Map<string, number>();
  #timers: (Timer | undefined)[] = [];

  constructor(env: Env, broker: Broker, options: SysTopicsOptions, source: SysSource) {
    this.#env = env;
    this.#broker = broker;
    this.#options = options;
    this.#source = source;
    this.#prefix = `$SYS/brokers/${options.nodeName}`;
    this.#startedAt = env.clock.now();
  }

  start(): void {
    this.#every(0, this.#options.heartbeatIntervalMs, () => this.#heartbeat());
    this.#every(1, this.#options.messageIntervalMs, () => this.#tick());
  }

  stop(): void {
    for (const timer of this.#timers) timer?.cancel();
    this.#timers = [];
  }

  #every(which: 0 | 1, ms: number, run: () => void): void {
    if (ms === Number.POSITIVE_INFINITY) return;
    this.#timers[which] = this.#env.clock.setTimer(ms, () => {
      this.#every(which, ms, run);
      run();
    });
  }

  #heartbeat(): void {
    if (!this.#broker.systemWanted) return;
    this.#publish(`${this.#prefix}/uptime`, String(Math.floor(this.#env.clock.now() - this.#startedAt)));
    this.#publish(`${this.#prefix}/datetime`, rfc3339(this.#env.clock.wallNow()));
  }

  #tick(): void {
    this.#keep('$SYS/brokers', this.#source.brokers().join(','));
    this.#keep(`${this.#prefix}/version`, this.#options.version);
    this.#keep(`${this.#prefix}/sysdescr`, this.#options.description);
    if (this.#broker.systemWanted) this.#publishNumbers(metricTopics(this.#source.collect()), 0);
  }

  #publishNumbers(numbers: readonly (readonly [string, number])[], from: number): void {
    for (const [name, value] of numbers.slice(from, from + batchMax)) this.#publish(`${this.#prefix}/${name}`, String(value));
    if (from + batchMax < numbers.length) this.#env.clock.endOfTurn(() => this.#publishNumbers(numbers, from + batchMax));
  }

  #keep(topicName: string, text: string): void {
    const changed = this.#broker.limits.retainAvailable && this.#retained.get(topicName) !== text;
    if (changed) this.#retained.set(topicName, text);
    if (changed || this.#broker.systemWanted) this.#publish(topicName, text, changed);
  }

  #publish(topicName: string, text: string, retain: boolean = false): void {
    this.#broker.publishOwn(makeMessage(topicName, utf8Encode(text), 0, retain, undefined, Number.POSITIVE_INFINITY, ''));
  }

  // ---- alarms ----

  /** Raises an alarm, or says that it is over: `$SYS/brokers/NODE/alarms/activate` and `…/deactivate`. */
  alarm(name: string, raised: boolean, message: string, details: Readonly<Record<string, string | number>>): void {
    const now = this.#env.clock.wallNow();
    const since = this.#alarms.get(name) ?? now;
    if (raised) this.#alarms.set(name, since);
    else this.#alarms.delete(name);
    if (!this.#broker.systemWanted) return;
    // EMQX counts microseconds here.
    const about = { name, message, details, activate_at: since * 1000, ...(raised ? {} : { deactivate_at: now * 1000 }) };
    this.#publish(`${this.#prefix}/alarms/${raised ? 'activate' : 'deactivate'}`, JSON.stringify(about));
  }

  // ---- clients ----

  connected(channel: Channel, session: Session): void {
    if (!this.#options.clientConnected || !this.#broker.systemWanted) return;
    this.#event(channel.clientId, 'connected', {
      ...this.#common(channel),
      keepalive: channel.keepAliveS,
      clean_start: channel.cleanStart,
      expiry_interval: session.expiryIntervalS,
    });
  }

  disconnected(channel: Channel, end: ChannelEnd): void {
    if (!this.#options.clientDisconnected || !this.#broker.systemWanted) return;
    const disconnected_at = this.#env.clock.wallNow();
    this.#event(channel.clientId, 'disconnected', { ...this.#common(channel), reason: reasonOf(end), disconnected_at });
  }

  subscribed(session: Session, topicFilter: string, o: SubscriptionOptions): void {
    if (!this.#options.clientSubscribed || !this.#broker.systemWanted) return;
    const subopts = { qos: o.qos, nl: o.noLocal ? 1 : 0, rap: o.retainAsPublished ? 1 : 0, rh: o.retainHandling };
    this.#event(session.clientId, 'subscribed', { ...this.#who(session), topic: topicFilter, subopts });
  }

  unsubscribed(session: Session, topicFilter: string): void {
    if (!this.#options.clientUnsubscribed || !this.#broker.systemWanted) return;
    this.#event(session.clientId, 'unsubscribed', { ...this.#who(session), topic: topicFilter });
  }

  #who(session: Session): Record<string, unknown> {
    return { clientid: session.clientId, username: session.username ?? 'undefined', protocol: 'mqtt', ts: this.#env.clock.wallNow() };
  }

  #common(channel: Channel): Record<string, unknown> {
    const colon = channel.peer.lastIndexOf(':');
    return {
      clientid: channel.clientId,
      username: channel.username ?? 'undefined',
      ipaddress: channel.peer.slice(0, colon).replace(/^\[|\]$/g, ''),
      protocol: 'mqtt',
      proto_name: channel.version === 3 ? 'MQIsdp' : 'MQTT',
      proto_ver: channel.version,
      connected_at: channel.connectedAt,
      ts: this.#env.clock.wallNow(),
    };
  }

  #event(clientId: string, event: string, about: Record<string, unknown>): void {
    this.#publish(`${this.#prefix}/clients/${levelOf(clientId)}/${event}`, JSON.stringify(about));
  }
}

/** Client ids may hold what a topic name must not. */
function levelOf(clientId: string): string {
  return clientId.replaceAll(/[+#]/g, (c) => (c === '+' ? '%2B' : '%23'));
}

/** EMQX's words for the usual ends. */
function reasonOf(end: ChannelEnd): string {
  if (end.by === 'transport') return 'tcp_closed';
  if (end.by === 'client') return end.reasonCode === ReasonCode.normalDisconnection ? 'normal' : reasonCodeName(end.reasonCode);
  switch (end.reasonCode) {
    case ReasonCode.keepAliveTimeout:
      return 'keepalive_timeout';
    case ReasonCode.sessionTakenOver:
      return 'takenover';
    case ReasonCode.administrativeAction:
      return 'kicked';
    default:
      return reasonCodeName(end.reasonCode);
  }
}

const dayMs = 86_400_000;

/** UTC, as `2026-11-23T02:01:11.000Z`. */
export function rfc3339(wallMs: number): string {
  const days = Math.floor(wallMs / dayMs);
  const ms = Math.floor(wallMs - days * dayMs);
  // Days since 1 March 0000, by eras of 400 years.
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const ofEra = shifted - era * 146_097;
  const yearOfEra = Math.floor((ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365);
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * ofYear + 2) / 153);
  const day = ofYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const two = (n: number): string => String(n).padStart(2, '0');
  const time = `${two(Math.floor(ms / 3_600_000))}:${two(Math.floor(ms / 60_000) % 60)}:${two(Math.floor(ms / 1000) % 60)}`;
  return `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}T${time}.${String(ms % 1000).padStart(3, '0')}Z`;
}

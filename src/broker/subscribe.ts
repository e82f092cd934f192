// The journeys of SUBSCRIBE and UNSUBSCRIBE. SUBSCRIBE: added here first, so that nothing is missed;
// then the route, and SUBACK when every filter's route is effective (or the wait for it ended); a filter
// whose route could not be written is taken back and refused. Retained messages follow the SUBACK.
import type { QoS } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { parseTopicFilter } from '#mqtt/topic.js';
import type { Channel, SubscribeRequest } from '#session/channel.js';
import type { Session } from '#session/session.js';
import { Subscription, type SubscriptionOptions } from '#session/session.js';
import { askAccess, deniedCode, openAccess } from './access.js';
import { CatchUp } from './catch-up.js';
import type { Core } from './core.js';
import type { RouteOutcome } from './ports.js';
import type { Sessions } from './sessions.js';

/** What rights are asked for: without `$share/GROUP/`. */
function matchedFilter({ topicFilter }: SubscribeRequest): string {
  return parseTopicFilter(topicFilter, Number.POSITIVE_INFINITY)?.topicFilter ?? topicFilter;
}

/** A SUBSCRIBE that waits for its routes. */
interface Job {
  readonly channel: Channel;
  readonly session: Session;
  readonly packetId: number;
  readonly requests: SubscribeRequest[];
  /** Filters not answered yet; one more while the job is being begun. */
  open: number;
  /** What to look for in the retained messages once SUBACK is out. */
  readonly retained: { readonly subscription: Subscription; wanted: boolean; readonly catchUp: CatchUp }[];
  /** Filters that the session did not have, as it keeps them. */
  readonly added: Set<string>;
  /** Of what is written of persistent sessions. */
  readonly writtenBefore: number;
}

export class Subscriber {
  readonly #core: Core;
  readonly #sessions: Sessions;

  constructor(core: Core, sessions: Sessions) {
    this.#core = core;
    this.#sessions = sessions;
  }

  subscribe(channel: Channel, session: Session, packetId: number, requests: SubscribeRequest[]): void {
    const job: Job = {
      channel,
      session,
      packetId,
      requests,
      open: 1,
      retained: [],
      added: new Set(),
      writtenBefore: this.#core.durable?.position ?? 0,
    };
    this.#core.metrics.clientSubscribe.value += requests.length;
    for (const request of requests) {
      if (channel.session !== session) break; // closed for what it wanted
      if (request.reasonCode >= 0x80) continue;
      const may = this.#mayUse(channel, request);
      if (may === undefined) this.#ask(job, request);
      else this.#judged(job, request, may);
    }
    this.#answered(job);
  }

  /** Somebody else has to say whether the client may; it is not read meanwhile. */
  #ask(job: Job, request: SubscribeRequest): void {
    const { channel, session } = job;
    job.open++;
    channel.pauseReading();
    askAccess(this.#core.access, channel, 'subscribe', matchedFilter(request), request.options.qos, false, (allowed) => {
      channel.resumeReading();
      if (channel.session === session) this.#judged(job, request, allowed);
      this.#answered(job);
    });
  }

  #judged(job: Job, request: SubscribeRequest, allowed: boolean): void {
    if (allowed) {
      this.#allowed(job, request);
      return;
    }
    request.reasonCode = deniedCode(this.#core.access);
    if (this.#core.access.denyAction === 'disconnect') job.channel.disconnect(ReasonCode.notAuthorized, this.#core.now());
  }

  #allowed(job: Job, request: SubscribeRequest): void {
    const hook = this.#core.hooks.subscribe;
    if (hook === undefined) {
      this.#enter(job, request);
      return;
    }
    const { channel, session } = job;
    job.open++;
    channel.pauseReading();
    hook(channel, request, (reasonCode) => {
      channel.resumeReading();
      request.reasonCode = reasonCode;
      const { options } = request;
      const granted = { ...options, qos: Math.min(reasonCode, options.qos) as QoS };
      if (reasonCode < 0x80 && channel.session === session) this.#enter(job, request, granted);
      this.#answered(job);
    });
  }

  /** An exclusive one needs its filter for itself first. */
  #enter(job: Job, request: SubscribeRequest, options: SubscriptionOptions = request.options): void {
    const { exclusive } = this.#core.ports;
    if (options.exclusive !== true) {
      this.#begin(job, request, options);
      return;
    }
    if (exclusive === undefined) {
      request.reasonCode = ReasonCode.topicFilterInvalid;
      return;
    }
    const { channel, session } = job;
    job.open++;
    channel.pauseReading();
    exclusive.take(request.key, session.clientId, (outcome) => {
      channel.resumeReading();
      if (outcome !== 'taken') request.reasonCode = outcome === 'held' ? ReasonCode.quotaExceeded : ReasonCode.implementationSpecificError;
      else if (channel.session === session) this.#begin(job, request, options);
      else if (session.subscriptions.get(request.key)?.exclusive !== true) exclusive.release(request.key, session.clientId);
      this.#answered(job);
    });
  }

  unsubscribe(channel: Channel, session: Session, packetId: number, topicFilters: readonly string[]): void {
    const { hooks } = this.#core;
    this.#core.metrics.clientUnsubscribe.value += topicFilters.length;
    hooks.unsubscribe?.(channel, topicFilters);
    const codes: number[] = [];
    const writtenBefore = this.#core.durable?.position ?? 0;
    for (const topicFilter of topicFilters) {
      const subscription = session.subscriptions.get(topicFilter); // compared character by character [MQTT-3.10.4-1]
      if (subscription !== undefined) {
        this.#sessions.unsubscribe(subscription); // [MQTT-3.10.4-2]
        hooks.unsubscribed?.(session, topicFilter);
        this.#core.sys?.unsubscribed(session, topicFilter);
      }
      codes.push(subscription === undefined ? ReasonCode.noSubscriptionExisted : ReasonCode.success);
    }
    const { durable } = this.#core;
    if (durable === undefined || session.log === undefined)
      channel.unsuback(packetId, codes); // [MQTT-3.10.4-5] [MQTT-3.11.3-1]
    else {
      durable.kept(writtenBefore, (ok) => {
        if (channel.session === session) channel.unsuback(packetId, ok ? codes : codes.map(() => ReasonCode.implementationSpecificError));
      });
    }
  }

  #mayUse(channel: Channel, request: SubscribeRequest): boolean | undefined {
    const { access } = this.#core;
    return access === openAccess || access.maySubscribe(channel, matchedFilter(request), request.options.qos, this.#core.now());
  }

  #begin(job: Job, request: SubscribeRequest, options: SubscriptionOptions): void {
    const { session } = job;
    const existing = session.subscriptions.get(request.key);
    const isNew = existing === undefined;
    const subscription = existing ?? new Subscription(session, request.key, options);
    if (isNew) {
      job.added.add(request.key);
      session.addSubscription(subscription);
      this.#core.subscribers.add(subscription);
    } else {
      subscription.update(options); // [MQTT-3.8.4-3]
      this.#core.subscribers.changed(subscription);
    }
    const handling = options.retainHandling;
    const own = subscription.group === undefined; // nothing retained goes to shared subscriptions: section 4.8.2
    const wanted = own && (handling === 0 || (handling === 1 && isNew)); // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
    const catchUp = wanted ? CatchUp.of(this.#core, session) : undefined;
    catchUp?.begin();
    job.open++;
    this.#core.ports.routes.add(request.key, (outcome) => {
      this.#routed(request, subscription, outcome);
      if (catchUp !== undefined) job.retained.push({ subscription, wanted: outcome !== 'failed', catchUp });
      this.#answered(job);
    });
  }

  #routed(request: SubscribeRequest, subscription: Subscription, outcome: RouteOutcome): void {
    if (outcome !== 'failed') {
      subscription.settled = true;
      this.#core.hooks.subscribed?.(subscription.session, subscription.topicFilter, subscription.options);
      this.#core.sys?.subscribed(subscription.session, subscription.topicFilter, subscription.options);
      return;
    }
    const { session } = subscription;
    // Its UNSUBSCRIBE has overtaken it, and has been answered: it was granted, and is over.
    if (!session.ended && session.subscriptions.get(subscription.topicFilter) !== subscription) return;
    request.reasonCode = ReasonCode.implementationSpecificError;
    this.#core.metrics.subscribeFailed.value++;
    // One that was in force before keeps its place.
    if (!subscription.settled && session.subscriptions.get(subscription.topicFilter) === subscription) this.#sessions.unsubscribe(subscription);
  }

  #answered(job: Job): void {
    if (--job.open > 0) return;
    const { durable } = this.#core;
    if (durable === undefined || job.session.log === undefined) {
      this.#answer(job);
      return;
    }
    durable.kept(job.writtenBefore, (ok) => {
      if (!ok) this.#refuse(job);
      this.#answer(job);
    });
  }

  /** What is granted to a persistent session has to be on disk. One that was in force before keeps its place. */
  #refuse(job: Job): void {
    for (const request of job.requests) {
      if (request.reasonCode >= 0x80) continue;
      request.reasonCode = ReasonCode.quotaExceeded;
      const subscription = job.session.subscriptions.get(request.key);
      if (job.added.has(request.key) && subscription !== undefined) this.#sessions.unsubscribe(subscription);
    }
    for (const retained of job.retained) retained.wanted = false;
  }

  #answer(job: Job): void {
    if (job.channel.session === job.session) {
      job.channel.suback(
        job.packetId,
        job.requests.map((r) => r.reasonCode),
      ); // [MQTT-3.8.4-2] [MQTT-3.8.4-6] [MQTT-3.9.3-1]
    }
    for (const { subscription, wanted, catchUp } of job.retained) catchUp.settled(subscription, wanted); // [MQTT-3.8.4-4]
  }
}

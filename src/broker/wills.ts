// Wills (3.1.2.5): kept with the connection, published when it ends without being taken back, at once
// or after the Will Delay Interval, at the latest when the session ends. The delay runs on the session's
// own timer (`sessions.ts`).
import type { Will } from '#mqtt/packet.js';
import { mountName } from '#mqtt/special-topics.js';
import type { Message } from '#session/message.js';
import { expiryTime, makeMessage, messageProperties } from '#session/message.js';
import type { Session } from '#session/session.js';
import { AbsentClient } from './absent-client.js';
import { type AccessClient, askAccess } from './access.js';
import type { Core } from './core.js';
import type { Publisher } from './publish.js';

interface PendingWill {
  readonly will: Will;
  readonly client: AccessClient;
  /** Monotonic ms. */
  readonly due: number;
}

export class Wills {
  readonly #core: Core;
  readonly #publisher: Publisher;
  readonly #pending = new Map<Session, PendingWill>();

  constructor(core: Core, publisher: Publisher) {
    this.#core = core;
    this.#publisher = publisher;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The connection ended and the will stands. `sessionEnds`: there is nothing to wait for. [MQTT-3.1.3-9] */
  lost(session: Session, will: Will, client: AccessClient, sessionEnds: boolean, now: number): void {
    const delayS = will.properties?.willDelayInterval ?? 0;
    if (delayS === 0 || sessionEnds) this.#publish(will, client, now);
    else this.#pending.set(session, { will, client, due: now + delayS * 1000 });
  }

  /** One that was waiting, or whose client was connected, when this node ended. */
  restore(session: Session, will: Will, due: number): void {
    this.#pending.set(session, { will, client: new AbsentClient(session.clientId, session.username, session.mountpoint), due });
  }

  pending(session: Session): { readonly will: Will; readonly due: number } | undefined {
    return this.#pending.get(session);
  }

  /** When the session's will is due; undefined when none waits. */
  due(session: Session): number | undefined {
    return this.#pending.get(session)?.due;
  }

  /** The client continued its session in time. */
  cancel(session: Session): void {
    this.#pending.delete(session);
  }

  /** The delay is over, or the session is. [MQTT-3.1.2-8] */
  fire(session: Session, now: number): void {
    const pending = this.#pending.get(session);
    if (pending === undefined) return;
    this.#pending.delete(session);
    this.#publish(pending.will, pending.client, now);
  }

  #publish(will: Will, client: AccessClient, now: number): void {
    // Rights may have changed since CONNECT.
    const { access } = this.#core;
    const topicName = this.#core.rightsTopic(will.topicName);
    const may = access.mayPublish(client, topicName, will.qos, will.retain, now);
    const judged = (allowed: boolean): void => this.#judged(will, client, allowed);
    if (may === undefined) askAccess(access, client, 'publish', topicName, will.qos, will.retain, judged);
    else judged(may);
  }

  #judged(will: Will, client: AccessClient, allowed: boolean): void {
    if (!allowed) {
      this.#core.metrics.publishDenied.value++;
      return;
    }
    const now = this.#core.now();
    this.#core.metrics.willsPublished.value++;
    this.#publisher.publishOwn(willMessage(will, client, now), now);
  }
}

function willMessage(will: Will, { clientId, mountpoint = '' }: AccessClient, now: number): Message {
  const p = will.properties;
  const message = makeMessage(
    mountName(mountpoint, will.topicName),
    will.payload,
    will.qos,
    will.retain, // [MQTT-3.1.2-14] [MQTT-3.1.2-15]
    messageProperties(p),
    expiryTime(p?.messageExpiryInterval, now),
    clientId,
  );
  message.kept = true;
  return message;
}

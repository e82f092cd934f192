// Wills (3.1.2.5): kept with the connection, published when it ends without being taken back, at once
// or after the Will Delay Interval, at the latest when the session ends. The delay runs on the session's
// own timer (`sessions.ts`).
import { MalformedError } from '#base/byte-reader.js';
import type { Will } from '#mqtt/packet.js';
import { mountName } from '#mqtt/special-topics.js';
import type { Message } from '#session/message.js';
import { expiryTime, makeMessage, messageProperties } from '#session/message.js';
import type { Session } from '#session/session.js';
import type { WillRecord } from '#session/session-meta.js';
import { AbsentClient } from './absent-client.js';
import { type AccessClient, askAccess } from './access.js';
import type { Core } from './core.js';
import type { Publisher } from './publish.js';
import { decodeWillBody, standingWill, willOrigin } from './will-body.js';

interface PendingWill {
  readonly will: Will;
  readonly client: AccessClient;
  /** Of its connection; 0: it stands with nobody else. */
  readonly epoch: number;
  /** Monotonic ms. */
  readonly due: number;
}

export class Wills {
  readonly #core: Core;
  readonly #publisher: Publisher;
  readonly #pending = new Map<Session, PendingWill>();
  /** Those that stand with the registry, as far as this node has heard or was told by its journal. */
  readonly #standing = new WeakSet<Will>();

  constructor(core: Core, publisher: Publisher) {
    this.#core = core;
    this.#publisher = publisher;
    core.ports.registry.onWill?.((clientId, epoch, body, done) => this.#publishLeft(clientId, epoch, body, done));
  }

  /** For the registration of its client; undefined: none that could stand there. */
  standing(client: AccessClient, will: Will | undefined, expiryIntervalS: number): Uint8Array | undefined {
    const { access, ports } = this.#core;
    if (will === undefined || ports.registry.onWill === undefined || ports.registry.keepsWills?.() === false) return undefined;
    const { clientId, username, mountpoint = '' } = client;
    // Who has its rights by its connection has none when that is gone: what was said at CONNECT holds.
    const topicName = this.#core.rightsTopic(will.topicName);
    const absent = new AbsentClient(clientId, username, mountpoint);
    const underRules =
      access.isUnderRules?.(client) !== false && access.mayPublish(absent, topicName, will.qos, will.retain, this.#core.now()) === true;
    const standing = standingWill({ username, mountpoint }, will, expiryIntervalS, underRules);
    if (standing === undefined) this.#core.metrics.willsTooLong.value++;
    else this.#standing.add(will);
    return standing;
  }

  /** As it is kept with its session, from the registration of its connection on. */
  record(will: Will, dueAtMs: number): WillRecord {
    return this.#standing.has(will) ? { will, dueAtMs, stands: true } : { will, dueAtMs };
  }

  /** The node of its client is lost, and this one leads where it stood. */
  #publishLeft(clientId: string, epoch: number, body: Uint8Array, done: () => void): void {
    let left: ReturnType<typeof decodeWillBody>;
    try {
      left = decodeWillBody(body);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      done();
      return;
    }
    const client = new AbsentClient(clientId, left.username, left.mountpoint);
    if (left.will === undefined) done();
    else if (left.underRules) this.#publish(left.will, client, epoch, this.#core.now(), done);
    else this.#judged(left.will, client, epoch, true, done);
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The connection ended and the will stands. `sessionEnds`: there is nothing to wait for. [MQTT-3.1.3-9] */
  lost(session: Session, will: Will, client: AccessClient, sessionEnds: boolean, now: number): void {
    const delayS = will.properties?.willDelayInterval ?? 0;
    const epoch = this.#standing.has(will) ? session.epoch : 0;
    if (delayS === 0 || sessionEnds) this.#publish(will, client, epoch, now);
    else this.#pending.set(session, { will, client, epoch, due: now + delayS * 1000 });
  }

  /** One that was waiting, or whose client was connected, when this node ended. */
  restore(session: Session, will: Will, due: number): void {
    const { clientId, username, mountpoint } = session;
    const epoch = this.#standing.has(will) ? session.epoch : 0;
    this.#pending.set(session, { will, client: new AbsentClient(clientId, username, mountpoint), epoch, due });
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
    this.#publish(pending.will, pending.client, pending.epoch, now);
  }

  #publish(will: Will, client: AccessClient, epoch: number, now: number, done: () => void = nothing): void {
    // Rights may have changed since CONNECT.
    const { access } = this.#core;
    const topicName = this.#core.rightsTopic(will.topicName);
    const may = access.mayPublish(client, topicName, will.qos, will.retain, now);
    const judged = (allowed: boolean): void => this.#judged(will, client, epoch, allowed, done);
    if (may === undefined) askAccess(access, client, 'publish', topicName, will.qos, will.retain, judged);
    else judged(may);
  }

  #judged(will: Will, client: AccessClient, epoch: number, allowed: boolean, done: () => void): void {
    if (!allowed) {
      this.#core.metrics.publishDenied.value++;
      done();
      return;
    }
    const now = this.#core.now();
    this.#core.metrics.willsPublished.value++;
    const message = willMessage(will, client, now);
    if (epoch > 0) {
      message.originIncarnation = willOrigin(client.clientId);
      message.originNumber = epoch;
    }
    this.#publisher.publishOwn(message, now, done, client);
  }
}

function nothing(): void {}

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

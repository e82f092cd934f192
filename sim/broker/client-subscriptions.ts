// What a simulated client subscribes to, and what became of it.
import type { QoS } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { BrokerNode } from './broker-world.js';
import { type ClientHost, never } from './client-host.js';
import type { SimSubscription } from './history.js';

export class Subscriptions {
  /** Filters that the client wants; those of a lost session are asked for again. */
  readonly wanted: Map<string, QoS> = new Map();
  readonly #client: ClientHost;
  /** SUBSCRIBE and UNSUBSCRIBE without an answer. */
  readonly #pending: Map<
    number,
    { readonly subs: SimSubscription[]; readonly unsub: boolean; readonly lossesThen: number; readonly node: BrokerNode }
  > = new Map();

  constructor(client: ClientHost) {
    this.#client = client;
  }

  connectionLost(): void {
    this.#pending.clear();
  }

  uses(packetId: number): boolean {
    return this.#pending.has(packetId);
  }

  subscribe(filters: readonly (readonly [string, QoS])[]): void {
    const { session, node } = this.#client;
    if (this.#client.state !== 'connected' || session === undefined || node === undefined) return;
    const packetId = this.#client.nextPacketId();
    const subs = filters.map(
      ([filter, qos]): SimSubscription => ({
        filter,
        qos,
        sentAt: this.#client.now,
        ackedAt: never,
        notEffective: false,
        unsubscribeSentAt: never,
        unsubscribedAt: never,
      }),
    );
    session.subscriptions.push(...subs);
    this.#pending.set(packetId, { subs, unsub: false, lossesThen: notEffective(node), node });
    this.#client.open.set(packetId, { what: `SUBSCRIBE ${filters.map((f) => f[0]).join(' ')}`, at: this.#client.now });
    this.#client.send({
      type: 'subscribe',
      packetId,
      subscriptions: filters.map(([topicFilter, qos]) => ({ topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 })),
    });
  }

  unsubscribe(filter: string): void {
    const { session, node } = this.#client;
    this.wanted.delete(filter);
    const s = session?.active(filter);
    if (this.#client.state !== 'connected' || s === undefined || node === undefined) return;
    const packetId = this.#client.nextPacketId();
    s.unsubscribeSentAt = this.#client.now;
    this.#pending.set(packetId, { subs: [s], unsub: true, lossesThen: 0, node });
    this.#client.open.set(packetId, { what: `UNSUBSCRIBE ${filter}`, at: this.#client.now });
    this.#client.send({ type: 'unsubscribe', packetId, topicFilters: [filter] });
  }

  onSuback(packetId: number, codes: readonly number[]): void {
    this.#client.open.delete(packetId);
    const pending = this.#pending.get(packetId);
    this.#pending.delete(packetId);
    if (pending === undefined) {
      this.#client.history.violation(`${this.#client.name} got SUBACK or UNSUBACK ${packetId}, which is not open`);
      return;
    }
    pending.subs.forEach((s, i) => {
      if (pending.unsub) s.unsubscribedAt = this.#client.now;
      else if ((codes[i] ?? 0x80) >= 0x80) {
        this.#client.history.count('subscribeRefused');
        this.#client.history.refusals.push({
          what: `${this.#client.name}: ${s.filter} was refused by ${pending.node.name}`,
          from: s.sentAt,
          to: this.#client.now,
          // Before 5.0 there is no such code.
          shortOfMemory:
            (codes[i] === ReasonCode.quotaExceeded || this.#client.profile.version === 4) &&
            pending.node.levels.reached(2, s.sentAt, this.#client.now),
        });
        this.#retrySubscribe(s);
      } else {
        s.ackedAt = this.#client.now;
        s.notEffective = !pending.node.sim.up || notEffective(pending.node) !== pending.lossesThen;
        if (s.notEffective) this.#client.history.count('notEffective');
        this.onSubscribed?.(s);
      }
    });
  }

  /** Hears of every filter that was granted: for publishing to it at once. */
  onSubscribed: ((s: SimSubscription) => void) | undefined = undefined;

  #retrySubscribe(s: SimSubscription): void {
    s.unsubscribeSentAt = this.#client.now;
    const { session } = this.#client;
    this.#client.world.world.after(
      200 + this.#client.prng.int(300),
      () => {
        if (this.#client.session !== session || this.#client.state !== 'connected' || session?.active(s.filter) !== undefined) return;
        if (s.filter === session?.marker || this.wanted.has(s.filter)) this.subscribe([[s.filter, s.qos]]);
      },
      this.#client.scope,
    );
  }
}

function notEffective(node: BrokerNode): number {
  return node.sim.metrics.value('starmesh_suback_not_effective_total', {});
}

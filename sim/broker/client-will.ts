// What a simulated client says of its will when it connects. Its payload names it.
import { utf8Encode } from '#base/utf8.js';
import type { Will } from '#mqtt/packet.js';
import { type ClientProfile, never } from './client-host.js';
import type { History, SimWill } from './history.js';

export function newWill({ clientId, lasting, version, willDelayS, willQos }: ClientProfile, history: History, node: string, now: number): SimWill {
  const will: SimWill = {
    clientId,
    topicName: `will/${clientId}`,
    qos: willQos,
    delayMs: version === 5 && lasting ? willDelayS * 1_000 : 0,
    session: undefined,
    acceptedAt: never,
    node,
    sentAt: now,
    lostAt: never,
    unseenFrom: never,
    resumedAt: never,
    disconnectSent: false,
    mayBeOff: false,
    received: new Map(),
    withdrawn: undefined,
  };
  history.wills.push(will);
  return will;
}

export function willOf({ version, willDelayS }: ClientProfile, { wills }: History, { topicName, qos }: SimWill): Will {
  const payload = utf8Encode(`w${wills.length - 1}`);
  return { topicName, payload, qos, retain: false, ...(version === 5 ? { properties: { willDelayInterval: willDelayS } } : {}) };
}

/** Times in which a client reads nothing: its node may end the connection, and it does not know. */
export class Blindness {
  #from = 0;
  #until = -1;
  #last = Number.NEGATIVE_INFINITY;

  begin(now: number, ms: number): void {
    if (now > this.#until) this.#from = now;
    this.#until = Math.max(this.#until, now + ms + 1);
    this.#last = this.#until;
  }

  /** Whether it read nothing for some time since then. */
  wasSince(at: number): boolean {
    return this.#last >= at;
  }

  /** The connection is over, as it knows now: since when it may have been. */
  over(now: number): number {
    const from = now > this.#until ? now : this.#from;
    this.#until = -1;
    return from;
  }
}

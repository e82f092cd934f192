// When a message counts as accepted: by those that it was forwarded to, and, where it went to persistent
// sessions of this node, once it is on disk for them. Only then its publisher is answered. Part of `publish.ts`.
import { ReasonCode } from '#mqtt/reason-code.js';
import { type Channel, settle, settleRefused } from '#session/channel.js';
import type { DeferredAck } from '#session/session.js';
import type { Core } from './core.js';
import { Gather } from './gather.js';
import type { ForwardOutcome } from './ports.js';

/** `kept`: persistent sessions that got it have it on disk. */
export type Routed = (matched: boolean, kept: boolean) => void;

/** `written`: what had been written for persistent sessions before the message was delivered. */
export class Acceptance {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Acknowledges, once what was written since for persistent sessions is on disk. */
  acknowledge(channel: Channel, packetId: number, qos: 1 | 2, reasonCode: number, written: number | undefined): void {
    const { durable } = this.#core;
    // The identifier of a QoS 2 message of a persistent session is written itself: `settle` does it.
    if (durable === undefined || (durable.position === written && (qos === 1 || channel.session?.log === undefined))) {
      channel.acknowledge(packetId, qos, reasonCode);
      return;
    }
    const ack = channel.defer(packetId, qos);
    if (durable.position === written) settle(ack, reasonCode);
    else durable.kept(written ?? 0, (ok) => this.settle(ack, reasonCode === 0, ok));
  }

  settle(ack: DeferredAck, matched: boolean, kept: boolean): void {
    if (kept) settle(ack, matched ? 0 : ReasonCode.noMatchingSubscribers);
    else settleRefused(ack, ReasonCode.quotaExceeded, this.#core.now());
  }

  /** Waits for one answer, and for what was written since for persistent sessions. */
  gather(written: number | undefined, done: (matched: boolean, kept: boolean) => void): Gather {
    const gather = new Gather(done);
    const { durable } = this.#core;
    if (durable === undefined || durable.position === written) return gather;
    gather.wait();
    durable.kept(written ?? 0, (ok) => gather.kept(ok));
    return gather;
  }
}

export function taken(gather: Gather, outcome: ForwardOutcome, matched: boolean): void {
  if (outcome === 'refused') gather.kept(false);
  else gather.one(matched);
}

// What other nodes (through the registry) ask of a session that is here: to hand it over in two phases,
// or to end. A request with another epoch than the session's is stale, or too early, and finds nothing.
import { WheelTimer } from '#base/timer-wheel.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Session } from '#session/session.js';
import { encodeRest, encodeSession } from '#session/session-codec.js';
import type { Core } from './core.js';
import type { HeldSession, TakeoverSource } from './ports.js';
import type { Sessions } from './sessions.js';
import { ticketFor } from './settling.js';

/** Messages that a session takes along as known. */
const recentMax = 10_000;

/** When a session that was handed over is still here, the takeover has failed. */
const returnMs = 30_000;

/** The session may be picked for its groups again. */
class Return extends WheelTimer {
  readonly #core: Core;
  readonly #session: Session;

  constructor(core: Core, session: Session) {
    super();
    this.#core = core;
    this.#session = session;
  }

  onTimer(): void {
    const session = this.#session;
    if (!session.ended && session.channel === undefined) this.#core.subscribers.presence(session, 'away');
  }
}

function isMember(session: Session): boolean {
  for (const subscription of session.subscriptions.values()) if (subscription.group !== undefined) return true;
  return false;
}

export class Takeover implements TakeoverSource {
  readonly #core: Core;
  readonly #sessions: Sessions;
  /** Sessions that somebody has got entirely: their end is not the end of the client's session. */
  readonly #handedOver = new WeakSet<Session>();

  constructor(core: Core, sessions: Sessions) {
    this.#core = core;
    this.#sessions = sessions;
  }

  begin(clientId: string, epoch: number): Uint8Array | undefined {
    const session = this.#held(clientId, epoch);
    if (session === undefined) return undefined;
    const now = this.#core.now();
    if (session.channel !== undefined) {
      this.#core.metrics.sessionTakenover.value++;
      this.#core.hooks.session?.('takenover', session);
      session.channel.disconnect(ReasonCode.sessionTakenOver, now);
    }
    // A session that was to end with its connection has.
    if (session.ended) return undefined;
    this.#sessions.continuedElsewhere(session);
    // What the session got here, or brought along, may be late where it goes.
    const { recent, options } = this.#core;
    const here = recent.matching(session.subscriptions.keys(), now - options.retainedDedupMs, recentMax);
    return encodeSession(session, now, [...here, ...(session.gate?.known?.() ?? [])].slice(0, recentMax));
  }

  finish(clientId: string, epoch: number): Uint8Array | undefined {
    const session = this.#held(clientId, epoch);
    if (session === undefined) return undefined;
    const now = this.#core.now();
    this.#handedOver.add(session);
    // What it is picked for from now on would be lost.
    if (isMember(session)) {
      this.#core.subscribers.presence(session, 'leaving');
      this.#core.timers.schedule(new Return(this.#core, session), now + returnMs);
    }
    return encodeRest(session, now, ticketFor(this.#core, session));
  }

  discard(clientId: string, epoch: number, reasonCode: number): void {
    const session = this.#held(clientId, epoch);
    if (session === undefined) return;
    const now = this.#core.now();
    if (this.#handedOver.has(session) && session.channel === undefined) this.#sessions.moved(session, now);
    else this.#sessions.discard(session, reasonCode, now, 'silent');
  }

  confirmed(clientId: string, epoch: number): void {
    this.#sessions.confirmed(clientId, epoch);
  }

  kick(clientId: string, reasonCode: number): boolean {
    return this.#sessions.discardAll(clientId, reasonCode, this.#core.now(), 'tell');
  }

  heldEpoch(clientId: string): number | undefined {
    return this.#sessions.registered(clientId)?.epoch;
  }

  *held(): IterableIterator<HeldSession> {
    for (const session of this.#sessions.all()) {
      if (session.epoch === 0) continue;
      const { clientId, epoch, channel, log, expiryIntervalS } = session;
      yield { clientId, epoch, connected: channel !== undefined, durable: log !== undefined, sessionExpiryInterval: expiryIntervalS };
    }
  }

  #held(clientId: string, epoch: number): Session | undefined {
    const session = this.#sessions.registered(clientId);
    return session?.epoch === epoch ? session : undefined;
  }
}

// Sessions that were taken in while no quorum of cores answered. They are offered to the registry again
// until it knows them; one that another node holds meanwhile loses, and is disconnected with 0x8E.
import { WheelTimer } from '#base/timer-wheel.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Session } from '#session/session.js';
import type { Core } from './core.js';
import type { RegisterResult } from './ports.js';
import type { Sessions } from './sessions.js';

export class Unregistered extends WheelTimer {
  readonly #core: Core;
  readonly #sessions: Sessions;
  readonly #waiting = new Set<Session>();
  #open = 0;

  constructor(core: Core, sessions: Sessions) {
    super();
    this.#core = core;
    this.#sessions = sessions;
  }

  get count(): number {
    return this.#waiting.size;
  }

  add(session: Session): void {
    this.#waiting.add(session);
    this.#arm();
  }

  #arm(): void {
    if (this.#waiting.size > 0 && this.#open === 0 && this.wheelSlot === -1) {
      this.#core.timers.schedule(this, this.#core.now() + this.#core.options.reregisterEveryMs);
    }
  }

  onTimer(): void {
    const batch: Session[] = [];
    for (const session of this.#waiting) {
      if (session.ended) this.#waiting.delete(session);
      else if (batch.push(session) >= this.#core.options.reregisterBatch) break;
    }
    this.#open = batch.length;
    if (batch.length === 0) this.#arm();
    for (const session of batch) {
      const request = { clientId: session.clientId, cleanStart: false, sessionExpiryInterval: session.expiryIntervalS };
      this.#core.ports.registry.register(request, (result) => {
        this.#open--;
        this.#registered(session, result);
        this.#arm();
      });
    }
  }

  #registered(session: Session, result: RegisterResult): void {
    const now = this.#core.now();
    if (result.kind === 'failed' && result.reason === 'no-quorum') return;
    this.#waiting.delete(session);
    if (session.ended) {
      if (result.kind === 'fresh') this.#core.ports.registry.ended(session.clientId, result.epoch);
      return;
    }
    if (result.kind === 'fresh' || result.kind === 'local') {
      // A CONNECT of the client may have been registered since.
      if (result.epoch < session.epoch) return;
      session.epoch = result.epoch;
      if (session.channel === undefined) this.#core.ports.registry.disconnected(session.clientId, result.epoch);
      return;
    }
    // Another node holds the client's session, or has taken it: the client comes back and gets that one.
    if (result.kind === 'remote') this.#core.ports.registry.disconnected(session.clientId, result.epoch);
    this.#sessions.discard(session, ReasonCode.sessionTakenOver, now, 'silent');
  }
}

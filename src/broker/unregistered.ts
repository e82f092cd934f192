// Sessions that were taken in while no quorum of cores answered. They are offered to the registry again
// until it knows them. One whose client has a session by the registry's row loses, be that on another node
// or kept aside on this one: it is disconnected with 0x8E. Until it is known it ends with its connection: its client
// may go on with another session where there is a quorum, and end that one, and nobody here would hear of it.
import { WheelTimer } from '#base/timer-wheel.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { Channel } from '#session/channel.js';
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
      const durable = this.#core.durable !== undefined && session.lasting;
      const { clientId, expiryIntervalS, channel } = session;
      const will = channel instanceof Channel ? this.#sessions.standingWill(channel, channel.will, expiryIntervalS) : undefined;
      const request = { clientId, cleanStart: false, sessionExpiryInterval: expiryIntervalS, durable, offer: true, will };
      this.#core.ports.registry.register(request, (result) => {
        this.#open--;
        this.#registered(session, result);
        this.#arm();
      });
    }
  }

  #registered(session: Session, result: RegisterResult): void {
    if (result.kind === 'failed' && result.reason === 'no-quorum') return;
    this.#waiting.delete(session);
    const { clientId } = session;
    const now = this.#core.now();
    const aside = this.#sessions.registered(clientId);
    if (result.kind === 'fresh' || result.kind === 'local') {
      if (result.kind === 'local' && aside?.epoch === result.heldEpoch) {
        // The session that the client had here before is the registry's: it comes back to that one.
        aside.epoch = result.epoch;
        this.#core.durable?.changed(aside);
        this.#sessions.discard(session, ReasonCode.sessionTakenOver, now, 'silent');
        if (aside.channel === undefined) this.#core.ports.registry.disconnected(clientId, result.epoch, 'over');
        return;
      }
      if (session.ended) {
        if (aside === undefined) this.#core.ports.registry.ended(clientId, result.epoch, 'over');
        return;
      }
      if (aside !== undefined) this.#sessions.discard(aside, ReasonCode.sessionTakenOver, now, 'silent');
      session.epoch = result.epoch;
      this.#sessions.keep(session, session.channel instanceof Channel ? session.channel : undefined);
      return;
    }
    // Another node holds the client's session, or has taken it: the client comes back and gets that one.
    this.#sessions.discard(session, ReasonCode.sessionTakenOver, now, 'silent');
  }
}

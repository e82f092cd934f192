// Asks the other nodes whether all that they had sent here by now has come: each answers in its forward
// lane, behind what it sent before. A session that is about to leave waits for it, so that what was
// routed to it here still finds it (registry.ts). forward.ts owns it.
// Invariants: `done` runs once, at the latest after `waitMsMax`; who asks in one turn shares a round.
import { ByteWriter } from '#base/byte-writer.js';
import type { Clock } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Links, PeerHello } from '#link/api.js';
import { frameKind } from './forward-frame.js';

const waitMsMax = 1_000;

interface Round {
  readonly token: number;
  /** Nodes that have not answered. */
  readonly waiting: Set<string>;
  done: readonly (() => void)[];
}

export class ForwardProbes {
  readonly #clock: Clock;
  readonly #links: Links;
  readonly #timeouts: Counter;
  #token = 0;
  #asking: (() => void)[] = [];
  #rounds: Round[] = [];

  constructor(clock: Clock, metrics: Metrics, links: Links) {
    this.#clock = clock;
    this.#links = links;
    this.#timeouts = metrics.counter('starmesh_forward_probe_timeouts_total', 'Waits for what other nodes had sent that ended without their answer');
  }

  /** `done`: what the linked nodes had sent here before this call was taken, or the wait for it ended. */
  arrived(done: () => void): void {
    this.#asking.push(done);
    if (this.#asking.length === 1) this.#clock.endOfTurn(() => this.#begin());
  }

  answered(from: PeerHello, token: number): void {
    for (const round of this.#rounds) if (round.token <= token) round.waiting.delete(from.nodeId);
    this.#settle();
  }

  /** What was asked over the old connection may be lost. */
  connected(peer: PeerHello): void {
    const last = this.#rounds.at(-1);
    if (last !== undefined) this.#send(peer.nodeId, last.token);
  }

  #begin(): void {
    const round: Round = { token: ++this.#token, waiting: new Set(this.#links.peers().map((p) => p.nodeId)), done: this.#asking };
    this.#asking = [];
    this.#rounds.push(round);
    for (const nodeId of round.waiting) this.#send(nodeId, round.token);
    if (round.waiting.size > 0) {
      this.#clock.setTimer(waitMsMax, () => {
        if (round.waiting.size === 0) return;
        this.#timeouts.value++;
        round.waiting.clear();
        this.#settle();
      });
    }
    this.#settle();
  }

  #send(nodeId: string, token: number): void {
    const w = new ByteWriter(16);
    w.u8(frameKind.probe);
    w.f64(token);
    this.#links.send(nodeId, 'forward', w.view());
  }

  #settle(): void {
    const over = this.#rounds.filter((r) => r.waiting.size === 0);
    if (over.length === 0) return;
    this.#rounds = this.#rounds.filter((r) => r.waiting.size > 0);
    for (const round of over) for (const done of round.done) done();
  }
}

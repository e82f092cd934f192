// Asks the other nodes whether all that they had sent here by now has come: each answers in its forward
// lane, behind what it sent before. A session that is about to leave waits for it, so that what was
// routed to it here still finds it (registry.ts); and a session that comes waits for the nodes whose
// messages it brings, so that older ones on their own way are not overtaken (connect.ts). forward.ts owns it.
// Invariants: `done` runs once, at the latest after `waitMsMax`; who asks of all nodes in one turn shares a round.
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
  /** Incarnations that are to be asked as soon as they are linked. */
  readonly absent: Set<number>;
  readonly done: readonly (() => void)[];
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

  /** As `arrived`, of the nodes of these incarnations only; those that are not linked are waited for too. */
  arrivedOf(origins: ReadonlySet<number>, done: () => void): void {
    const linked = this.#links.peers().filter((p) => origins.has(p.incarnation));
    const absent = new Set(origins);
    for (const { incarnation } of linked) absent.delete(incarnation);
    this.#open(linked, absent, [done]);
  }

  answered(from: PeerHello, token: number): void {
    for (const round of this.#rounds) if (round.token <= token) round.waiting.delete(from.nodeId);
    this.#settle();
  }

  /** It will never be linked. */
  gone(incarnation: number): void {
    for (const round of this.#rounds) round.absent.delete(incarnation);
    this.#settle();
  }

  /** What was asked over the old connection may be lost. */
  connected(peer: PeerHello): void {
    for (const round of this.#rounds) if (round.absent.delete(peer.incarnation)) round.waiting.add(peer.nodeId);
    const last = this.#rounds.at(-1);
    if (last !== undefined) this.#send(peer.nodeId, last.token);
  }

  #begin(): void {
    const asking = this.#asking;
    this.#asking = [];
    this.#open(this.#links.peers(), new Set(), asking);
  }

  #open(peers: readonly PeerHello[], absent: Set<number>, done: readonly (() => void)[]): void {
    const round: Round = { token: ++this.#token, waiting: new Set(peers.map((p) => p.nodeId)), absent, done };
    this.#rounds.push(round);
    for (const nodeId of round.waiting) this.#send(nodeId, round.token);
    if (!isOver(round)) {
      this.#clock.setTimer(waitMsMax, () => {
        if (isOver(round)) return;
        this.#timeouts.value++;
        round.waiting.clear();
        round.absent.clear();
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
    const over = this.#rounds.filter(isOver);
    if (over.length === 0) return;
    this.#rounds = this.#rounds.filter((r) => !isOver(r));
    for (const round of over) for (const done of round.done) done();
  }
}

function isOver({ waiting, absent }: Round): boolean {
  return waiting.size === 0 && absent.size === 0;
}

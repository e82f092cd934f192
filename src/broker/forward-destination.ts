// What the forwarder knows of one other node: its link, what waits to be sent to it in this turn, and the
// window of what it has not acknowledged. forward.ts makes and drives it.
import { ByteWriter } from '#base/byte-writer.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { type PendingForward, SendWindow } from './forward-window.js';

/** All fields but the first are the forwarder's to write. */
export class Destination {
  readonly nodeId: string;
  /** 0 until the peer has said it. */
  incarnation = 0;
  up = false;
  /** Its process is known to be gone. */
  dead = false;
  /** The lane takes nothing until it drains. */
  full = false;
  congested = false;
  dirty = false;
  loose: ByteWriter = new ByteWriter(4096);
  looseMessages = 0;
  reliable: ByteWriter = new ByteWriter(4096);
  pending: PendingForward[] = [];
  /** What the node asked for with a probe, to be answered behind all that is unsent; 0: nothing. */
  probe = 0;
  readonly window: SendWindow = new SendWindow();
  readonly sent: Tally;
  readonly dropped: Tally;
  readonly lost: Tally;

  /** `name`: of the node, as people know it. */
  constructor(nodeId: string, name: string, metrics: Metrics, totals: Totals) {
    this.nodeId = nodeId;
    const tally = (total: Counter, what: string, help: string): Tally =>
      new Tally(total, metrics.counter(`starmesh_forward_peer_${what}_total`, help, { peer: name }));
    this.sent = tally(totals.sent, 'sent', 'Messages handed to the links for this node');
    this.dropped = tally(totals.dropped, 'dropped', 'QoS 0 messages for this node that were dropped');
    this.lost = tally(totals.lost, 'lost', 'QoS 1 and 2 messages for this node that were given up');
  }
}

export interface Totals {
  readonly sent: Counter;
  readonly dropped: Counter;
  readonly lost: Counter;
}

/** Counts for one destination, and for all. */
export class Tally {
  readonly #total: Counter;
  readonly #own: Counter;

  constructor(total: Counter, own: Counter) {
    this.#total = total;
    this.#own = own;
  }

  add(n: number): void {
    this.#total.value += n;
    this.#own.value += n;
  }
}

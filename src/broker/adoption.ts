// Sessions whose clients are away, on their way to a node that takes them in because this one is going (evacuation.ts): the
// calls between the nodes. The session itself moves as in a takeover (connect.ts).
import type { Links } from '#link/api.js';
import { type Adopted, decodeAdopted, encodeAdopted } from './adopted.js';
import type { Handover, Recipient } from './ports.js';
import { orUndefined } from './registry-calls.js';

const method = 'session.adopt';
/** A registration and a takeover have 5 s. */
const deadlineMs = 8_000;

export class NodeHandover implements Handover {
  readonly #links: Links;
  readonly #serves: (nodeId: string) => boolean;
  #take: (adopted: Adopted, done: (taken: boolean) => void) => void = (_adopted, done) => done(false);

  /** `serves`: whether the node is a member that runs. */
  constructor(links: Links, serves: (nodeId: string) => boolean) {
    this.#links = links;
    this.#serves = serves;
    links.handle(method, (_from, body, reply) => {
      const adopted = orUndefined(() => decodeAdopted(body));
      if (adopted === undefined) reply('malformed');
      else this.#take(adopted, (taken) => reply(undefined, Uint8Array.of(taken ? 1 : 0)));
    });
  }

  recipients(): readonly Recipient[] {
    return this.#links.peers().filter((peer) => this.#serves(peer.nodeId));
  }

  give(nodeId: string, adopted: Adopted, done: (taken: boolean) => void): void {
    this.#links.call(nodeId, method, encodeAdopted(adopted), deadlineMs, (failure, reply) => done(failure === undefined && reply[0] === 1));
  }

  onGiven(take: (adopted: Adopted, done: (taken: boolean) => void) => void): void {
    this.#take = take;
  }
}

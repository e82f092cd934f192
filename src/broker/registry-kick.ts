// Kicks: every session of a client is closed, wherever it is. The registry's row says where to look
// first; a session that it does not know (it was begun without a quorum, or its registration is just on
// its way) is looked for on every node that is linked.
//
// Invariant: `found` is said only when a node has closed a session.
import type { Database } from '#db/api.js';
import type { Links } from '#link/api.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { orUndefined } from './registry-calls.js';
import { decodeLookup, registryKey } from './registry-row.js';
import { registryTableOf } from './schema.js';
import { epochsOf } from './takeover-client.js';
import { encodeDiscard } from './takeover-frame.js';

const lookupMs = 2_000;
const callMs = 2_000;
const none: readonly number[] = [];

export class Kicks {
  readonly #db: Database;
  readonly #links: Links;
  /** Closes the client's sessions here, and says the end of the given epochs; waits for what is being registered. */
  readonly #here: (clientId: string, epochs: readonly number[], done: (found: boolean) => void) => void;

  constructor(db: Database, links: Links, here: (clientId: string, epochs: readonly number[], done: (found: boolean) => void) => void) {
    this.#db = db;
    this.#links = links;
    this.#here = here;
  }

  kick(clientId: string, done: (found: boolean) => void): void {
    this.#lookUp(clientId, (claimed) => {
      this.#ask(clientId, claimed, (found) => {
        if (found) {
          done(true);
          return;
        }
        const others = [this.#db.nodeId, ...this.#links.peers().map((p) => p.nodeId)].filter((nodeId) => !claimed.has(nodeId));
        this.#ask(clientId, new Map(others.map((nodeId) => [nodeId, none])), done);
      });
    });
  }

  /** Nodes with a claim, and its epochs. */
  #lookUp(clientId: string, done: (claimed: ReadonlyMap<string, readonly number[]>) => void): void {
    const key = registryKey(clientId);
    this.#db.command(registryTableOf(key).shard, 'lookup', key, { deadlineMs: lookupMs }, (failure, result) => {
      const claimed = new Map<string, readonly number[]>();
      const row = failure === undefined ? orUndefined(() => decodeLookup(result.reply)) : undefined;
      for (const claim of [row?.holder, row?.owner]) {
        if (claim !== undefined) claimed.set(claim.nodeId, [...epochsOf(claim), ...(claimed.get(claim.nodeId) ?? none)]);
      }
      done(claimed);
    });
  }

  #ask(clientId: string, nodes: ReadonlyMap<string, readonly number[]>, done: (found: boolean) => void): void {
    let open = nodes.size;
    let found = false;
    if (open === 0) done(false);
    const answered = (closed: boolean): void => {
      found ||= closed;
      if (--open === 0) done(found);
    };
    for (const [nodeId, epochs] of nodes) {
      if (nodeId === this.#db.nodeId) {
        this.#here(clientId, epochs, answered);
        continue;
      }
      const body = encodeDiscard({ clientId, epochs, reasonCode: ReasonCode.administrativeAction });
      this.#links.call(nodeId, 'session.kick', body, callMs, (failure, reply) => answered(failure === undefined && reply[0] === 1));
    }
  }
}

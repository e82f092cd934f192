// One thing at a time per client id on this node: a registration (with its takeover, if it needs one)
// holds the client's line. Calls of other nodes about a session whose epoch this node may not know
// yet wait behind it; of several local connections that wait, only the newest is kept.
//
// Invariant: what was deferred runs when the line is left, before the next registration starts.

/** Calls of other nodes that wait for one client; more are told to come again. */
const deferredMax = 16;

interface Line {
  waiting: { readonly start: () => void; readonly overtaken: () => void } | undefined;
  readonly deferred: (() => void)[];
}

export class ClientLines {
  readonly #lines: Map<string, Line> = new Map();

  busy(clientId: string): boolean {
    return this.#lines.has(clientId);
  }

  /** Runs `start` now or when the line is left; `overtaken` instead, when a later caller took the place in the queue. */
  enter(clientId: string, start: () => void, overtaken: () => void): void {
    const line = this.#lines.get(clientId);
    if (line === undefined) {
      this.#lines.set(clientId, { waiting: undefined, deferred: [] });
      start();
      return;
    }
    const before = line.waiting;
    line.waiting = { start, overtaken };
    before?.overtaken();
  }

  leave(clientId: string): void {
    const line = this.#lines.get(clientId);
    if (line === undefined) return;
    this.#lines.delete(clientId);
    for (const run of line.deferred) run();
    const next = line.waiting;
    if (next !== undefined) this.enter(clientId, next.start, next.overtaken);
  }

  /** Runs `call` now, or when the line is left. False: too many wait already. */
  whenFree(clientId: string, call: () => void, max: number = deferredMax): boolean {
    const line = this.#lines.get(clientId);
    if (line === undefined) call();
    else if (line.deferred.length < max) line.deferred.push(call);
    else return false;
    return true;
  }
}

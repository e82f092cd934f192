// One thing at a time per client id on this node: a registration (with its takeover, if it needs one)
// holds the client's line. Calls of other nodes about a session whose epoch this node may not know
// yet wait behind it; of several local connections that wait, only the newest is kept.
//
// Invariant: what was deferred runs when the line is left, before the next registration starts.

/** Calls of other nodes that wait for one client; more are told to come again. */
const deferredMax = 16;

/** Who wants a line. */
export interface LineUser {
  /** It is his, until it is left. */
  start(): void;
  /** A later one took his place in the queue. */
  overtaken(): void;
}

interface Line {
  waiting: LineUser | undefined;
  deferred: (() => void)[] | undefined;
}

/** Nobody waits: nearly every line. Another takes its place when somebody does. */
const free: Line = { waiting: undefined, deferred: undefined };

export class ClientLines {
  readonly #lines: Map<string, Line> = new Map();

  busy(clientId: string): boolean {
    return this.#lines.has(clientId);
  }

  enter(clientId: string, user: LineUser): void {
    if (this.#lines.get(clientId) === undefined) {
      this.#lines.set(clientId, free);
      user.start();
      return;
    }
    const line = this.#own(clientId);
    const before = line.waiting;
    line.waiting = user;
    before?.overtaken();
  }

  leave(clientId: string): void {
    const line = this.#lines.get(clientId);
    if (line === undefined) return;
    this.#lines.delete(clientId);
    if (line.deferred !== undefined) for (const run of line.deferred) run();
    if (line.waiting !== undefined) this.enter(clientId, line.waiting);
  }

  /** Runs `call` now, or when the line is left. False: too many wait already. */
  whenFree(clientId: string, call: () => void, max: number = deferredMax): boolean {
    if (this.#lines.get(clientId) === undefined) {
      call();
      return true;
    }
    const line = this.#own(clientId);
    line.deferred ??= [];
    if (line.deferred.length >= max) return false;
    line.deferred.push(call);
    return true;
  }

  /** The client's line, to be changed. */
  #own(clientId: string): Line {
    let line = this.#lines.get(clientId);
    if (line === undefined || line === free) {
      line = { waiting: undefined, deferred: undefined };
      this.#lines.set(clientId, line);
    }
    return line;
  }
}

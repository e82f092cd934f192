// Whom a listener closes when memory is critical: first everybody who has not said who he is, then those who
// take up most with what they do not read or do not finish sending, largest first. Called by `listeners.ts`; the decision is `broker/overload.ts`'s.
// Nothing that was acknowledged is lost: what waits in a persistent session stays in it.

/** A connection as seen here. */
export interface Holder {
  /** CONNECT has come. */
  readonly introduced: boolean;
  /** Nothing has come for a second or two. */
  readonly quiet: boolean;
  /**
   * What its end frees: output that is not read, a packet that is not whole, the backlog of a session that ends with it.
   * `patient`: output only if the client has not read all of it for a second or two.
   */
  held(patient: boolean): number;
  /** Closes it, with 0x97 for who is in. */
  cutOff(): void;
}

/** Who takes up less than this is never cut off: it may be a client that reads. */
export const holderBytesMin: number = 64 * 1024;
/** At a time. */
const cutMax = 1_000;
/** Where all of them together have a smaller part of what is wanted it is not they who make memory short. */
const worthPart = 0.1;

export interface Relief {
  strangers: number;
  clients: number;
  /** Of clients. */
  bytes: number;
}

/** Closes strangers, and clients until about `bytes` are free; `patient`: not those that may be reading, or about to say who they are. */
export function relieve(connections: Iterable<Holder>, bytes: number, patient: boolean): Relief {
  const relief: Relief = { strangers: 0, clients: 0, bytes: 0 };
  const strangers: Holder[] = [];
  const holders: { readonly holder: Holder; readonly held: number }[] = [];
  for (const holder of connections) {
    if (!holder.introduced) {
      if (!patient || holder.quiet) strangers.push(holder);
      continue;
    }
    const held = holder.held(patient);
    if (held >= holderBytesMin) holders.push({ holder, held });
  }
  for (const stranger of strangers) {
    stranger.cutOff();
    relief.strangers++;
  }
  if (holders.reduce((sum, { held }) => sum + held, 0) < bytes * worthPart) return relief;
  holders.sort((a, b) => b.held - a.held);
  for (const { holder, held } of holders) {
    if (relief.bytes >= bytes || relief.clients >= cutMax) break;
    relief.bytes += held;
    relief.clients++;
    holder.cutOff();
  }
  return relief;
}

// Two processes with one data directory, copied, would vote twice and push each other out. Who is connected
// to one of them refuses the other (link/accept.ts); here a node that is about to join asks the cores
// that it is linked with, and through them those that they are linked with, whether somebody with its identity runs
// elsewhere. Who joins all the same, because nobody could see both, finds in the members table that another
// process has joined with the identity since the directory was copied (schema.ts, `lives`). Owned by cluster.ts.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Clock } from '#env/clock.js';
import type { Links } from '#link/api.js';

const twinMethod = 'cluster.twin';
const hopMs = 300;
const askMs = 2 * hopMs;
/** More cores are not asked by one that is asked. */
const askedMax = 64;
/** A link to a process that has ended is gone by then; who is still there runs. */
const twinMs = 15_000;
export const copiedAdvice = 'was the data directory copied, or put back from an older copy? Empty it, and the node joins as a new one';

export interface TwinsOptions {
  readonly env: { readonly clock: Pick<Clock, 'now'> };
  readonly links: Pick<Links, 'peer' | 'peers' | 'call' | 'handle'>;
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
}

interface Question {
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
  /** Who is asked asks others, too. */
  readonly further: boolean;
}

/** Calls with where the other one is, `undefined`: nobody who was asked knows of one. */
type Answer = (where: string | undefined) => void;

export class Twins {
  readonly #o: TwinsOptions;
  #since: number | undefined;

  constructor(options: TwinsOptions) {
    this.#o = options;
    options.links.handle(twinMethod, (from, body, reply) => {
      const q = decode(body);
      if (q === undefined) return reply('malformed');
      const here = this.#linkedElsewhere(q);
      if (here !== undefined || !q.further) return reply(undefined, utf8Encode(here ?? ''));
      this.#askCores({ ...q, further: false }, [from.nodeId, q.nodeId], hopMs, (where) => reply(undefined, utf8Encode(where ?? '')));
    });
  }

  /** Before this node joins: why it must not. `stays`: it has been so for longer than a process that has ended is remembered. */
  look(then: (why: string | undefined, stays: boolean) => void): void {
    const { nodeId, host, port, env } = this.#o;
    this.#askCores({ nodeId, host, port, further: true }, [nodeId], askMs, (where) => {
      if (where === undefined) this.#since = undefined;
      else this.#since ??= env.clock.now();
      const why = where === undefined ? undefined : `a node with the identity of this one runs at ${where}: ${copiedAdvice}`;
      then(why, this.#since !== undefined && env.clock.now() - this.#since > twinMs);
    });
  }

  #linkedElsewhere(q: Question): string | undefined {
    const peer = this.#o.links.peer(q.nodeId);
    return peer === undefined || (peer.host === q.host && peer.port === q.port) ? undefined : `${peer.host}:${peer.port}`;
  }

  #askCores(q: Question, not: readonly string[], deadlineMs: number, then: Answer): void {
    const cores = this.#o.links.peers().filter((p) => p.role === 'core' && !not.includes(p.nodeId));
    let missing = Math.min(cores.length, askedMax);
    let found: string | undefined;
    if (missing === 0) return then(undefined);
    const body = encode(q);
    for (const core of cores.slice(0, askedMax))
      this.#o.links.call(core.nodeId, twinMethod, body, deadlineMs, (failure, answer) => {
        // One of a build that does not know the question knows no answer.
        const where = failure === undefined ? utf8Decode(answer) : undefined;
        if (where !== undefined && where !== '') found ??= where;
        if (--missing === 0) then(found);
      });
  }
}

function encode(q: Question): Uint8Array {
  const w = new ByteWriter(64);
  w.string(q.nodeId);
  w.string(q.host);
  w.varint(q.port);
  w.u8(q.further ? 1 : 0);
  return w.finish();
}

function decode(body: Uint8Array): Question | undefined {
  try {
    const r = new ByteReader(body);
    return { nodeId: r.string(), host: r.string(), port: r.varint(), further: r.u8() === 1 };
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

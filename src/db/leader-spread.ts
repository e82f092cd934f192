// Whether this core hands the leadership of one of its shards to another core, so that the cores lead equally
// many. Pure; leader-spread-driver.ts feeds it with what it sees and does what it decides.
//
// The rule: from the core that leads most to one that leads at least two fewer, which then does not lead more
// than the giver: nobody gives back. One move at a time in the whole cluster, as far as the cores see the same:
// everything must have been calm, and everybody's part the same, for one pause; the second in line waits for
// two, and so on, in case that the first cannot. A core that refused, or did not come to lead, is left alone
// for longer each time.
import type { NodeId } from '#raft/types.js';

export interface SpreadView {
  readonly self: NodeId;
  /** Shards that count, in a fixed order. '': no leader is known. */
  readonly shards: readonly { readonly shard: string; readonly leader: NodeId }[];
  /** Cores that run, this one included, in a fixed order. */
  readonly cores: readonly NodeId[];
  /** Nothing else is going on: no election, no change of the cores. */
  readonly calm: boolean;
  /** Asked of a shard that this core leads: the other could go on with it at once. */
  readonly fit: (shard: string, to: NodeId) => boolean;
}

export type SpreadInput =
  | { readonly type: 'look'; readonly view: SpreadView }
  /** What the other said when it was asked. */
  | { readonly type: 'answer'; readonly shard: string; readonly to: NodeId; readonly yes: boolean };

export type SpreadEffect =
  /** Would you lead it? `leads`: so many shards does this core lead. Exactly one answer follows. */
  | { readonly type: 'ask'; readonly shard: string; readonly to: NodeId; readonly leads: number }
  | { readonly type: 'transfer'; readonly shard: string; readonly to: NodeId };

/** To move must gain: afterwards the other leads no more than this core. */
const spreadMin = 2;
/** Pauses for which a core that refused is left alone at first, and at most. */
const avoidPauses = 3;
const avoidPausesMax = 12;

interface Avoided {
  readonly until: number;
  readonly times: number;
}

export class LeaderSpread {
  readonly #pauseMs: number;
  #seen = '';
  /** Since when everything is calm and as it is. */
  #since: number | undefined;
  #asked: NodeId | undefined;
  #moving: { readonly shard: string; readonly to: NodeId; readonly at: number } | undefined;
  readonly #avoided: Map<NodeId, Avoided> = new Map();

  /** `pauseMs`: Infinity for never. */
  constructor(pauseMs: number) {
    this.#pauseMs = pauseMs;
  }

  step(input: SpreadInput, now: number): SpreadEffect[] {
    if (input.type === 'look') return this.#look(input.view, now);
    const { shard, to, yes } = input;
    if (this.#asked !== to) return [];
    this.#asked = undefined;
    if (!yes) this.#avoid(to, now);
    // It was calm when the other was asked; what has happened since shows at the next look.
    if (!yes || this.#since === undefined) return [];
    this.#moving = { shard, to, at: now };
    return [{ type: 'transfer', shard, to }];
  }

  #look(view: SpreadView, now: number): SpreadEffect[] {
    this.#settleMove(view, now);
    const leads = leadsOf(view);
    if (!view.calm || leads === undefined) {
      this.#since = undefined;
      return [];
    }
    const seen = `${view.cores.join()};${view.shards.map((s) => s.leader).join()}`;
    if (this.#since === undefined || seen !== this.#seen) {
      this.#since = now;
      this.#seen = seen;
    }
    const own = leads.get(view.self) ?? 0;
    if (own < spreadMin || this.#asked !== undefined || this.#moving !== undefined) return [];
    let before = 0;
    for (const [id, n] of leads) if (n > own || (n === own && id < view.self)) before++;
    if (now - this.#since < this.#pauseMs * (1 + before)) return [];
    const found = this.#choose(view, leads, own, now);
    if (found === undefined) return [];
    this.#asked = found.to;
    return [{ type: 'ask', ...found, leads: own }];
  }

  #choose(view: SpreadView, leads: ReadonlyMap<NodeId, number>, own: number, now: number): { shard: string; to: NodeId } | undefined {
    const others = [...leads].filter(([id, n]) => own - n >= spreadMin && (this.#avoided.get(id)?.until ?? now) <= now);
    others.sort(([a, n], [b, m]) => n - m || (a < b ? -1 : 1));
    for (const [to] of others) for (const s of view.shards) if (s.leader === view.self && view.fit(s.shard, to)) return { shard: s.shard, to };
    return undefined;
  }

  /** Has the other come to lead what it was handed? */
  #settleMove(view: SpreadView, now: number): void {
    const m = this.#moving;
    if (m === undefined) return;
    const leader = view.shards.find((s) => s.shard === m.shard)?.leader ?? '';
    if (leader === m.to) this.#avoided.delete(m.to);
    else if (now - m.at < this.#pauseMs) return;
    else this.#avoid(m.to, now);
    this.#moving = undefined;
  }

  #avoid(id: NodeId, now: number): void {
    const times = (this.#avoided.get(id)?.times ?? 0) + 1;
    const pauses = Math.min(avoidPausesMax, avoidPauses * 2 ** (times - 1));
    this.#avoided.set(id, { until: now + pauses * this.#pauseMs, times });
  }
}

/** How many shards each core leads; undefined when one is led by nobody who is there. */
function leadsOf(view: SpreadView): Map<NodeId, number> | undefined {
  const leads = new Map<NodeId, number>();
  for (const id of view.cores) leads.set(id, 0);
  for (const { leader } of view.shards) {
    const n = leads.get(leader);
    if (n === undefined) return undefined;
    leads.set(leader, n + 1);
  }
  return leads;
}

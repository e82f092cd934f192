// What the builds of a cluster can do: each node says its level when it joins, and it stands in its row of the members' table.
// What needs every node to know of it, such as rows of a table that older builds do not look after, begins when all members
// are of the level that has brought it, those that are down included; it pauses while a node of an older build is a member.
// From then on nobody joins with a lower level (schema.ts), and no older build starts on a data directory of the cluster, which
// keeps the level that all had (`saveRaised`).
// (What only two nodes need to agree on is a version of the protocol: link/protocol.ts.) cluster.ts keeps it up to date.
// A new feature: raise `ownLevel`, and name the feature with it.
import type { NodeDatabase } from '#db/database.js';
import type { Clock } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import { commonLevel, encodeLevel, type Member, memberShard } from './schema.js';

export const ownLevel = 1;

/** - registeredWills: wills stand with the registry, whose leader publishes them when their node is lost. */
export type LevelFeature = 'registeredWills';

const since: Readonly<Record<LevelFeature, number>> = { registeredWills: 1 };

const deadlineMs = 5_000;
/** Members' rows are written by leaders, and one of an older build leaves out what it does not know. */
const tellAgainMs = 5_000;

export interface LevelsOptions {
  readonly env: { readonly clock: Pick<Clock, 'now'>; readonly log: Pick<Logger, 'info'> };
  readonly database: Pick<NodeDatabase, 'incarnation' | 'command'>;
  readonly nodeId: string;
  /** Of this node; for tests another one than `ownLevel`. */
  readonly level?: number;
  /** Keeps durably what all members have had. */
  readonly saveRaised?: (level: number) => void;
}

export class Levels {
  readonly #o: LevelsOptions;
  /** That all members have. */
  #common = 0;
  #tellAt = 0;

  constructor(options: LevelsOptions) {
    this.#o = options;
  }

  get own(): number {
    return this.#o.level ?? ownLevel;
  }

  hasFeature(feature: LevelFeature): boolean {
    return Math.min(this.own, this.#common) >= since[feature];
  }

  /** The members' table has changed. */
  read(members: Iterable<Member>): void {
    const common = commonLevel(members);
    if (common === this.#common) return;
    this.#common = common;
    // With a higher one than its own this node is no member, and is not going to be.
    if (common > 0 && common <= this.own) this.#o.saveRaised?.(common);
    this.#o.env.log.info('what every node of the cluster can do has changed', { common, own: this.own });
  }

  /** This node is a member: its row says its level, or a leader is asked to write it there. */
  tell(self: Member | undefined): void {
    const { env, database, nodeId } = this.#o;
    const now = env.clock.now();
    if (self === undefined || self.incarnation !== database.incarnation || (self.level ?? 0) === this.own || now < this.#tellAt) return;
    this.#tellAt = now + tellAgainMs;
    // A leader of an older build refuses it, and is asked again.
    database.command(memberShard, 'level', encodeLevel(nodeId, self.incarnation, this.own), { deadlineMs }, () => {});
  }
}

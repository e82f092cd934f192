// What one seed's run looks like: the cluster, its bounds, the load, and which faults happen how
// often. Swarm testing: every knob is on in about half of the runs, so that faults also meet alone.
import type { Prng } from '#base/prng.js';
import type { Until } from '#db/api.js';
import type { DbBounds } from '#db/bounds.js';
import type { RaftTimings } from '#db/core-shard.js';
import { type MembershipPlan, makeMembership, noMembership } from './membership.js';
import { type MomentsPlan, makeMoments, noMoments } from './moments.js';
import type { RarePlan } from './rare-moments.js';
import { makeStorageFaults, noStorageFaults, type StoragePlan } from './storage-faults.js';

/** Mean time between faults of a kind in ms; undefined: none. */
export interface FaultPlan {
  readonly killMs: number | undefined;
  readonly powerMs: number | undefined;
  /** Of the copies of tables that a replicant has just written, how many are followed by a power cut. */
  readonly copyCutShare: number;
  /** Of the copies of tables, how many begin with a slow link between the two nodes. */
  readonly copySlowShare: number;
  /** Of the copies of tables, how many lose their link soon after they began. */
  readonly copyLossShare: number;
  /** Of the kills, how many hit a leader. */
  readonly leaderShare: number;
  /** Down for so long: from, to. */
  readonly downMs: readonly [number, number];
  readonly allDownMs: number | undefined;
  readonly stopMs: number | undefined;
  readonly wipeMs: number | undefined;
  readonly partitionMs: number | undefined;
  readonly oneWayShare: number;
  readonly partitionLengthMs: readonly [number, number];
  readonly resetMs: number | undefined;
  readonly slowLinkMs: number | undefined;
  readonly pauseMs: number | undefined;
  readonly pauseLengthMs: readonly [number, number];
  readonly slowDiskMs: number | undefined;
  readonly slowTablesMs: number | undefined;
  readonly clockMs: number | undefined;
  readonly swizzleMs: number | undefined;
  /** Faults begin before the cluster has formed. */
  readonly early: boolean;
}

export interface Plan {
  readonly cores: number;
  readonly replicants: number;
  /** Of the replicants. */
  readonly relays: number;
  readonly clients: number;
  readonly thinkMs: number;
  /** Clients begin something only within the first so many ms of every so many; undefined: at any time. */
  readonly burst: { readonly everyMs: number; readonly lengthMs: number } | undefined;
  readonly deadlineMs: number;
  readonly untils: readonly Until[];
  readonly bounds: Partial<DbBounds>;
  readonly timings: RaftTimings;
  readonly nodeDownAfterMs: number;
  readonly walSegmentBytes: number | undefined;
  readonly delayMs: number;
  /** Chance that a piece that is written travels as two. */
  readonly splitChance: number;
  /** One way to replicants, until links are made slow or healed; 0: as everywhere. */
  readonly farMs: number;
  readonly faults: FaultPlan;
  readonly storage: StoragePlan;
  /** Never together with failing disks: of a lost and a damaged log at once, too much may be gone. */
  readonly membership: MembershipPlan;
  readonly moments: MomentsPlan;
  readonly rare: RarePlan;
}

/** Of the runs, in how many disks fail. */
const storageShare = 0.4;
/** Of the others, in how many the set of cores changes. */
const membershipShare = 0.6;
/** Of the runs whose set of cores stays, in how many moments are set up (moments.ts), half of them with other faults. */
const momentsShare = 0.33;
/** Of the runs whose set of cores changes, and of the others, in how many there are those of rare-moments.ts. */
const partingShare = 0.15;
const rareShare = 0.1;

export const noFaults: FaultPlan = {
  killMs: undefined,
  powerMs: undefined,
  copyCutShare: 0,
  copySlowShare: 0,
  copyLossShare: 0,
  leaderShare: 0,
  downMs: [1, 1],
  allDownMs: undefined,
  stopMs: undefined,
  wipeMs: undefined,
  partitionMs: undefined,
  oneWayShare: 0,
  partitionLengthMs: [1, 1],
  resetMs: undefined,
  slowLinkMs: undefined,
  pauseMs: undefined,
  pauseLengthMs: [1, 1],
  slowDiskMs: undefined,
  slowTablesMs: undefined,
  clockMs: undefined,
  swizzleMs: undefined,
  early: false,
};

// What a cluster costs to simulate grows with the square of its nodes, and most of what can go wrong in a large one
// can in a small one: few are large.
const coreCounts: readonly number[] = [1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5, 5];
const replicantCounts: readonly number[] = [0, 0, 1, 1, 1, 1, 1, 2, 2, 3];

/** A third of the runs under steady load, dense or thin; the others in bursts, with quiet time between. */
function makeLoad(prng: Prng): Pick<Plan, 'thinkMs' | 'burst'> {
  const thinkMs = prng.pick([100, 300, 1_000, 3_000]);
  const bursts = prng.fork('bursts');
  if (!bursts.chance(0.65)) return { thinkMs, burst: undefined };
  return {
    thinkMs: bursts.pick([30, 100, 300]),
    burst: { everyMs: bursts.pick([1_500, 3_000, 5_000]), lengthMs: bursts.pick([200, 500]) },
  };
}

/** `rare`: a stream of its own, so that whatever is drawn from it changes nothing else. */
export function makePlan(prng: Prng, faults: boolean, rare: Prng): Plan {
  const plan = makeUsual(prng, faults);
  return faults ? withRare(plan, rare) : plan;
}

function withRare(plan: Plan, prng: Prng): Plan {
  if (plan.membership !== noMembership) {
    if (!prng.chance(partingShare)) return plan;
    return { ...plan, membership: { ...plan.membership, joinMs: 1_000, leaveMs: 1_500 }, rare: 'parting' };
  }
  if (!prng.chance(rareShare)) return plan;
  const alone = {
    cores: Math.max(3, plan.cores),
    replicants: Math.max(1, plan.replicants),
    farMs: 0,
    faults: noFaults,
    storage: noStorageFaults,
    moments: noMoments,
  };
  if (prng.chance(0.5)) {
    const bounds = { ...plan.bounds, replicaCreditBytes: 30, bootstrapChunkBytes: 12 };
    // One entry at a time: over a long way a replicant would not keep up with the clients.
    return { ...plan, ...alone, bounds, delayMs: Math.min(plan.delayMs, 2), rare: 'gone owner' };
  }
  // Who lacks what was written lately does not become leader: there is little to write.
  const bounds = { ...plan.bounds, leaseMs: prng.pick([500, 1_000, 2_000, 2_000]) };
  return { ...plan, ...alone, bounds, clients: 2, thinkMs: 3_000, burst: undefined, rare: 'new voter' };
}

function makeUsual(prng: Prng, faults: boolean): Plan {
  const plan: Plan = {
    cores: prng.pick(coreCounts),
    replicants: prng.pick(replicantCounts),
    relays: 0,
    clients: prng.range(2, 8),
    ...makeLoad(prng),
    deadlineMs: prng.pick([1_000, 5_000, 5_000]),
    untils: prng.pick<readonly Until[]>([['committed'], ['committed', 'applied', 'effective'], ['effective']]),
    bounds: makeBounds(prng),
    timings: makeTimings(prng),
    nodeDownAfterMs: prng.pick([1_500, 4_000, 15_000]),
    walSegmentBytes: prng.pick([undefined, 4_096, 30_000]),
    delayMs: prng.pick([0.2, 0.2, 2, 20]),
    splitChance: prng.fork('split').pick([0, 0, 0, 0.2]),
    farMs: prng.fork('far').chance(0.15) ? prng.fork('far').pick([100, 150, 250]) : 0,
    faults: faults ? makeFaults(prng) : noFaults,
    moments: noMoments,
    rare: undefined,
    ...makeHardship(prng, faults),
  };
  const looked = { ...plan, bounds: { ...plan.bounds, scrubEveryMs: scrubEveryMs(plan, prng.fork('scrub')) } };
  const tree = withRelays(looked, prng.fork('relays'));
  if (!faults) return tree;
  if (plan.membership === noMembership && prng.fork('set up').chance(momentsShare)) return withMoments(tree, prng.fork('moments plan'));
  return prng.fork('storm').chance(0.15) ? copyStorm(tree) : tree;
}

/** Often where rows are damaged; elsewhere now and then, for it does nothing there. */
function scrubEveryMs(plan: Plan, prng: Prng): number {
  if (plan.storage.flipTablesMs !== undefined) return 500;
  return prng.chance(0.2) ? 3_000 : Number.POSITIVE_INFINITY;
}

function withMoments(plan: Plan, prng: Prng): Plan {
  const moments = makeMoments(prng, plan.relays > 0);
  const alone = prng.chance(0.3) && moments.kinds.join() === 'amnesia';
  const second = moments.kinds.includes('second core') ? { replicaCreditBytes: 500, bootstrapChunkBytes: 100 } : {};
  const slow = moments.kinds.includes('slow replicant') ? { tableCommitRows: 1 } : {};
  const set = {
    bounds: { ...plan.bounds, ...second, ...slow },
    moments,
    cores: alone ? 1 : Math.max(3, plan.cores),
    replicants: Math.max(1, plan.replicants),
  };
  return prng.chance(0.45) ? { ...plan, ...set } : { ...plan, ...set, faults: noFaults, storage: noStorageFaults };
}

/** A tree in a quarter of the runs: relays, and replicants to be fed by them. */
function withRelays(plan: Plan, prng: Prng): Plan {
  if (!prng.chance(0.25)) return plan;
  const relays = prng.pick([1, 1, 2]);
  // Who found no relay when it started is soon fed by one.
  const bounds = { ...plan.bounds, rebalanceMs: plan.bounds.rebalanceMs ?? 1_500, movePaceMs: 100 };
  return { ...plan, bounds, relays, replicants: relays + prng.pick([1, 1, 2]) };
}

function makeHardship(prng: Prng, faults: boolean): Pick<Plan, 'storage' | 'membership'> {
  const easy = { storage: noStorageFaults, membership: noMembership };
  if (!faults) return easy;
  if (prng.fork('storage').chance(storageShare)) return { ...easy, storage: makeStorageFaults(prng.fork('storage plan')) };
  if (prng.fork('membership').chance(membershipShare)) return { ...easy, membership: makeMembership(prng.fork('membership plan')) };
  return easy;
}

/** Copies of tables all the time, in small pieces, while nodes come, go and are declared down. */
function copyStorm(plan: Plan): Plan {
  const bounds = { replicaCreditBytes: 500, bootstrapChunkBytes: 100, sweepRowsMax: 2, logKeepMs: 200, logKeepBytes: 500, logKeepBytesMax: 20_000 };
  return {
    ...plan,
    cores: 3,
    replicants: 2,
    nodeDownAfterMs: 1_500,
    bounds: { ...plan.bounds, ...bounds },
    faults: {
      ...plan.faults,
      copyLossShare: 0.5,
      killMs: 2_000,
      powerMs: 3_000,
      downMs: [1, 6_000],
      wipeMs: 2_000,
      resetMs: 2_000,
      slowTablesMs: 2_000,
    },
  };
}

function makeBounds(prng: Prng): Partial<DbBounds> {
  const b: { -readonly [K in keyof DbBounds]?: DbBounds[K] } = {};
  const some = (name: keyof DbBounds, ...values: number[]): void => {
    if (prng.chance(0.4)) b[name] = prng.pick(values);
  };
  some('applyRowsMax', 1, 5, 50);
  const tables = prng.fork('tables');
  if (tables.chance(0.7)) {
    b.tableCommitMs = tables.pick([0, 20, 100, 5_000]);
    b.tableCommitRows = tables.pick([1, 5, 50, 4_000]);
  }
  some('batchTransactionsMax', 1, 3);
  some('batchBytesMax', 200);
  some('replicaCreditBytes', 500, 5_000);
  some('bootstrapChunkBytes', 100, 1_000);
  some('applyCoalesceMs', 0, 40);
  some('conflictWindowKeys', 3, 30);
  some('sweepRowsMax', 1, 3);
  some('streamOutcomesMax', 4);
  some('applyQueueBytesMax', 500);
  some('pendingProposalsMax', 5);
  some('leaderApplyLagMax', 20);
  some('proposalAttemptMs', 200, 700);
  some('effectiveWaitMs', 1_500);
  // The shortest is the default; it is also most of what a quiet cluster does.
  b.leaseMs = prng.fork('leases').pick([500, 1_000, 1_000, 2_000, 2_000, 2_000]);
  if (prng.fork('moves').chance(0.4)) {
    b.rebalanceMs = prng.fork('moves').pick([1_500, 3_000]);
    b.movePaceMs = 100;
  }
  b.leaderSpreadMs = prng.fork('leaders').pick([100, 500, 1_000, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  if (prng.chance(0.6)) {
    b.logKeepMs = prng.pick([200, 1_000]);
    b.logKeepBytes = prng.pick([500, 5_000]);
    b.logKeepBytesMax = prng.pick([20_000, 100_000]);
  }
  return b;
}

function makeTimings(prng: Prng): RaftTimings {
  const t: { -readonly [K in keyof RaftTimings]?: RaftTimings[K] } = {};
  if (prng.chance(0.5)) {
    t.electionTimeoutMinMs = 400;
    t.electionTimeoutMaxMs = 800;
  }
  if (prng.chance(0.3)) t.messageBytesMax = 100;
  if (prng.chance(0.3)) t.inflightMessagesMax = prng.pick([1, 4]);
  // Then what is durable is read back from the log, its cache or its files.
  if (prng.fork('memory').chance(0.3)) t.memoryBytesMax = prng.fork('memory').pick([0, 500]);
  return t;
}

function makeFaults(prng: Prng): FaultPlan {
  const sometimes = (...means: number[]): number | undefined => (prng.chance(0.45) ? prng.pick(means) : undefined);
  return {
    killMs: sometimes(1_500, 5_000),
    powerMs: sometimes(3_000, 8_000),
    copyCutShare: prng.pick([0, 0, 0, 0.3]),
    copySlowShare: prng.pick([0, 0, 0.5]),
    copyLossShare: prng.fork('copy loss').pick([0, 0, 0.7]),
    leaderShare: prng.pick([0, 0.5, 1]),
    downMs: prng.pick<readonly [number, number]>([
      [1, 60],
      [100, 3_000],
      [1, 12_000],
    ]),
    allDownMs: prng.chance(0.2) ? 10_000 : undefined,
    stopMs: prng.chance(0.25) ? 4_000 : undefined,
    wipeMs: prng.chance(0.3) ? 6_000 : undefined,
    partitionMs: sometimes(2_500, 8_000),
    oneWayShare: prng.pick([0, 0.5, 1]),
    partitionLengthMs: prng.pick<readonly [number, number]>([
      [50, 1_000],
      [500, 8_000],
    ]),
    resetMs: sometimes(1_000, 5_000),
    slowLinkMs: sometimes(3_000),
    pauseMs: sometimes(2_500, 8_000),
    pauseLengthMs: prng.pick<readonly [number, number]>([
      [8, 300],
      [300, 6_000],
    ]),
    slowDiskMs: sometimes(2_000),
    slowTablesMs: sometimes(2_000),
    clockMs: prng.chance(0.25) ? 3_000 : undefined,
    swizzleMs: prng.fork('swizzle').chance(0.25) ? 5_000 : undefined,
    early: prng.chance(0.2),
  };
}

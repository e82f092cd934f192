// Times that the moments (moments.ts) and the rare ones (rare-moments.ts) have in common.
export const writeEveryMs = 40;
export const quickMs: readonly [number, number] = [1, 20];
/** Until a wiped replicant copies tables again. */
export const copyingWithinMs = 4_000;
/** One way between the two, so that pieces of the copy come one after the other. */
export const copyDelayMs = 10;

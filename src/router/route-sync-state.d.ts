export type RouteOutcome = 'effective' | 'committed' | 'failed';
/** How a batch ended. `retry`: it may or may not have happened. `refused`: it did not, and would not again. */
export type BatchResult = 'effective' | 'committed' | 'retry' | 'refused';
export interface RouteBatch {
    readonly puts: readonly string[];
    readonly deletes: readonly string[];
}
export interface RouteSyncOptions {
    /** Changes in one write. */
    readonly batchMax: number;
    /** Batches in flight. */
    readonly flyingMax: number;
    /** A waiter is answered `failed` this long after it came. */
    readonly waitMs: number;
    readonly retryMinMs: number;
    readonly retryMaxMs: number;
    /** With 'committed', nobody waits for more: `mqtt.suback`. */
    readonly until: 'effective' | 'committed';
}
export declare const routeSyncDefaults: RouteSyncOptions;
export declare class RouteSyncState {
    #private;
    constructor(options?: Partial<RouteSyncOptions>);
    /** Filters that are wanted or not yet known to be gone. */
    get size(): number;
    get waiting(): boolean;
    /** True when every wanted filter is stored and nothing is in flight: for tests and status. */
    get quiet(): boolean;
    wants(topicFilter: string): boolean;
    /** True when a change of the filter is queued or in flight. */
    busy(topicFilter: string): boolean;
    /** True when the route is effective already; otherwise `done` will be called. */
    add(topicFilter: string, done: (outcome: RouteOutcome) => void, now: number): boolean;
    remove(topicFilter: string): void;
    /** This node's row is not in the table as it should be (a wanted one absent, an unwanted one present): write again. */
    mend(topicFilter: string): void;
    /** A new incarnation: everything stored before is purged, all that is wanted is written again, urgent changes first. */
    renew(): void;
    /** The next write, or undefined when there is none or it must wait until {@link retryAt}. */
    take(now: number): RouteBatch | undefined;
    /** When `take` may be asked again after a failure; undefined when it need not wait. */
    retryAt(now: number): number | undefined;
    finished(batch: RouteBatch, result: BatchResult, now: number): void;
    /** Answers the waiters whose time is up. The filter stays wanted until `remove`. */
    expire(now: number): void;
    /** Up to `n` filters believed stored, going round and round: the caller compares them with the table. */
    sweep(n: number, check: (topicFilter: string) => void): void;
}

import type { RouteShapes } from './route-shapes.js';
/** The ordered table as the matcher sees it. Keys are views valid during the call. */
export interface RouteRows {
    /** Visits the keys that begin with `prefix`, in order, until `visit` returns false. */
    prefix(prefix: Uint8Array, visit: (key: Uint8Array) => boolean): void;
    /** First key at or after `key`. */
    seek(key: Uint8Array): Uint8Array | undefined;
}
export declare class RouteMatcher {
    #private;
    constructor(rows: RouteRows, shapes: RouteShapes, seeksMax?: number);
    /**
     * Calls `visit` with each matching key (a node may come more than once) until it returns false.
     * Returns false when it gave up at its bound: then every node with routes must be assumed to match.
     */
    match(topicName: string, visit: (key: Uint8Array) => boolean): boolean;
}

export interface Shape {
    /** One letter per level: `L`, `+`, `#`. */
    readonly pattern: string;
    /** Levels before a `#`, or all of them. */
    readonly levels: number;
    readonly multiLevel: boolean;
}
/** Shape of a route's key, its end mark at `end`. */
export declare function shapePattern(key: Uint8Array, end?: number): string;
export declare class RouteShapes {
    #private;
    constructor(shapesMax?: number);
    /** False until the first count after a reset has finished: the list may miss shapes. */
    get complete(): boolean;
    /** More shapes exist than are kept. */
    get overflowing(): boolean;
    /** A recount would tell whether a shape is gone. */
    get doubtful(): boolean;
    get counting(): boolean;
    /** Rows, own ones included; exact after a recount, otherwise nearly so. */
    get total(): number;
    list(): readonly Shape[];
    /** Nodes that have routes, each as a string of its 16 bytes; a node whose last route went may still be named. */
    nodes(): Iterable<string>;
    get nodeCount(): number;
    put(key: Uint8Array): void;
    /** During a count the row may have been gone before the scan passed, so that nothing is taken off the new counts. */
    remove(key: Uint8Array): void;
    /** All rows of the node (16 bytes as a string) are gone. */
    purge(node: string): void;
    /** The table was replaced: nothing known before holds. A count must follow. */
    reset(): void;
    beginCount(): void;
    /** One row that the count's scan saw. */
    counted(key: Uint8Array): void;
    /** The scan has seen every row: its counts replace the old ones. */
    finishCount(): void;
}

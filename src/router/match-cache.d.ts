export declare class MatchCache<T> {
    #private;
    constructor(entriesMax?: number);
    get size(): number;
    get(topicName: string): T | undefined;
    /** `value` must be the result for the state that the feed has reported so far. */
    set(topicName: string, value: T): void;
    /** A row of this filter came or went. */
    changed(topicFilter: string): void;
    clear(): void;
}

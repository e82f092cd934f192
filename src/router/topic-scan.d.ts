export interface TopicRows {
    /** Visits keys at or after `start` in order until `visit` returns false. Views, valid during the call. */
    range(start: Uint8Array, visit: (key: Uint8Array) => boolean): void;
}
/**
 * Calls `visit` with every key that matches, in order, until it returns false. `after`: start behind this topic name.
 * Between two seeks at least one key is skipped or visited, so that the work is bounded by rows + rows skipped over.
 */
export declare function scanTopics(rows: TopicRows, topicFilter: string, visit: (key: Uint8Array) => boolean, after?: string): void;

/** Ends the last level. */
export declare const endOfLevels = 0;
/** Stands between two levels. */
export declare const levelSeparator = 1;
/** Before a byte that would read as one of these three. Also the first byte beyond every key below a level. */
export declare const levelEscape = 2;
export declare const nodeIdLength = 16;
/** Longest key that the database takes. Only names made of thousands of control characters come near it. */
export declare const routeKeyBytesMax = 70000;
/** Bytes that `name` takes without its end mark. */
export declare function levelsLength(name: string): number;
/** Writes the levels of `name` without the end mark and returns the position after them. The caller made room. */
export declare function writeLevels(name: string, out: Uint8Array, at: number, length?: number): number;
/** Key of a topic name or filter without a node: its levels and the end mark. */
export declare function encodeTopicKey(name: string): Uint8Array;
/** Key of the route (filter → node). `nodeId` has 16 bytes. */
export declare function encodeRouteKey(topicFilter: string, nodeId: Uint8Array): Uint8Array;
/** The name whose levels fill `key[0, end)`, the end mark at `end`. Undefined when the bytes are no such key. */
export declare function decodeLevels(key: Uint8Array, end: number): string | undefined;
export declare function decodeTopicKey(key: Uint8Array): string | undefined;
/** The filter of a route's key; its node is `key.subarray(key.length - 16)`. */
export declare function decodeRouteFilter(key: Uint8Array): string | undefined;

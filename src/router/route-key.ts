// Keys of the route and retained tables, ordered token by token: the levels of a topic filter or
// topic name, each ended by 0x01 (another level follows) or 0x00 (the last one), so that everything
// below a level is one contiguous range and a wildcard match can skip with a seek. Bytes 0x00–0x02
// inside a level are written as 0x02 and the byte. A route's key ends with the 16 bytes of its node.
//
// Order: level by level, each level by its UTF-8 bytes, the shorter list first. Used by
// route-match.ts, topic-scan.ts and, in the broker, by route-sync.ts and retained.ts.
import { utf8Decode, utf8Length, utf8Write } from '#base/utf8.js';

/** Ends the last level. */
export const endOfLevels = 0x00;
/** Stands between two levels. */
export const levelSeparator = 0x01;
/** Before a byte that would read as one of these three. Also the first byte beyond every key below a level. */
export const levelEscape = 0x02;
export const nodeIdLength = 16;
/** Longest key that the database takes. Only names made of thousands of control characters come near it. */
export const routeKeyBytesMax = 70_000;

const slash = 0x2f;

/** Bytes that `name` takes without its end mark. */
export function levelsLength(name: string): number {
  let n = utf8Length(name);
  for (let i = 0; i < name.length; i++) if (name.charCodeAt(i) <= levelEscape) n++;
  return n;
}

/** Writes the levels of `name` without the end mark and returns the position after them. The caller made room. */
export function writeLevels(name: string, out: Uint8Array, at: number, length: number = levelsLength(name)): number {
  const end = utf8Write(name, out, at);
  for (let i = at; i < end; i++) if (out[i] === slash) out[i] = levelSeparator;
  if (end === at + length) return end;
  return escapeFrom(name, out, at);
}

// The rare name with control characters: byte by byte, since separators and escapes look alike afterwards.
function escapeFrom(name: string, out: Uint8Array, at: number): number {
  const plain = new Uint8Array(utf8Length(name));
  utf8Write(name, plain, 0);
  for (const c of plain) {
    if (c <= levelEscape) out[at++] = levelEscape;
    out[at++] = c === slash ? levelSeparator : c;
  }
  return at;
}

/** Key of a topic name or filter without a node: its levels and the end mark. */
export function encodeTopicKey(name: string): Uint8Array {
  const n = levelsLength(name);
  const key = new Uint8Array(n + 1);
  writeLevels(name, key, 0, n);
  return key;
}

/** Key of the route (filter → node). `nodeId` has 16 bytes. */
export function encodeRouteKey(topicFilter: string, nodeId: Uint8Array): Uint8Array {
  const n = levelsLength(topicFilter);
  const key = new Uint8Array(n + 1 + nodeIdLength);
  writeLevels(topicFilter, key, 0, n);
  key.set(nodeId, n + 1);
  return key;
}

/** Key of a shared route (group, filter → node): matched like a plain one, with the group behind the end mark. */
export function encodeSharedKey(topicFilter: string, group: string, nodeId: Uint8Array): Uint8Array {
  const n = levelsLength(topicFilter);
  const groupLength = utf8Length(group);
  const key = new Uint8Array(n + 1 + groupLength + nodeIdLength);
  writeLevels(topicFilter, key, 0, n);
  utf8Write(group, key, n + 1);
  key.set(nodeId, n + 1 + groupLength);
  return key;
}

/** Where the end mark of a shared route's key is; -1 when it has none. */
export function sharedKeyEnd(key: Uint8Array): number {
  for (let i = 0; i < key.length - nodeIdLength; i++) {
    if (key[i] === levelEscape) i++;
    else if (key[i] === endOfLevels) return i;
  }
  return -1;
}

export interface SharedKey {
  readonly topicFilter: string;
  readonly group: string;
}

/** Filter and group of a shared route's key; its node is `key.subarray(key.length - 16)`. */
export function decodeSharedKey(key: Uint8Array): SharedKey | undefined {
  const end = sharedKeyEnd(key);
  const topicFilter = decodeLevels(key, end);
  const group = utf8Decode(key, end + 1, key.length - nodeIdLength);
  return topicFilter === undefined || group === undefined ? undefined : { topicFilter, group };
}

/** The name whose levels fill `key[0, end)`, the end mark at `end`. Undefined when the bytes are no such key. */
export function decodeLevels(key: Uint8Array, end: number): string | undefined {
  if (end < 0 || key[end] !== endOfLevels) return undefined;
  const plain = new Uint8Array(end);
  let n = 0;
  for (let i = 0; i < end; i++) {
    const c = key[i] as number;
    if (c > levelEscape) plain[n++] = c;
    else if (c === levelSeparator) plain[n++] = slash;
    else {
      const escaped = key[++i] as number;
      if (c !== levelEscape || i >= end || escaped > levelEscape) return undefined;
      plain[n++] = escaped;
    }
  }
  return utf8Decode(plain, 0, n);
}

export function decodeTopicKey(key: Uint8Array): string | undefined {
  return decodeLevels(key, key.length - 1);
}

/** The filter of a route's key; its node is `key.subarray(key.length - 16)`. */
export function decodeRouteFilter(key: Uint8Array): string | undefined {
  return decodeLevels(key, key.length - nodeIdLength - 1);
}

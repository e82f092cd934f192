// Topic Names that were seen before, as strings: publishers repeat a few names millions of times, and
// comparing bytes costs a fifth of making and checking a string. Interning them also means that the
// tables further in compare pointers and find the string's hash ready. One cache per process, shared by
// the decoders of all connections; each decoder remembers its own last entry besides.
// Invariant: only valid Topic Names are inside. Bounded: direct mapped, so a new name evicts an old one.
import { decodeText } from './text.js';
import { isTopicName, topicLevelsMax } from './topic.js';

/** A valid Topic Name with its bytes on the wire. */
export interface TopicEntry {
  readonly bytes: Uint8Array;
  readonly topicName: string;
}

export const topicCacheSlots = 4096;
/** Longer names are decoded each time: with this bound the cache stays under 2 MiB of names. */
export const cachedTopicBytesMax = 256;

export class TopicCache {
  readonly levelsMax: number;
  readonly #slots: (TopicEntry | undefined)[];
  readonly #mask: number;

  /** `slots` is rounded up to a power of two. */
  constructor(slots: number = topicCacheSlots, levelsMax: number = topicLevelsMax) {
    let size = 1;
    while (size < slots) size *= 2;
    this.#slots = new Array<TopicEntry | undefined>(size).fill(undefined);
    this.#mask = size - 1;
    this.levelsMax = levelsMax;
  }

  /** The entry of the name in `bytes[start, end)`; undefined when that is no valid Topic Name. */
  find(bytes: Uint8Array, start: number, end: number): TopicEntry | undefined {
    const length = end - start;
    if (length > cachedTopicBytesMax) return this.#make(bytes, start, end);
    let h = length;
    for (let i = start; i < end; i++) h = Math.imul(h ^ (bytes[i] as number), 0x01000193);
    const slot = (h ^ (h >>> 15)) & this.#mask;
    const known = this.#slots[slot];
    if (known !== undefined && isSame(known, bytes, start, end)) return known;
    const entry = this.#make(bytes, start, end);
    if (entry !== undefined) this.#slots[slot] = entry;
    return entry;
  }

  #make(bytes: Uint8Array, start: number, end: number): TopicEntry | undefined {
    const topicName = decodeText(bytes, start, end);
    if (topicName === undefined || !isTopicName(topicName, this.levelsMax)) return undefined;
    const copy = new Uint8Array(end - start);
    copy.set(bytes.subarray(start, end));
    return { bytes: copy, topicName };
  }
}

/** Whether the entry's bytes are those in `bytes[start, end)`. */
export function isSame(entry: TopicEntry, bytes: Uint8Array, start: number, end: number): boolean {
  const own = entry.bytes;
  const length = own.length;
  if (length !== end - start) return false;
  // From the end: names differ there more often than at the front.
  for (let i = length - 1; i >= 0; i--) if (own[i] !== bytes[start + i]) return false;
  return true;
}

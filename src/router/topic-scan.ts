// Walks the token-ordered keys of topic *names* (retained messages) that match one topic filter:
// consecutive matches by a range, everything else skipped with a seek to the next key that can match.
import { copyBytes } from '#base/bytes.js';
import { endOfLevels, levelEscape, levelSeparator, levelsLength, writeLevels } from './route-key.js';

export interface TopicRows {
  /** Visits keys at or after `start` in order until `visit` returns false. Views, valid during the call. */
  range(start: Uint8Array, visit: (key: Uint8Array) => boolean): void;
}

const dollar = 0x24;

interface Level {
  readonly kind: 'literal' | 'plus' | 'hash';
  readonly bytes: Uint8Array;
}

/** What a key is to the filter: a match, the end, or where the next match can be at the earliest. */
type Verdict = 'match' | 'end' | Uint8Array;

/**
 * Calls `visit` with every key that matches, in order, until it returns false. `after`: start behind this topic name.
 * Between two seeks at least one key is skipped or visited, so that the work is bounded by rows + rows skipped over.
 * Looks at `keysMax` keys at most, matching or not, and returns the last one then, behind which to go on.
 */
export function scanTopics(
  rows: TopicRows,
  topicFilter: string,
  visit: (key: Uint8Array) => boolean,
  after?: string,
  keysMax: number = Number.POSITIVE_INFINITY,
): Uint8Array | undefined {
  const levels = parse(topicFilter);
  let looked = 0;
  let stoppedAt: Uint8Array | undefined;
  let cursor: Uint8Array | undefined = after === undefined ? literalPrefix(levels) : behind(after);
  while (cursor !== undefined) {
    const start: Uint8Array = cursor;
    let next: Uint8Array | undefined;
    rows.range(start, (key) => {
      const verdict = judge(key, levels);
      const last = ++looked === keysMax && verdict !== 'end' ? copyBytes(key) : undefined;
      if (verdict === 'match') {
        const going = visit(key);
        if (going) stoppedAt = last;
        return going && last === undefined;
      }
      stoppedAt = last;
      next = verdict === 'end' || last !== undefined ? undefined : verdict;
      return false;
    });
    cursor = next;
  }
  return stoppedAt;
}

function parse(topicFilter: string): Level[] {
  return topicFilter.split('/').map((text, i, all) => {
    const bytes = new Uint8Array(levelsLength(text));
    writeLevels(text, bytes, 0);
    const kind = text === '+' ? 'plus' : text === '#' && i === all.length - 1 ? 'hash' : 'literal';
    return { kind, bytes };
  });
}

function literalPrefix(levels: readonly Level[]): Uint8Array {
  const parts: number[] = [];
  for (const [i, level] of levels.entries()) {
    if (level.kind !== 'literal') break;
    if (i > 0) parts.push(levelSeparator);
    for (const b of level.bytes) parts.push(b);
  }
  return Uint8Array.from(parts);
}

function behind(topicName: string): Uint8Array {
  const n = levelsLength(topicName);
  const key = new Uint8Array(n + 2);
  writeLevels(topicName, key, 0, n);
  key[n] = endOfLevels;
  return key;
}

/** key[0, end) with `last` behind it. */
function cut(key: Uint8Array, end: number, last: number): Uint8Array {
  const out = new Uint8Array(end + 1);
  out.set(key.subarray(0, end));
  out[end] = last;
  return out;
}

function levelEnd(key: Uint8Array, start: number): number {
  let i = start;
  for (; i < key.length; i++) {
    const c = key[i];
    if (c === levelEscape) i++;
    else if (c === endOfLevels || c === levelSeparator) break;
  }
  return Math.min(i, key.length);
}

function judge(key: Uint8Array, levels: readonly Level[]): Verdict {
  let start = 0;
  // End of the level that the last `+` stands for: there the search goes on when a literal behind it is passed.
  let plusEnd = -1;
  for (const [i, level] of levels.entries()) {
    // Wildcards at the first level do not match names that begin with $ [MQTT-4.7.2-1].
    if (i === 0 && level.kind !== 'literal' && key[0] === dollar) return Uint8Array.of(dollar + 1);
    if (level.kind === 'hash') return 'match';
    const end = levelEnd(key, start);
    if (level.kind === 'plus') plusEnd = end;
    else {
      const order = compareLevel(key, start, end, level.bytes);
      if (order > 0) return plusEnd < 0 ? 'end' : cut(key, plusEnd, levelEscape);
      if (order < 0) {
        const target = new Uint8Array(start + level.bytes.length);
        target.set(key.subarray(0, start));
        target.set(level.bytes, start);
        return target;
      }
    }
    const last = i === levels.length - 1;
    const nameEnds = key[end] !== levelSeparator;
    if (nameEnds) {
      // `a/#` matches `a` itself.
      if (last || (i === levels.length - 2 && levels[i + 1]?.kind === 'hash')) return 'match';
      return cut(key, end, levelSeparator);
    }
    // The name is longer than the filter: nothing below it matches.
    if (last) return cut(key, end, levelEscape);
    start = end + 1;
  }
  return 'end';
}

function compareLevel(key: Uint8Array, start: number, end: number, bytes: Uint8Array): number {
  const n = Math.min(end - start, bytes.length);
  for (let i = 0; i < n; i++) {
    const d = (key[start + i] as number) - (bytes[i] as number);
    if (d !== 0) return d;
  }
  return end - start - bytes.length;
}

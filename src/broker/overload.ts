// What a node does as its memory fills up: the decision alone. `node/memory-watch.ts` tells it what is in use,
// twice a second and more often when it is much, and carries out what it says.
// Levels: 0 normal; 1 high: nobody new comes in, QoS 0 does not wait for anybody; 2 critical: who makes others' backlogs
// grow is read slowly, who takes up most is cut off; 3 full: nothing more is queued on disk and in memory for clients that are away.
// Invariants: a level is entered as soon as its line is reached, and left one at a time, after memory was
// clearly below for a while; nobody is cut off twice for the same memory: between two cuts lies a collection,
// time for one, or growth.

export type OverloadLevel = 0 | 1 | 2 | 3;

export const levelNames: readonly [string, string, string, string] = ['normal', 'high', 'critical', 'full'];

export interface OverloadOptions {
  /** What the node's memory must stay below. */
  readonly watermarkBytes: number;
  /** The heap counts as at the watermark at this part of the size at which V8 gives up. */
  readonly heapPart: number;
  /** Where levels 1 to 3 begin, as parts of the watermark. */
  readonly lines: readonly [number, number, number];
  /** A level is left when memory is by this part of the watermark below its line, for so long. */
  readonly hysteresis: number;
  readonly calmMs: number;
  /** Between two looks: with much room, and at least; in between half the time in which the room can be used up. */
  readonly checkMs: number;
  readonly checkMsMin: number;
  /** Between two looks at least, in bytes from clients. */
  readonly lookBytesMin: number;
  /** What is cut is to bring memory down to this part of the watermark. */
  readonly cutTo: number;
  /** Between two cuts when no collection can tell what the last one has brought; and when that was next to nothing. */
  readonly cutBlindMs: number;
  readonly cutVainMs: number;
  /** Between two collections, and when memory is full or somebody was just cut off; they take at most a twentieth of the time, a quarter then. */
  readonly collectEveryMs: number;
  readonly collectHurriedMs: number;
  /** Between two collections while a level lasts and nothing new happens. */
  readonly recollectMs: number;
  /** With a larger heap no collection is asked for: it would stand still for long. */
  readonly collectHeapBytesMax: number;
}

const MiB = 1_048_576;

export const overloadDefaults: Omit<OverloadOptions, 'watermarkBytes'> = {
  heapPart: 0.85,
  lines: [0.8, 0.9, 0.96],
  hysteresis: 0.05,
  calmMs: 3_000,
  checkMs: 500,
  checkMsMin: 50,
  lookBytesMin: 2 * MiB,
  cutTo: 0.7,
  cutBlindMs: 5_000,
  cutVainMs: 2_000,
  collectEveryMs: 1_000,
  collectHurriedMs: 100,
  recollectMs: 10_000,
  collectHeapBytesMax: 512 * MiB,
};

/** A cut that frees a smaller part of what was wanted has found nothing to cut. */
const cutYieldMin = 0.1;
/** Share of the time that collections may take: 1 / this. */
const collectTimes = 20;
const collectHurriedTimes = 4;
/** A byte from a client may take so many until garbage is collected: as a chunk, in a packet that grows, in the one before. */
const memoryPerByte = 8;
/** What clients can make a node take in on fast machines. */
const growthBytesPerMs = MiB;

export interface OverloadInput {
  readonly usedBytes: number;
  readonly heapBytes: number;
  readonly heapLimitBytes: number;
}

export type OverloadEffect =
  | { readonly kind: 'level'; readonly level: OverloadLevel; readonly before: OverloadLevel }
  /** Collect garbage, say with `collected` how long it took, and look again at once. */
  | { readonly kind: 'collect' }
  /** Free about so much of what clients take up, and say with `cut` what it was; `patient`: not of those that may be reading. */
  | { readonly kind: 'cut'; readonly bytes: number; readonly patient: boolean };

export class Overload {
  readonly #o: OverloadOptions;
  #level: OverloadLevel = 0;
  #part = 0;
  #calmSince: number | undefined = undefined;
  #nextCollect = Number.NEGATIVE_INFINITY;
  #nextHurriedCollect = Number.NEGATIVE_INFINITY;
  /** What was in use after the last collection; NaN: it is about to be known. */
  #partCollected = Number.NEGATIVE_INFINITY;
  #collectedAt = Number.NEGATIVE_INFINITY;
  #cutAt = Number.NEGATIVE_INFINITY;
  /** What the last cut has freed is garbage yet. */
  #unseen = false;
  #nextCut = Number.NEGATIVE_INFINITY;
  #partAtCut = Number.POSITIVE_INFINITY;

  constructor(options: OverloadOptions) {
    this.#o = options;
  }

  get level(): OverloadLevel {
    return this.#level;
  }

  /** Of the watermark that is in use; of the heap's bound, where that is more. */
  get part(): number {
    return this.#part;
  }

  /** Until the next look. */
  get nextMs(): number {
    const { lines, checkMs, checkMsMin, watermarkBytes } = this.#o;
    if (this.#level > 0) return checkMsMin;
    const room = (lines[0] - this.#part) * watermarkBytes;
    return Math.max(checkMsMin, Math.min(checkMs, room / 2 / growthBytesPerMs));
  }

  /** The same in bytes from clients: in one turn of the event loop there can be very many. */
  get nextBytes(): number {
    const { lines, lookBytesMin, watermarkBytes } = this.#o;
    const line = lines.find((l) => l > this.#part) ?? 0;
    return Math.max(lookBytesMin, ((line - this.#part) * watermarkBytes) / memoryPerByte);
  }

  step(input: OverloadInput, now: number): OverloadEffect[] {
    const { watermarkBytes, heapPart, lines } = this.#o;
    const part = Math.max(input.usedBytes / watermarkBytes, input.heapBytes / (input.heapLimitBytes * heapPart));
    this.#part = part;
    if (Number.isNaN(this.#partCollected)) this.#partCollected = part;
    if (part >= lines[0] && this.#collects(part, input.heapBytes, now)) return [{ kind: 'collect' }];
    const effects: OverloadEffect[] = [];
    const before = this.#level;
    this.#move(part, now);
    if (this.#level !== before) effects.push({ kind: 'level', level: this.#level, before });
    if (part >= lines[1] && this.#mayCut(part, now)) {
      this.#cutAt = now;
      this.#unseen = true;
      this.#partAtCut = part;
      effects.push({ kind: 'cut', bytes: Math.ceil((part - this.#o.cutTo) * watermarkBytes), patient: part < lines[2] });
    }
    return effects;
  }

  /** The collection that was asked for is over. */
  collected(tookMs: number, now: number): void {
    this.#collectedAt = now;
    this.#unseen = false;
    this.#partCollected = Number.NaN;
    this.#nextCollect = now + Math.max(this.#o.collectEveryMs, tookMs * collectTimes);
    this.#nextHurriedCollect = now + Math.max(this.#o.collectHurriedMs, tookMs * collectHurriedTimes);
  }

  /** Garbage costs nobody his connection: it goes before a level is entered, and before it is known what a cut has brought. */
  #collects(part: number, heapBytes: number, now: number): boolean {
    const { collectHeapBytesMax, lines, recollectMs } = this.#o;
    const hurry = part >= lines[2] || this.#unseen || (this.#level >= 2 && this.#grew(part));
    const next = hurry ? this.#nextHurriedCollect : this.#nextCollect;
    if (now < next || heapBytes > collectHeapBytesMax) return false;
    return this.#reached(part) > this.#level || this.#unseen || this.#grew(part) || now - this.#collectedAt >= recollectMs;
  }

  /** Since the last collection, by what may be garbage. */
  #grew(part: number): boolean {
    return part >= this.#partCollected + this.#o.hysteresis / 2;
  }

  #reached(part: number): OverloadLevel {
    const { lines } = this.#o;
    return part >= lines[2] ? 3 : part >= lines[1] ? 2 : part >= lines[0] ? 1 : 0;
  }

  /** What the cut has freed, about. Where that is next to nothing, another one soon would free no more. */
  cut(wantedBytes: number, freedBytes: number, now: number): void {
    if (freedBytes >= wantedBytes * cutYieldMin) return;
    this.#unseen = false;
    this.#nextCut = now + this.#o.cutVainMs;
  }

  #move(part: number, now: number): void {
    const { lines, hysteresis, calmMs } = this.#o;
    const reached = this.#reached(part);
    if (reached > this.#level) {
      this.#level = reached;
      this.#calmSince = undefined;
      return;
    }
    if (this.#level === 0) return;
    if (part >= (lines[this.#level - 1] as number) - hysteresis) {
      this.#calmSince = undefined;
      return;
    }
    this.#calmSince ??= now;
    if (now - this.#calmSince < calmMs) return;
    this.#level = (this.#level - 1) as OverloadLevel;
    this.#calmSince = undefined;
  }

  #mayCut(part: number, now: number): boolean {
    if (part >= this.#partAtCut + this.#o.hysteresis / 2) return true;
    if (now < this.#nextCut) return false;
    return !this.#unseen || now - this.#cutAt >= this.#o.cutBlindMs;
  }
}

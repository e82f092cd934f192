// The output of all connections during one turn of the event loop: pieces of byte arrays, linked per
// connection, written at the end of the turn with (nearly always) one write each. Who has got much by
// then is written to between two chunks of input (`early`): in a turn that reads a thousand clients
// those who receive can work meanwhile. Frames that follow each other in a received chunk are joined and
// passed on without a copy; everything else is copied once, into memory that is used again after the turn,
// unless a transport still has to write from it (`slabs.ts`). Nothing is allocated per piece.
// Invariant: a client is in the list of the turn exactly while its `outHead` is not `absent`.
import { emptyBytes } from '#base/bytes.js';
import { copyRange, RangeCopier } from '#base/copy-space.js';
import type { Clock } from '#env/clock.js';
import type { Counter, Histogram } from '#env/metrics.js';
import type { Connection } from '#env/net.js';
import { viewOf } from '#mqtt/wire-reader.js';
import { Slabs, slabBytes } from './slabs.js';

/** A connection as the outbox sees it; the fields `out*` are the outbox's own. */
export interface OutboxClient {
  readonly net: Connection;
  /** The first piece that is not written yet, or one of the states below; made as `absent`. */
  outHead: number;
  /** The last one; -1: none. */
  outTail: number;
  /** Bytes that are not written yet. */
  outBytes: number;
  /** `bytes` of output were written. `full`: the transport wants no more for now. */
  flushed(full: boolean, bytes: number): void;
}

/** `outHead` of a client that has no output in this turn; of one whose output is all written; of one that wants `flushed` alone. */
export const absent = -1;
const written = -2;
const touched = -3;

/** So much for one client is written before the turn ends. */
export const earlyBytes: number = 8 * 1024;
/** Who has so much by then is written to with them, if no more than `togetherMax` have output in the turn. */
export const togetherBytes: number = earlyBytes / 2;
export const togetherMax = 16;
/** With a thousand clients that send a message each, looking at the clock for each of them shows. */
const chunksPerLook = 16;
/** Longer pieces are written by themselves instead of being copied together. */
const copyBytesMax = 16 * 1024;
/** Room for more pieces than this is given back after the turn that needed it: one client with many tiny answers must not fix it for ever. */
export const piecesKept: number = 256 * 1024;
/** What is passed to a client in a turn gets room for as much again, within these bounds. */
const passRoomMin = 256;
const passRoomMax = 4096;

export class Outbox {
  readonly #clock: Clock;
  readonly #sent: Counter;
  readonly #latency: Histogram;
  /** When the first output of the turn came. */
  #turnBegan = 0;
  #dirty: OutboxClient[] = [];
  #spare: OutboxClient[] = [];
  /** Who has come to `earlyBytes`; some of them may have been written to since. */
  #early: OutboxClient[] = [];
  #earlySpare: OutboxClient[] = [];
  #scheduled = false;
  // Columns of the pieces: bytes[start, end), the place and value of a packet identifier, the next piece.
  #count = 0;
  #capacity = 1024;
  readonly #bytes: Uint8Array[] = [];
  #start = new Int32Array(1024);
  #end = new Int32Array(1024);
  #idAt = new Int32Array(1024);
  #id = new Int32Array(1024);
  #next = new Int32Array(1024);
  /** Up to where the piece's bytes are its own: it may grow. */
  #limit = new Int32Array(1024);
  // What is being passed, in lent bytes: of one client, without a gap.
  #passTo: OutboxClient | undefined = undefined;
  #passBytes: Uint8Array = emptyBytes;
  #passStart = 0;
  #passEnd = 0;
  readonly #lent = new RangeCopier();
  readonly #slabs = new Slabs();
  // The last view that was made: in a fan-out everybody gets the same.
  #viewBytes: Uint8Array = emptyBytes;
  #viewStart = 0;
  #viewEnd = 0;
  #view: Uint8Array = emptyBytes;
  readonly #flush: () => void;

  /** The time, and for how many more calls it is good. */
  #now = 0;
  #nowCalls = 0;
  #nowEnds = false;
  readonly #forgetNow = (): void => {
    this.#nowEnds = false;
    this.#nowCalls = 0;
  };

  constructor(clock: Clock, sentBytes: Counter, latency: Histogram) {
    this.#clock = clock;
    this.#sent = sentBytes;
    this.#latency = latency;
    this.#flush = () => this.flush();
  }

  /** The time for who handles input: looked at once for a few chunks of a turn, and again in the next turn. */
  now(): number {
    if (this.#nowCalls-- > 0) return this.#now;
    this.#nowCalls = chunksPerLook - 1;
    if (!this.#nowEnds) {
      this.#nowEnds = true;
      this.#clock.endOfTurn(this.#forgetNow);
    }
    this.#now = this.#clock.now();
    return this.#now;
  }

  /** Pieces there is room for. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Adds `bytes[start, end)`, which nobody may change any more. `idAt` 0: no packet identifier to patch. */
  add(client: OutboxClient, bytes: Uint8Array, start: number, end: number, idAt: number, id: number): void {
    if (this.#passTo !== undefined) this.#settle();
    this.#grows(client, end - start);
    this.#append(client, bytes, start, end, idAt, id, 0);
  }

  /**
   * Adds `bytes[start, end)`, which are lent: copied when something else comes, at the latest by {@link early}, which must be
   * called before they are written over.
   */
  pass(client: OutboxClient, bytes: Uint8Array, start: number, end: number): void {
    this.#grows(client, end - start);
    if (this.#passTo === client && this.#passEnd === start && this.#passBytes === bytes) {
      this.#passEnd = end;
      return;
    }
    if (this.#passTo !== undefined) this.#settle();
    this.#passTo = client;
    this.#passBytes = bytes;
    this.#passStart = start;
    this.#passEnd = end;
  }

  #grows(client: OutboxClient, length: number): void {
    const before = client.outBytes;
    const total = before + length;
    client.outBytes = total;
    if (total >= earlyBytes && before < earlyBytes) this.#early.push(client);
  }

  /** Copies what is being passed: behind the client's last piece, where that has room, else to a new one with room for more. */
  #settle(): void {
    const client = this.#passTo as OutboxClient;
    const start = this.#passStart;
    const end = this.#passEnd;
    const length = end - start;
    this.#passTo = undefined;
    const tail = client.outTail;
    if (tail !== -1) {
      const at = this.#end[tail] as number;
      if ((this.#limit[tail] as number) - at >= length) {
        this.#lent.copy(this.#passBytes, start, end, this.#bytes[tail] as Uint8Array, at);
        this.#end[tail] = at + length;
        return;
      }
    }
    const room = tail === -1 ? length : Math.max(length, Math.min(passRoomMax, Math.max(passRoomMin, client.outBytes)));
    const at = this.#slabs.reserve(room);
    this.#lent.copy(this.#passBytes, start, end, this.#slabs.bytes, at);
    this.#append(client, this.#slabs.bytes, at, at + length, 0, 0, at + room);
  }

  #append(client: OutboxClient, bytes: Uint8Array, start: number, end: number, idAt: number, id: number, limit: number): void {
    const tail = client.outTail;
    if (tail !== -1 && idAt === 0 && this.#end[tail] === start && this.#bytes[tail] === bytes && this.#idAt[tail] === 0) {
      this.#end[tail] = end;
      this.#limit[tail] = limit;
      return;
    }
    const n = this.#count++;
    if (n === this.#capacity) this.#grow();
    this.#bytes[n] = bytes;
    this.#start[n] = start;
    this.#end[n] = end;
    this.#idAt[n] = idAt;
    this.#id[n] = id;
    this.#next[n] = -1;
    this.#limit[n] = limit;
    client.outTail = n;
    if (tail !== -1) this.#next[tail] = n;
    else {
      if (client.outHead === absent) this.#mark(client);
      client.outHead = n;
    }
  }

  /** Room for a few bytes that the caller writes at once, as output of `client`: returns where in {@link slab}. */
  room(client: OutboxClient, length: number): number {
    // It may take another slab.
    if (this.#passTo !== undefined) this.#settle();
    const at = this.#slabs.reserve(length);
    this.add(client, this.#slabs.bytes, at, at + length, 0, 0);
    return at;
  }

  /** Where {@link room} is. */
  get slab(): Uint8Array {
    return this.#slabs.bytes;
  }

  /** `client.flushed` is wanted at the end of the turn, output or not. */
  touch(client: OutboxClient): void {
    if (client.outHead === absent) this.#mark(client);
    if (client.outHead < 0) client.outHead = touched;
  }

  /**
   * Writes what is much already. Called between two chunks of input, when nobody is in the middle of a delivery. What
   * `flushed` adds meanwhile waits for the next chunk or the end of the turn: a client that takes all it gets keeps nobody waiting.
   */
  early(): void {
    if (this.#passTo !== undefined) this.#settle();
    const early = this.#early;
    if (early.length === 0) return;
    this.#early = this.#earlySpare;
    if (this.#dirty.length <= togetherMax) this.#together(early);
    for (let i = 0; i < early.length; i++) {
      const client = early[i] as OutboxClient;
      if (client.outBytes >= togetherBytes) this.#write(client, written);
    }
    early.length = 0;
    this.#earlySpare = early;
  }

  /**
   * Members of a group get their messages in turn, and come to `earlyBytes` one after the other: written to at once, the
   * messages of one publisher come back to it together, and its next ones arrive in one packet instead of two.
   */
  #together(early: OutboxClient[]): void {
    for (const client of this.#dirty) {
      if (client.outBytes < earlyBytes) early.push(client);
    }
  }

  #mark(client: OutboxClient): void {
    this.#dirty.push(client);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#turnBegan = this.#clock.now();
    this.#clock.endOfTurn(this.#flush);
  }

  #grow(): void {
    this.#capacity *= 2;
    this.#start = grown(this.#start);
    this.#end = grown(this.#end);
    this.#idAt = grown(this.#idAt);
    this.#id = grown(this.#id);
    this.#next = grown(this.#next);
    this.#limit = grown(this.#limit);
  }

  /** Writes everything. Runs at the end of the turn; what `flushed` adds is written in the next one. */
  flush(): void {
    const dirty = this.#dirty;
    const began = this.#turnBegan;
    this.#dirty = this.#spare;
    this.#scheduled = false;
    this.#early.length = 0;
    // Writing may report a lost connection, and more output for others: it goes behind the pieces of this turn.
    for (let i = 0; i < dirty.length; i++) {
      const client = dirty[i] as OutboxClient;
      if (client.outHead === written) client.outHead = absent;
      else this.#write(client, absent);
    }
    dirty.length = 0;
    this.#spare = dirty;
    this.#latency.observe((this.#clock.now() - began) / 1000);
    if (this.#dirty.length === 0) this.#clear();
  }

  #clear(): void {
    if (this.#capacity > piecesKept) this.#shrink();
    const used = Math.min(this.#count, this.#bytes.length);
    for (let i = 0; i < used; i++) this.#bytes[i] = emptyBytes;
    this.#count = 0;
    this.#slabs.again();
    this.#viewBytes = emptyBytes;
    this.#view = emptyBytes;
    this.#viewEnd = 0;
  }

  #shrink(): void {
    this.#capacity = piecesKept;
    this.#bytes.length = Math.min(this.#bytes.length, piecesKept);
    this.#start = new Int32Array(piecesKept);
    this.#end = new Int32Array(piecesKept);
    this.#idAt = new Int32Array(piecesKept);
    this.#id = new Int32Array(piecesKept);
    this.#next = new Int32Array(piecesKept);
    this.#limit = new Int32Array(piecesKept);
  }

  #write(client: OutboxClient, then: typeof absent | typeof written): void {
    const head = client.outHead;
    const tail = client.outTail;
    const total = client.outBytes;
    client.outHead = then;
    client.outTail = -1;
    client.outBytes = 0;
    if (head < 0) {
      client.flushed(false, 0);
      return;
    }
    this.#sent.value += total;
    // What a slow reader leaves lying must not keep whole slabs and chunks alive.
    const apart = client.net.bufferedBytes > 0;
    let ok: boolean;
    if (head === tail && this.#idAt[head] === 0 && !apart) {
      ok = this.#give(client.net, this.#viewOf(head), this.#bytes[head] as Uint8Array);
    } else if (total <= copyBytesMax) {
      ok = this.#giveGathered(client.net, this.#gather(head, -1, total, apart), apart);
    } else {
      ok = this.#writeLarge(client, head, apart);
    }
    client.flushed(!ok, total);
  }

  /** `view` is of `bytes`, which may be a slab. */
  #give(net: Connection, view: Uint8Array, bytes: Uint8Array): boolean {
    const ok = net.write(view);
    if (net.takesAtOnce !== true || net.bufferedBytes > 0) this.#slabs.hold(bytes);
    return ok;
  }

  #giveGathered(net: Connection, view: Uint8Array, apart: boolean): boolean {
    return apart ? net.write(view) : this.#give(net, view, this.#slabs.bytes);
  }

  #viewOf(n: number): Uint8Array {
    const bytes = this.#bytes[n] as Uint8Array;
    const start = this.#start[n] as number;
    const end = this.#end[n] as number;
    if (bytes !== this.#viewBytes || start !== this.#viewStart || end !== this.#viewEnd) {
      this.#viewBytes = bytes;
      this.#viewStart = start;
      this.#viewEnd = end;
      this.#view = viewOf(bytes, start, end);
    }
    return this.#view;
  }

  /** Copies the pieces from `head` up to (not with) `stop` into one. */
  #gather(head: number, stop: number, total: number, apart: boolean): Uint8Array {
    let out: Uint8Array;
    let at: number;
    if (apart) {
      out = new Uint8Array(total);
      at = 0;
    } else {
      at = this.#slabs.reserve(total);
      out = this.#slabs.bytes;
    }
    const from = at;
    for (let n = head; n !== stop; ) {
      // Pieces that follow each other in their array, as frames of a chunk do, are copied as one.
      const bytes = this.#bytes[n] as Uint8Array;
      const start = this.#start[n] as number;
      let end = this.#end[n] as number;
      let next = this.#next[n] as number;
      while (next !== stop && this.#start[next] === end && this.#bytes[next] === bytes) {
        end = this.#end[next] as number;
        next = this.#next[next] as number;
      }
      copyRange(bytes, start, end, out, at);
      for (; n !== next; n = this.#next[n] as number) {
        const idAt = this.#idAt[n] as number;
        if (idAt === 0) continue;
        const id = this.#id[n] as number;
        out[at + idAt - start] = id >>> 8;
        out[at + idAt - start + 1] = id & 255;
      }
      at += end - start;
    }
    return apart ? out : viewOf(out, from, at);
  }

  /** Long pieces are written by themselves, short ones between them together. */
  #writeLarge(client: OutboxClient, head: number, apart: boolean): boolean {
    let ok = true;
    let first = head;
    let total = 0;
    for (let n = head; n !== -1; n = this.#next[n] as number) {
      const length = (this.#end[n] as number) - (this.#start[n] as number);
      if (length <= copyBytesMax && total + length <= slabBytes) {
        total += length;
        continue;
      }
      if (total > 0) ok = this.#giveGathered(client.net, this.#gather(first, n, total, apart), apart) && ok;
      total = 0;
      first = n;
      if (length <= copyBytesMax) {
        total = length;
        continue;
      }
      ok = this.#writeLong(client.net, n) && ok;
      first = this.#next[n] as number;
    }
    if (total > 0) ok = this.#giveGathered(client.net, this.#gather(first, -1, total, apart), apart) && ok;
    return ok;
  }

  /** One long piece: only the part up to its packet identifier is copied. */
  #writeLong(net: Connection, n: number): boolean {
    const idAt = this.#idAt[n] as number;
    const bytes = this.#bytes[n] as Uint8Array;
    if (idAt === 0) return this.#give(net, this.#viewOf(n), bytes);
    const start = this.#start[n] as number;
    const split = idAt + 2;
    const id = this.#id[n] as number;
    const header = bytes.slice(start, split);
    header[idAt - start] = id >>> 8;
    header[idAt - start + 1] = id & 255;
    net.write(header);
    return this.#give(net, viewOf(bytes, split, this.#end[n] as number), bytes);
  }
}

function grown(column: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const next = new Int32Array(column.length * 2);
  next.set(column);
  return next;
}

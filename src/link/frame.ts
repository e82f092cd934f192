// Frames on an authenticated connection: length (u32), type (u8), payload, checksum (u32).
// The checksum is CRC-32C over length, type and payload, continued from the previous frame's, and
// begins with a number from the handshake: TCP's own is too weak for a database, and a chain also
// shows a frame that was left out, repeated or taken from another connection. It guards against
// accidents, not against somebody who can write into the stream.
//
// Used by lane.ts. The decoder takes bytes from outside: it never throws and never trusts a length.
import { emptyBytes } from '#base/bytes.js';
import { crc32c, crc32cShared } from '#base/crc32c.js';

export const frameTypes = { data: 1, ping: 2, pong: 3, bye: 4, hello: 5, request: 6, reply: 7 } as const;

const headerBytes = 5;
const trailerBytes = 4;
/** What a frame takes beyond its payload. */
export const frameOverheadBytes: number = headerBytes + trailerBytes;

const slabBytesMin = 4 * 1024;
const slabBytesMax = 64 * 1024;

/** Gathers frames into chunks for the transport, which owns them once they are taken. */
export class FrameWriter {
  /** Bytes gathered and not taken. */
  length = 0;
  #crc: number;
  #parts: Uint8Array[] = [];
  #slab: Uint8Array = new Uint8Array(0);
  #slabFrom = 0;
  #slabAt = 0;

  constructor(seed: number) {
    this.#crc = seed;
  }

  /** The payload is `head`, `body`, and then `shared`, which is never changed (its checksum is remembered); all are copied. */
  frame(type: number, head: Uint8Array, body: Uint8Array, shared: Uint8Array = emptyBytes): void {
    const size = head.length + body.length + shared.length;
    const total = size + frameOverheadBytes;
    let out = this.#slab;
    let at = this.#slabAt;
    if (total > slabBytesMax / 4) {
      this.#cut();
      out = new Uint8Array(total);
      at = 0;
      this.#parts.push(out);
    } else {
      if (total > out.length - at) {
        this.#cut();
        out = this.#slab = new Uint8Array(Math.min(slabBytesMax, Math.max(slabBytesMin, total, 2 * this.length)));
        at = this.#slabFrom = 0;
      }
      this.#slabAt = at + total;
    }
    putU32(out, at, size);
    out[at + 4] = type;
    out.set(head, at + headerBytes);
    out.set(body, at + headerBytes + head.length);
    const end = at + headerBytes + size;
    this.#crc = crc32c(out, this.#crc, at, end - shared.length);
    if (shared.length > 0) {
      out.set(shared, end - shared.length);
      this.#crc = crc32cShared(shared, this.#crc);
    }
    putU32(out, end, this.#crc);
    this.length += total;
  }

  /** What was gathered, in order. The caller owns it. */
  take(): readonly Uint8Array[] {
    this.#cut();
    const parts = this.#parts;
    this.#parts = [];
    this.length = 0;
    return parts;
  }

  #cut(): void {
    if (this.#slabAt > this.#slabFrom) this.#parts.push(this.#slab.subarray(this.#slabFrom, this.#slabAt));
    this.#slabFrom = this.#slabAt;
  }
}

export type FrameFault = 'frame too long' | 'wrong checksum';

/** `payload` is a view that is valid during the call. */
export type FrameSink = (type: number, payload: Uint8Array) => void;

/** Finds the frames in a stream of chunks. Chunks must be its own (they may be kept until the next). */
export class FrameDecoder {
  readonly #sink: FrameSink;
  readonly #payloadBytesMax: number;
  #crc: number;
  /** The beginning of a frame whose rest has not come. */
  #partial: Uint8Array = new Uint8Array(0);
  #have = 0;
  /** Chunks that came while held. */
  #waiting: Uint8Array[] = [];
  #held = false;
  #running = false;
  fault: FrameFault | undefined;

  constructor(seed: number, payloadBytesMax: number, sink: FrameSink) {
    this.#crc = seed;
    this.#payloadBytesMax = payloadBytesMax;
    this.#sink = sink;
  }

  /** Takes a chunk. After a fault, everything is dropped. */
  push(chunk: Uint8Array): FrameFault | undefined {
    if (this.#running || this.#held || this.#waiting.length > 0) this.#waiting.push(chunk);
    else this.#take(chunk);
    this.#run();
    return this.fault;
  }

  /** What is held back of it waits before whatever comes meanwhile. */
  #take(chunk: Uint8Array): void {
    this.#running = true;
    try {
      const at = this.#chunk(chunk);
      if (at < chunk.length) this.#waiting.unshift(chunk.subarray(at));
    } finally {
      this.#running = false;
    }
  }

  /** No frame is handed over until `release`. */
  hold(): void {
    this.#held = true;
  }

  release(): FrameFault | undefined {
    this.#held = false;
    this.#run();
    return this.fault;
  }

  #run(): void {
    if (this.#running) return;
    while (this.#waiting.length > 0 && !this.#held && this.fault === undefined) this.#take(this.#waiting.shift() as Uint8Array);
    if (this.fault !== undefined) this.#waiting = [];
  }

  /** Returns how far it came: the whole chunk unless held. */
  #chunk(chunk: Uint8Array): number {
    let at = 0;
    while (at < chunk.length && !this.#held && this.fault === undefined) {
      if (this.#have > 0 || chunk.length - at < headerBytes) {
        at = this.#continue(chunk, at);
        continue;
      }
      const size = getU32(chunk, at);
      if (size > this.#payloadBytesMax) {
        this.fault = 'frame too long';
        break;
      }
      const total = size + frameOverheadBytes;
      if (chunk.length - at < total) {
        at = this.#continue(chunk, at);
        continue;
      }
      this.#whole(chunk, at, size);
      at += total;
    }
    return at;
  }

  /** Adds to the partial frame what belongs to it. */
  #continue(chunk: Uint8Array, from: number): number {
    let at = from;
    if (this.#have < headerBytes) {
      at = this.#keep(chunk, at, headerBytes);
      if (this.#have < headerBytes) return at;
    }
    const size = getU32(this.#partial, 0);
    if (size > this.#payloadBytesMax) {
      this.fault = 'frame too long';
      return at;
    }
    const total = size + frameOverheadBytes;
    at = this.#keep(chunk, at, total);
    if (this.#have < total) return at;
    const frame = this.#partial;
    this.#have = 0;
    if (frame.length > slabBytesMax) this.#partial = new Uint8Array(slabBytesMin);
    this.#whole(frame, 0, size);
    return at;
  }

  /** Copies from the chunk until `upTo` bytes of the frame are there; the buffer grows with what really came. */
  #keep(chunk: Uint8Array, at: number, upTo: number): number {
    const take = Math.min(upTo - this.#have, chunk.length - at);
    const need = this.#have + take;
    if (need > this.#partial.length) {
      const grown = new Uint8Array(Math.min(Math.max(upTo, slabBytesMin), Math.max(need, 2 * this.#partial.length)));
      grown.set(this.#partial.subarray(0, this.#have));
      this.#partial = grown;
    }
    this.#partial.set(chunk.subarray(at, at + take), this.#have);
    this.#have = need;
    return at + take;
  }

  #whole(bytes: Uint8Array, at: number, size: number): void {
    const end = at + headerBytes + size;
    const crc = crc32c(bytes, this.#crc, at, end);
    if (crc !== getU32(bytes, end)) {
      this.fault = 'wrong checksum';
      return;
    }
    this.#crc = crc;
    this.#sink(bytes[at + 4] as number, new Uint8Array(bytes.buffer, bytes.byteOffset + at + headerBytes, size));
  }
}

export function putU32(out: Uint8Array, at: number, value: number): void {
  out[at] = value & 255;
  out[at + 1] = (value >>> 8) & 255;
  out[at + 2] = (value >>> 16) & 255;
  out[at + 3] = value >>> 24;
}

export function getU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)) >>> 0;
}

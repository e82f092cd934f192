// Goes through the records of one segment (format.ts) and tells what a crash has torn from what was
// damaged. For the recovery of the write-ahead log and of the sessions' journal.
import { crc32c } from '#base/crc32c.js';
import { isEndMark, recordHeaderBytes, recordTrailerBytes } from './format.js';

export interface Found {
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly type: number;
  readonly shard: number;
  /** Of the payload. */
  readonly start: number;
  readonly end: number;
  readonly crc: number;
  /** The payload is not what was written. */
  readonly broken: boolean;
}

/** Goes through the records of one segment. */
export class Walk {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  /** Nothing comes after: an incomplete record is torn, not damaged. */
  readonly #last: boolean;
  readonly #contentEnd: number;
  offset: number;
  chain: number;
  stop: 'end' | 'torn' | 'damaged' = 'end';

  constructor(bytes: Uint8Array, offset: number, end: number, chain: number, last: boolean) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#end = end;
    this.#last = last;
    this.#contentEnd = last ? contentEnd(bytes) : end;
    this.offset = offset;
    this.chain = chain;
  }

  next(): Found | undefined {
    const { offset } = this;
    if (offset === this.#end) return undefined;
    const start = offset + recordHeaderBytes;
    if (start > this.#end) return this.#incomplete();
    const length = this.#view.getUint32(offset, true);
    const headerCrc = this.#view.getUint32(offset + 8, true);
    if (crc32c(this.#bytes, this.chain, offset, offset + 8) !== headerCrc) {
      // The header itself was not written to its end: only zeros follow where it should have been.
      if (this.#contentEnd < start) return this.#incomplete();
      this.stop = 'damaged';
      return undefined;
    }
    const end = start + length;
    const next = end + recordTrailerBytes;
    if (next > this.#end) return this.#incomplete();
    const crc = this.#view.getUint32(end, true);
    const broken = crc32c(this.#bytes, headerCrc, start, end) !== crc || !isEndMark(this.#bytes[next - 1]);
    if (broken && this.#contentEnd < next) return this.#incomplete();
    this.offset = next;
    this.chain = crc;
    const type = this.#bytes[offset + 4] as number;
    const shard = ((this.#bytes[offset + 5] as number) << 16) | this.#view.getUint16(offset + 6, true);
    return { bytes: this.#bytes, offset, type, shard, start, end, crc, broken };
  }

  #incomplete(): undefined {
    this.stop = this.#last ? 'torn' : 'damaged';
    return undefined;
  }
}

/** Where the zeros begin that the file ends with. */
export function contentEnd(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}

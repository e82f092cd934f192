// Reads of plain TCP sockets into one buffer that all of them share, from where a chunk is copied into
// memory for many chunks. Left alone, Node makes 64 KiB, an ArrayBuffer and its bookkeeping for every
// read and passes the chunk through the machinery of its streams: with a thousand clients that send a
// message each, that is a quarter of a turn. Who is done with the bytes at once gets them where they were read.
//
// A socket that is made by hand may be given such a buffer (`onread`), one that a server accepts may not.
// So it gets here what `onread` would have set: the names of those fields are learned from a socket that
// was made with it. Where that does not work, in a Node that does it otherwise, `share` answers false and
// the socket is read as usual.
import { Socket } from 'node:net';

/** At most so much per read; what Node takes, too. */
const readBytesMax = 64 * 1024;
/** Chunks up to this length share memory; longer ones have their own. */
const sharedBytesMax = 8 * 1024;
const slabBytes = 64 * 1024;
/** Up to this length a loop is faster than `set`, which needs a view. */
const loopBytesMax = 24;

const readBuffer = Buffer.allocUnsafeSlow(readBytesMax);
/** The same bytes: `subarray` of a Buffer costs twice as much. */
const readBytes: Uint8Array = new Uint8Array(readBuffer.buffer);
let slab: ArrayBuffer = readBuffer.buffer;
let slabView: Uint8Array = readBytes;
let slabAt = slabBytes;

/** As a method of the socket. */
export type OnChunk<T> = (this: T, chunk: Uint8Array) => void;
/** As a method of the socket: the first `length` bytes are good until it returns. False: it takes no lent bytes, `OnChunk` is called. */
export type OnLent<T> = (this: T, bytes: Uint8Array, length: number) => boolean;

interface Handle {
  useUserBuffer?: (buffer: Uint8Array) => unknown;
}

type Fields = Record<symbol, unknown> & { readonly _handle?: Handle | null };

/** What is in the read buffer, in memory of the receiver's own. */
function taken(length: number): Uint8Array {
  if (length > sharedBytesMax) {
    const own = Buffer.allocUnsafeSlow(length);
    readBuffer.copy(own, 0, 0, length);
    return own;
  }
  if (slabAt + length > slabBytes) {
    slab = Buffer.allocUnsafeSlow(slabBytes).buffer;
    slabView = new Uint8Array(slab);
    slabAt = 0;
  }
  const at = slabAt;
  slabAt += length;
  const to = slabView;
  if (length > loopBytesMax) to.set(readBytes.subarray(0, length), at);
  else for (let i = 0; i < length; i++) to[at + i] = readBytes[i] as number;
  return new Uint8Array(slab, at, length);
}

/** The fields of a socket with `onread`: of the buffer and of the function. */
function learn(): readonly [buffer: symbol, callback: symbol] | undefined {
  const callback = (): boolean => true;
  const probe = new Socket({ onread: { buffer: readBuffer, callback } } as ConstructorParameters<typeof Socket>[0]);
  const fields = probe as unknown as Fields;
  const symbols = Object.getOwnPropertySymbols(probe);
  const ofBuffer = symbols.find((s) => fields[s] === readBuffer);
  const ofCallback = symbols.find((s) => fields[s] === callback);
  probe.destroy();
  return ofBuffer === undefined || ofCallback === undefined ? undefined : [ofBuffer, ofCallback];
}

/** For sockets whose chunks `onChunk` takes. */
export class SharedReads<T extends Socket> {
  readonly #names: readonly [buffer: symbol, callback: symbol] | undefined = learn();
  readonly #callback: (this: T, length: number) => boolean;

  constructor(onChunk: OnChunk<T>, onLent?: OnLent<T>) {
    this.#callback = function (length) {
      if (onLent === undefined || !onLent.call(this, readBytes, length)) onChunk.call(this, taken(length));
      return true;
    };
  }

  /** Of a socket that was just accepted: from now on it has no 'data'. False: it has. */
  share(socket: T): boolean {
    const fields = socket as unknown as Fields;
    const { _handle: handle } = fields;
    if (this.#names === undefined || handle?.useUserBuffer === undefined) return false;
    const [buffer, callback] = this.#names;
    if (!(buffer in fields && callback in fields)) return false;
    fields[buffer] = readBuffer;
    fields[callback] = this.#callback;
    handle.useUserBuffer(readBuffer);
    return true;
  }
}

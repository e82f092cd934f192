// Reads of plain TCP sockets into one buffer that all of them share, from where a chunk is copied into
// memory for many chunks. Left alone, Node makes 64 KiB, an ArrayBuffer and its bookkeeping for every
// read and passes the chunk through the machinery of its streams: with a thousand clients that send a
// message each, that is a quarter of a turn. Who is done with the bytes at once gets them where they were read.
//
// A socket that is made by hand may be given such a buffer (`onread`), one that a server accepts may not.
// So it gets here what `onread` would have set: the names of those fields are learned from a socket that
// was made with it. Where that does not work, in a Node that does it otherwise, `share` answers false and
// the socket is read as usual.
//
// Node's function for what was read asks the socket, the states of its two streams and its timer about it. With a
// thousand clients these are a dozen places in cold memory each time, and in the end there is a length. Who takes lent bytes
// is called without them, from the handle: `give`. The length lies where Node's own function looks for it; the
// first one is compared with what the handle counts.
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

/** Gets what was read where it lies: good until it returns. */
export interface LentTaker {
  onLent(bytes: Uint8Array, start: number, end: number): void;
}

const taker: unique symbol = Symbol('taker');

type OnRead = (this: Handle, buffer: unknown) => unknown;

interface Handle {
  useUserBuffer?: (buffer: Uint8Array) => unknown;
  onread?: OnRead;
  readonly bytesRead?: number;
  [taker]?: LentTaker | undefined;
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

interface StreamBinding {
  readonly streamBaseState?: unknown;
  readonly kReadBytesOrError?: unknown;
}

/** Where Node's own function finds how many bytes were read; undefined: it is not to be had. */
function lengthPlace(): readonly [fields: Int32Array, at: number] | undefined {
  try {
    const { binding } = process as unknown as { readonly binding: (name: string) => StreamBinding };
    const { streamBaseState, kReadBytesOrError } = binding.call(process, 'stream_wrap');
    return streamBaseState instanceof Int32Array && typeof kReadBytesOrError === 'number' ? [streamBaseState, kReadBytesOrError] : undefined;
  } catch {
    return undefined;
  }
}

/** Takes the place of `nodes` as a handle's `onread`. Undefined: it cannot. */
function directRead(nodes: OnRead): OnRead | undefined {
  const place = lengthPlace();
  if (place === undefined) return undefined;
  const [fields, at] = place;
  let checked: boolean | undefined;
  return function (buffer) {
    const length = fields[at] as number;
    if (length > 0) {
      const to = this[taker];
      checked ??= isFirst(this, length);
      if (checked === true && to !== undefined) {
        to.onLent(readBytes, 0, length);
        return;
      }
    }
    return nodes.call(this, buffer);
  };
}

/** Said by the handle itself. Another one than the first of its socket says nothing. */
function isFirst({ bytesRead }: Handle, length: number): boolean | undefined {
  if (bytesRead === length) return true;
  return typeof bytesRead === 'number' && bytesRead > length ? undefined : false;
}

/** For sockets whose chunks `onChunk` takes. */
export class SharedReads<T extends Socket> {
  readonly #names: readonly [buffer: symbol, callback: symbol] | undefined = learn();
  readonly #callback: (this: T, length: number) => boolean;
  /** Node's function, and what takes its place; both the same for all sockets. */
  #nodes: OnRead | undefined = undefined;
  #direct: OnRead | undefined = undefined;

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
    this.#takeOver(handle);
    return true;
  }

  #takeOver(handle: Handle): void {
    const { onread } = handle;
    if (typeof onread !== 'function') return;
    if (this.#nodes === undefined) {
      this.#nodes = onread;
      this.#direct = directRead(onread);
    }
    if (this.#direct === undefined || onread !== this.#nodes) return;
    handle[taker] = undefined;
    handle.onread = this.#direct;
  }

  /** Of a shared socket: `to` gets what it reads, past the socket, from now on. Undefined: the functions given to the constructor do. */
  give(socket: T, to: LentTaker | undefined): void {
    const { _handle: handle } = socket as unknown as Fields;
    if (handle !== undefined && handle !== null && taker in handle) handle[taker] = to;
  }
}

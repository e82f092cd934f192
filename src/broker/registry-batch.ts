// Commands of the registry that go to the leader of a shard as one: body and reply of the command `batch`.
//   body: for each: u8 kind · u32 length · its own body
//   reply: for each in turn: u32 length · its own reply; the length 0xFFFFFFFF alone: refused
// Lengths are of four bytes so that they can be written afterwards, in place.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';

export type BatchedCommand = 'register' | 'disconnected' | 'ended' | 'reassert' | 'settle';

/** By number: never reuse one. */
export const batchedCommands: readonly BatchedCommand[] = ['register', 'disconnected', 'ended', 'reassert', 'settle'];

/** Bytes before a command's own body. */
export const itemHeadBytes = 5;
const refusedLength = 0xffff_ffff;

/** Begins a command; its body follows, then {@link endItem} with what this returned. */
export function beginItem(w: ByteWriter, command: BatchedCommand): number {
  const at = w.length;
  w.u8(batchedCommands.indexOf(command));
  w.u32(0);
  return at;
}

export function endItem(w: ByteWriter, at: number): void {
  w.patchU32(at + 1, w.length - at - itemHeadBytes);
}

/** Runs `visit` with each command and its body, a view. Throws MalformedError. */
export function readItems(bytes: Uint8Array, visit: (command: BatchedCommand, body: Uint8Array) => void): void {
  const r = new ByteReader(bytes);
  while (r.remaining > 0) {
    const command = batchedCommands[r.u8()];
    if (command === undefined) throw new MalformedError('unknown command in a batch');
    visit(command, r.raw(r.u32()));
  }
}

export function beginReply(w: ByteWriter): number {
  const at = w.length;
  w.u32(0);
  return at;
}

export function endReply(w: ByteWriter, at: number): void {
  w.patchU32(at, w.length - at - 4);
}

/** In place of the reply that was begun at `at`. */
export function refuseReply(w: ByteWriter, at: number): void {
  w.length = at;
  w.u32(refusedLength);
}

/** Replies in turn. */
export class Replies {
  readonly #r: ByteReader;

  constructor(bytes: Uint8Array) {
    this.#r = new ByteReader(bytes);
  }

  /** The next one, a view; undefined: it was refused. Throws MalformedError. */
  next(): Uint8Array | undefined {
    const length = this.#r.u32();
    return length === refusedLength ? undefined : this.#r.raw(length);
  }
}

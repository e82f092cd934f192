// Bodies of the takeover calls between nodes. Readers throw MalformedError.
//   request of takeover.begin, takeover.finish: client id, held epochs, new epoch, offset, transfer
//   reply: 0 there is no such session · 1 transfer, total, bytes from offset · 2 start again at offset 0
//   request of session.discard, session.kick: client id, epochs, reason code; the reply is empty
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';

export interface TakeoverRequest {
  readonly clientId: string;
  /** The epoch under which the holder has the session, then older ones that it may still know it by. */
  readonly heldEpochs: readonly number[];
  /** The epoch of the connection that takes it over. */
  readonly newEpoch: number;
  readonly offset: number;
  /** 0 at offset 0; then what the first reply said, so that chunks of two transfers are never mixed. */
  readonly transfer: number;
}

export function encodeTakeover(q: TakeoverRequest): Uint8Array {
  const w = new ByteWriter(64);
  w.string(q.clientId);
  writeEpochs(w, q.heldEpochs);
  w.varint(q.newEpoch);
  w.varint(q.offset);
  w.varint(q.transfer);
  return w.finish();
}

export function decodeTakeover(bytes: Uint8Array): TakeoverRequest {
  const r = new ByteReader(bytes);
  const q = { clientId: r.string(), heldEpochs: readEpochs(r), newEpoch: r.varint(), offset: r.varint(), transfer: r.varint() };
  r.done();
  return q;
}

export type TakeoverReply =
  | { readonly kind: 'none' }
  | { readonly kind: 'again' }
  | { readonly kind: 'chunk'; readonly transfer: number; readonly total: number; readonly bytes: Uint8Array };

export function encodeTakeoverReply(reply: TakeoverReply): Uint8Array {
  if (reply.kind !== 'chunk') return Uint8Array.of(reply.kind === 'none' ? 0 : 2);
  const w = new ByteWriter(24 + reply.bytes.length);
  w.u8(1);
  w.varint(reply.transfer);
  w.varint(reply.total);
  w.raw(reply.bytes);
  return w.finish();
}

/** `bytes` is a view. */
export function decodeTakeoverReply(bytes: Uint8Array): TakeoverReply {
  const r = new ByteReader(bytes);
  switch (r.u8()) {
    case 0:
      return { kind: 'none' };
    case 1:
      return { kind: 'chunk', transfer: r.varint(), total: r.varint(), bytes: r.raw(r.remaining) };
    case 2:
      return { kind: 'again' };
    default:
      throw new MalformedError('takeover reply');
  }
}

export interface DiscardRequest {
  readonly clientId: string;
  readonly epochs: readonly number[];
  readonly reasonCode: number;
}

export function encodeDiscard(q: DiscardRequest): Uint8Array {
  const w = new ByteWriter(48);
  w.string(q.clientId);
  writeEpochs(w, q.epochs);
  w.u8(q.reasonCode);
  return w.finish();
}

export function decodeDiscard(bytes: Uint8Array): DiscardRequest {
  const r = new ByteReader(bytes);
  const q = { clientId: r.string(), epochs: readEpochs(r), reasonCode: r.u8() };
  r.done();
  return q;
}

function writeEpochs(w: ByteWriter, epochs: readonly number[]): void {
  w.u8(epochs.length);
  for (const epoch of epochs) w.varint(epoch);
}

function readEpochs(r: ByteReader): number[] {
  const epochs: number[] = [];
  for (let n = r.u8(); n > 0; n--) epochs.push(r.varint());
  return epochs;
}

// The chunk that is being decoded, of all connections: decoding is synchronous, and one set of functions serves them all.
// Invariant: between two chunks there is no reader, and nothing that is not counted.
import type { Packet, PublishPacket } from '#mqtt/packet.js';

/** A connection, as its decoder's packets see it. */
export interface ChunkReader {
  handle(packet: Packet, now: number): void;
  handlePublish(packet: PublishPacket, now: number): void;
  /** A plain PUBLISH, in bytes that are lent. False: it has to be decoded. */
  passPublish(topicName: string, bytes: Uint8Array, start: number, end: number, now: number): boolean;
}

class Chunk {
  reader: ChunkReader | undefined = undefined;
  now = 0;
  /** Plain PUBLISHes that took the short way and are not counted yet. */
  passed = 0;
  /** Where the last of them ends. */
  passedTo = 0;
}

export const chunk: Chunk = new Chunk();

export function onPacket(packet: Packet): void {
  if (chunk.reader !== undefined) chunk.reader.handle(packet, chunk.now);
}

export function onPublish(packet: PublishPacket): void {
  if (chunk.reader !== undefined) chunk.reader.handlePublish(packet, chunk.now);
}

export function onLentPublish(topicName: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (chunk.reader?.passPublish(topicName, bytes, start, end, chunk.now) !== true) return false;
  chunk.passed++;
  chunk.passedTo = end;
  return true;
}

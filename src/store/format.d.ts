import { ByteReader } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import type { HardState, LogBase, LogEntry, WalDamage } from './types.js';
export declare const formatVersion = 1;
export declare const headerBytes = 128;
export declare const recordHeaderBytes = 12;
/** Checksum and end mark after the payload. */
export declare const recordTrailerBytes = 5;
export declare const recordType: {
  readonly node: 1;
  readonly shard: 2;
  readonly headEnd: 3;
  readonly entries: 4;
  readonly truncate: 5;
  readonly hardState: 6;
  readonly base: 7;
  readonly install: 8;
  readonly repaired: 9;
  readonly drop: 10;
};
export interface SegmentHeader {
  readonly version: number;
  readonly segment: number;
  readonly previousEnd: number;
  readonly chain: number;
  readonly nodeId: string;
}
export declare function segmentName(segment: number): string;
/** Undefined for names of other files. */
export declare function segmentNumber(name: string): number | undefined;
export declare function encodeHeader(h: Omit<SegmentHeader, 'version'>): Uint8Array;
/** Undefined when it is not one. Every version keeps magic, version and checksum where they are. */
export declare function decodeHeader(bytes: Uint8Array): SegmentHeader | undefined;
/** Starts a record; the payload follows, then {@link endRecord}. Returns where it starts. */
export declare function beginRecord(w: ByteWriter, type: number, shard: number): number;
export declare function isEndMark(byte: number | undefined): boolean;
/** Returns the chain for the next record. */
export declare function endRecord(w: ByteWriter, at: number, chain: number): number;
export declare function writeHardState(w: ByteWriter, s: HardState): void;
export declare function readHardState(r: ByteReader): HardState;
export declare function writeBase(w: ByteWriter, b: LogBase): void;
export declare function readBase(r: ByteReader): LogBase;
/** Everything about a shard but its entries. */
export interface ShardState {
  readonly name: string;
  readonly hardState: HardState;
  readonly base: LogBase;
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly damage: WalDamage | undefined;
}
export declare function writeShardState(w: ByteWriter, s: ShardState): void;
export declare function readShardState(r: ByteReader): ShardState;
/** Entries `from` up to and without `to` of a list; `previousTerm` is the term of the index before. */
export declare function writeEntries(w: ByteWriter, entries: readonly LogEntry[], from: number, to: number, previousTerm: number): void;
/** Walks a payload of entries without copying; `data` is a view. */
export declare class EntriesReader {
  #private;
  readonly firstIndex: number;
  readonly previousTerm: number;
  readonly count: number;
  /** Throws MalformedError, as does `next`. */
  constructor(bytes: Uint8Array, start: number, end: number);
  next(): LogEntry | undefined;
}

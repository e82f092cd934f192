// The rows that apply itself keeps beside the tables, in the same store and the same batches:
// position of the tables in the log, live incarnations, streams, purges not yet swept.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { Slab } from '#base/slab.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { TableStore } from '#env/tables.js';
import { LiveSet, type NodeIncarnations } from './live-set.js';
import { Streams } from './streams.js';

/** Where a copy of a shard's tables stands in the shard's log. */
export interface Position {
  /** Tables contain every entry up to here, and none above. */
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** Raft configuration in force at `appliedIndex`, encoded. */
  readonly config: Uint8Array;
  readonly historyId: string;
  /** Leader's stamp of the last entry, ms since 1970. */
  readonly stampMs: number;
  /** Transactions applied since formation: a measure, not an identity. */
  readonly transactions: number;
}

export const startPosition: Position = { appliedIndex: 0, appliedTerm: 0, config: emptyBytes, historyId: '', stampMs: 0, transactions: 0 };

const letter = { meta: 0x6d, node: 0x6e, purge: 0x70, stream: 0x73 } as const;
export const metaKey: Uint8Array = Uint8Array.of(0, letter.meta);
export const firstUserKey: Uint8Array = Uint8Array.of(1);

const scratch = new ByteWriter(256);

/** `slab`: where the bytes are to be; an array of their own otherwise. */
export function encodePosition(p: Position, slab?: Slab): Uint8Array {
  const w = scratch;
  w.reset();
  w.u8(1);
  w.varint(p.appliedIndex);
  w.varint(p.appliedTerm);
  w.blob(p.config);
  w.string(p.historyId);
  w.f64(p.stampMs);
  w.varint(p.transactions);
  return slab === undefined ? w.finish() : w.finishIn(slab);
}

export function decodePosition(bytes: Uint8Array): Position {
  const r = new ByteReader(bytes);
  r.u8();
  return {
    appliedIndex: r.varint(),
    appliedTerm: r.varint(),
    config: copyBytes(r.blob()),
    historyId: r.string(),
    stampMs: r.f64(),
    transactions: r.varint(),
  };
}

export function nodeKey(nodeId: string): Uint8Array {
  const id = utf8Encode(nodeId);
  const out = new Uint8Array(2 + id.length);
  out[1] = letter.node;
  out.set(id, 2);
  return out;
}

export function encodeNode(n: NodeIncarnations): Uint8Array {
  const w = new ByteWriter(16);
  w.varint(n.highest);
  w.varint(n.live);
  return w.finish();
}

export function streamKey(incarnation: number): Uint8Array {
  return numbered(letter.stream, incarnation);
}

export function purgeKey(incarnation: number): Uint8Array {
  return numbered(letter.purge, incarnation);
}

function numbered(kind: number, n: number): Uint8Array {
  const w = scratch;
  w.reset();
  w.u8(0);
  w.u8(kind);
  w.f64(n);
  return w.finish();
}

export interface SystemState {
  position: Position;
  live: LiveSet;
  streams: Streams;
  /** Incarnations whose rows are invisible but not all deleted yet. */
  unswept: Set<number>;
}

/** Everything that apply consults, from a store that was just opened. */
export function loadSystem(store: TableStore): SystemState {
  const state: SystemState = { position: startPosition, live: new LiveSet(), streams: new Streams(), unswept: new Set() };
  store.range(Uint8Array.of(0), firstUserKey, (key, value) => {
    const r = new ByteReader(key, 2);
    switch (key[1]) {
      case letter.meta:
        state.position = decodePosition(value);
        break;
      case letter.node: {
        const v = new ByteReader(value);
        state.live.load(utf8Decode(key, 2) ?? '', { highest: v.varint(), live: v.varint() });
        break;
      }
      case letter.purge:
        state.unswept.add(r.f64());
        break;
      case letter.stream:
        state.streams.load(r.f64(), value);
        break;
    }
    return true;
  });
  return state;
}

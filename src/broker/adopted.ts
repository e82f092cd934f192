// What one node says to another of a session that it gives away while its client is away (adoption.ts).
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { readMeta, type SessionMeta, writeMeta } from '#session/session-meta.js';

/** A session that is to be taken in without its client. */
export interface Adopted {
  readonly clientId: string;
  /** Until it expires. */
  readonly leftMs: number;
  /** `leftAtMs` means nothing; `will.dueAtMs` is what is left of its delay, because clocks differ. */
  readonly meta: SessionMeta;
}

export function encodeAdopted(adopted: Adopted): Uint8Array {
  const w = new ByteWriter(256);
  w.string(adopted.clientId);
  w.f64(adopted.leftMs);
  writeMeta(w, adopted.meta);
  return w.finish();
}

/** Throws MalformedError. */
export function decodeAdopted(bytes: Uint8Array): Adopted {
  const r = new ByteReader(bytes);
  const adopted = { clientId: r.string(), leftMs: r.f64(), meta: readMeta(r) };
  r.done();
  return adopted;
}

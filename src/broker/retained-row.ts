// A retained message in its table: where it stands in the log, the leader's stamp, when it expires by
// that stamp, and the message. The key is its token-ordered topic name (router/route-key.ts).
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { MessageProperties, Qos } from '#session/message.js';
import { readProperties, writeProperties } from './forward-frame.js';

/** What of a message is stored. */
export interface RetainedBody {
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly publisherId: string;
  /** By which live copies of the same message are told. */
  readonly originIncarnation: number;
  readonly originNumber: number;
  readonly properties: MessageProperties | undefined;
}

export interface RetainedRow {
  readonly position: number;
  /** Leader's stamp, ms since 1970, after which it must not be sent; Infinity: never. */
  readonly expiresAtMs: number;
  /** The row that this one replaced was absent: for counting. */
  readonly created: boolean;
  readonly body: Uint8Array;
}

const rowVersion = 2;
const headerLength = 18;

export function encodeRetainedRow(position: number, expiresAtMs: number, created: boolean, body: Uint8Array): Uint8Array {
  const w = new ByteWriter(headerLength + body.length);
  w.u8(rowVersion);
  w.u8(created ? 1 : 0);
  w.f64(position);
  w.f64(expiresAtMs);
  w.raw(body);
  return w.finish();
}

/** A view; throws MalformedError. */
export function decodeRetainedRow(bytes: Uint8Array): RetainedRow {
  const r = new ByteReader(bytes);
  if (r.u8() !== rowVersion) throw new MalformedError('retained row of another version');
  const created = r.u8() === 1;
  return { created, position: r.f64(), expiresAtMs: r.f64(), body: r.raw(r.remaining) };
}

export function encodeRetainedBody(body: RetainedBody): Uint8Array {
  const w = new ByteWriter(64 + body.payload.length);
  w.u8(body.qos);
  w.string(body.publisherId);
  w.varint(body.originIncarnation);
  w.varint(body.originNumber);
  writeProperties(w, body.properties);
  w.raw(body.payload);
  return w.finish();
}

/** `payload` is a view of `bytes`; everything else is copied. Throws MalformedError. */
export function decodeRetainedBody(bytes: Uint8Array): RetainedBody {
  const r = new ByteReader(bytes);
  const qos = r.u8();
  if (qos !== 0 && qos !== 1 && qos !== 2) throw new MalformedError('no such QoS');
  return {
    qos,
    publisherId: r.string(),
    originIncarnation: r.varint(),
    originNumber: r.varint(),
    properties: readProperties(r),
    payload: r.raw(r.remaining),
  };
}

// ---- commands ----

/** `lifetimeMs` Infinity: never expires. An empty `body` deletes. */
export interface RetainPut {
  readonly key: Uint8Array;
  readonly lifetimeMs: number;
  /** Refused when the table would grow beyond; 0: unlimited. Judged by the sender's count. */
  readonly onlyReplace: boolean;
  readonly body: Uint8Array;
}

export function encodeRetainPut(put: RetainPut): Uint8Array {
  const w = new ByteWriter(24 + put.key.length + put.body.length);
  w.blob(put.key);
  w.f64(put.lifetimeMs);
  w.u8(put.onlyReplace ? 1 : 0);
  w.raw(put.body);
  return w.finish();
}

export function decodeRetainPut(bytes: Uint8Array): RetainPut {
  const r = new ByteReader(bytes);
  return { key: r.blob(), lifetimeMs: r.f64(), onlyReplace: r.u8() === 1, body: r.raw(r.remaining) };
}

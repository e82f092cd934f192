// What of a session is neither a subscription nor a message, as bytes: in the journal of persistent sessions, in what
// nodes hand over, and with the registry (a will). Pure. Times are of the wall clock.
import type { ByteReader } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import type { Will } from '#mqtt/packet.js';
import { readMessageProperties, readOptional, readQos, writeMessageProperties, writeOptional } from './message-codec.js';

/** What of a session is neither a subscription nor a message. */
export interface SessionMeta {
  readonly epoch: number;
  readonly expiryIntervalS: number;
  readonly username: string | undefined;
  readonly mountpoint: string;
  /** Wall clock ms at which its client went; 0 while it is connected. */
  readonly leftAtMs: number;
  readonly will: WillRecord | undefined;
}

export interface WillRecord {
  readonly will: Will;
  /** Wall clock ms at which it is to be published; 0 while its client is connected. */
  readonly dueAtMs: number;
  /** It stands elsewhere too, and is published from there when this node is lost. */
  readonly stands?: boolean;
}

export function writeMeta(w: ByteWriter, meta: SessionMeta): void {
  w.varint(meta.epoch);
  w.varint(meta.expiryIntervalS);
  writeOptional(w, meta.username);
  w.string(meta.mountpoint);
  w.f64(meta.leftAtMs);
  const { will } = meta;
  w.u8(will === undefined ? 0 : will.stands === true ? 2 : 1);
  if (will !== undefined) writeWill(w, will);
}

function writeWill(w: ByteWriter, { will, dueAtMs }: WillRecord): void {
  const p = will.properties ?? {};
  w.f64(dueAtMs);
  w.string(will.topicName);
  w.blob(will.payload);
  w.u8(will.qos | (will.retain ? 4 : 0));
  w.varint(p.willDelayInterval ?? 0);
  w.varint(p.messageExpiryInterval === undefined ? 0 : p.messageExpiryInterval + 1);
  writeMessageProperties(w, p as Parameters<typeof writeMessageProperties>[1]);
}

export function readMeta(r: ByteReader): SessionMeta {
  const epoch = r.varint();
  const expiryIntervalS = r.varint();
  const username = readOptional(r);
  const mountpoint = r.string();
  const leftAtMs = r.f64();
  const kind = r.u8();
  const will = kind === 0 ? undefined : { ...readWill(r), ...(kind === 2 ? { stands: true } : {}) };
  return { epoch, expiryIntervalS, username, mountpoint, leftAtMs, will };
}

function readWill(r: ByteReader): WillRecord {
  const dueAtMs = r.f64();
  const topicName = r.string();
  const payload = copyBytes(r.blob());
  const bits = r.u8();
  const willDelayInterval = r.varint();
  const expiry = r.varint();
  const p = readMessageProperties(r);
  const properties: Will['properties'] = {
    ...(p as Will['properties']),
    willDelayInterval,
    ...(expiry === 0 ? {} : { messageExpiryInterval: expiry - 1 }),
  };
  return { will: { topicName, payload, qos: readQos(bits), retain: (bits & 4) !== 0, properties }, dueAtMs };
}

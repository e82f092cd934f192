// A node's hello as bytes: in the handshake of the rpc lane, and announced again when it changes.
// The nodeId is not in it: it is in the handshake's proof, and fixed while a link is up.
import { assert } from '#base/assert.js';
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import { utf8Length } from '#base/utf8.js';
import type { PeerHello } from './api.js';

const infoBytesMax = 64 * 1024;
const nameBytesMax = 255;
/** Longest hello that is read or sent. */
export const helloBytesMax: number = infoBytesMax + 1024;

const roles = ['core', 'replicant'] as const;

/** Asserts the bounds: our own hello is made by our own code. */
export function encodeHello(hello: PeerHello): Uint8Array {
  assert(hello.info.length <= infoBytesMax, 'info of a hello is within 64 KiB');
  for (const text of [hello.name, hello.clusterId, hello.host]) assert(utf8Length(text) <= nameBytesMax, 'names in a hello are within 255 bytes');
  const w = new ByteWriter(128 + hello.info.length);
  w.string(hello.name);
  w.u8(roles.indexOf(hello.role));
  w.string(hello.clusterId);
  w.varint(hello.incarnation);
  w.string(hello.host);
  w.u16(hello.port);
  w.blob(hello.info);
  return w.finish();
}

/** Undefined when the bytes are not a hello. */
export function decodeHello(nodeId: string, bytes: Uint8Array): PeerHello | undefined {
  try {
    const r = new ByteReader(bytes);
    const name = shortString(r);
    const role = roles[r.u8()];
    const clusterId = shortString(r);
    const incarnation = r.varint();
    const host = shortString(r);
    const port = r.u16();
    const info = r.blob();
    r.done();
    if (role === undefined || name === '' || info.length > infoBytesMax) return undefined;
    return { nodeId, name, role, clusterId, incarnation, host, port, info: copyBytes(info) };
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

function shortString(r: ByteReader): string {
  const s = r.string();
  if (utf8Length(s) > nameBytesMax) throw new MalformedError('name too long');
  return s;
}

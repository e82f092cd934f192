// A PUBLISH frame of MQTT 5.0 as one client gets it with a Topic Alias (3.3.2.3.4): everything up to its
// properties is written anew, the rest of the frame is sent as it is. So a frame that many receivers
// share stays one; `session` decides about aliases, `listener/connection` writes.
// The frames are our own or were decoded: they have no Topic Alias yet, and their layout is not checked again.
import { varintSize, writeU16, writeVarint } from './wire-writer.js';

/** Identifier and two bytes of the property. */
const aliasBytes = 3;
const aliasId = 0x23;

interface Layout {
  /** Where in the bytes the Topic Name's length is. */
  nameAt: number;
  /** Bytes of the Topic Name. */
  nameLength: number;
  /** Of the properties, without their length before them. */
  propertiesLength: number;
  propertiesAt: number;
}

// Parsing is synchronous: one does for all.
const layout: Layout = { nameAt: 0, nameLength: 0, propertiesLength: 0, propertiesAt: 0 };

function read(bytes: Uint8Array, start: number): Layout {
  let at = start + 1;
  while ((bytes[at++] as number) >= 0x80);
  layout.nameAt = at;
  layout.nameLength = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  at += 2 + layout.nameLength + (((bytes[start] as number) & 6) === 0 ? 0 : 2);
  let length = 0;
  let b = 0x80;
  for (let shift = 0; b >= 0x80; shift += 7) {
    b = bytes[at++] as number;
    length |= (b & 0x7f) << shift;
  }
  layout.propertiesLength = length;
  layout.propertiesAt = at;
  return layout;
}

function remainingLength(l: Layout, bytes: Uint8Array, start: number, end: number, named: boolean): number {
  const length = l.propertiesLength + aliasBytes;
  const name = 2 + (named ? l.nameLength : 0);
  return name + (((bytes[start] as number) & 6) === 0 ? 0 : 2) + varintSize(length) + aliasBytes + end - l.propertiesAt;
}

/** Bytes of the frame in `bytes[start, end)` with an alias; `named`: with its Topic Name too, which sets the alias. */
export function aliasedSize(bytes: Uint8Array, start: number, end: number, named: boolean): number {
  const remaining = remainingLength(read(bytes, start), bytes, start, end, named);
  return 1 + varintSize(remaining) + remaining;
}

/** Where in `bytes` the part of the frame begins that {@link writeAliasedHead} does not write. */
export function aliasedTailAt(bytes: Uint8Array, start: number): number {
  return read(bytes, start).propertiesAt;
}

/** Writes the frame up to and with its alias, and returns the position after it; there is room for {@link aliasedSize} less the tail. */
export function writeAliasedHead(
  out: Uint8Array,
  at: number,
  bytes: Uint8Array,
  start: number,
  end: number,
  packetId: number,
  alias: number,
  named: boolean,
): number {
  const l = read(bytes, start);
  const first = bytes[start] as number;
  out[at] = first;
  at = writeVarint(out, at + 1, remainingLength(l, bytes, start, end, named));
  if (named) {
    for (let from = l.nameAt, to = from + 2 + l.nameLength; from < to; from++) out[at++] = bytes[from] as number;
  } else {
    at = writeU16(out, at, 0);
  }
  if ((first & 6) !== 0) at = writeU16(out, at, packetId);
  at = writeVarint(out, at, l.propertiesLength + aliasBytes);
  out[at] = aliasId;
  return writeU16(out, at + 1, alias);
}

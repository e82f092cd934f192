// The second place of every shard's hard state, so that damage to the log cannot make a node
// vote twice: a small file `wal/0000000042.votes` beside each newest segment, synced together
// with the log whenever a hard state changes. It also holds marks: "the log was durable up to
// here", by which a log that was cut from outside is found out.
//
// Record: length u32 · payload · crc u32, each by itself.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { crc32c } from '#base/crc32c.js';
import { readHardState, writeHardState } from './format.js';
import { laterHardState } from './shard-log.js';

const kindHardState = 1;
const kindMark = 2;
export function mirrorName(segment) {
  return `${String(segment).padStart(10, '0')}.votes`;
}
export function mirrorNumber(name) {
  const match = /^(\d{10})\.votes$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}
export function mirrorHardState(w, name, state) {
  record(w, (payload) => {
    payload.u8(kindHardState);
    payload.string(name);
    writeHardState(payload, state);
  });
}
export function mirrorMark(w, mark) {
  record(w, (payload) => {
    payload.u8(kindMark);
    payload.varint(mark.segment);
    payload.varint(mark.offset);
  });
}
function record(w, fill) {
  const payload = new ByteWriter(64);
  fill(payload);
  const bytes = payload.view();
  w.u32(bytes.length);
  w.raw(bytes);
  w.u32(crc32c(bytes));
}
export function readMirror(bytes) {
  const hardStates = new Map();
  let mark;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length;
  // A file may have grown before its content was written: zeros at the end were never a record.
  while (end > 0 && bytes[end - 1] === 0) end--;
  let at = 0;
  while (at < end) {
    const length = at + 4 <= bytes.length ? view.getUint32(at, true) : bytes.length;
    const next = at + 4 + length + 4;
    if (next > bytes.length) break;
    if (crc32c(bytes, 0, at + 4, next - 4) !== view.getUint32(next - 4, true)) {
      return { hardStates, mark, damagedAt: end < next ? undefined : at };
    }
    const r = new ByteReader(bytes, at + 4, next - 4);
    if (r.u8() === kindHardState) {
      const name = r.string();
      const state = readHardState(r);
      const known = hardStates.get(name);
      hardStates.set(name, known === undefined ? state : laterHardState(known, state));
    } else {
      const segment = r.varint();
      mark = { segment, offset: r.varint() };
    }
    at = next;
  }
  return { hardStates, mark, damagedAt: undefined };
}
//# sourceMappingURL=vote-mirror.js.map

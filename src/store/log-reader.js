// Reads entries of one shard back from segment files, through its record index. What is read is
// checked again: the disk may have lost what was there at start.
import { MalformedError } from '#base/byte-reader.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import { crc32c } from '#base/crc32c.js';
import { FilesError } from '#env/files.js';
import { EntriesReader, recordHeaderBytes, recordTrailerBytes, segmentName } from './format.js';

/** Read at least so much at a time: a follower that is behind asks for the next records soon. */
const readBytes = 128 * 1024;
export class LogReader {
  #files;
  #dir;
  #segment = 0;
  #at = 0;
  #bytes = emptyBytes;
  constructor(files, dir) {
    this.#files = files;
    this.#dir = dir;
  }
  /**
   * Adds entries [from, to) to `out` until their data reaches `maxBytes` (at least one). Says
   * what is wrong when the disk does not give back what was written.
   */
  read(log, from, to, maxBytes, out) {
    let next = from;
    let left = maxBytes;
    for (let i = log.index.find(from); next < to && (left > 0 || next === from); i++) {
      const place = log.index.at(i);
      if (place === undefined) return `entry ${next} of ${log.name} has no place`;
      const until = Math.min(to, log.index.at(i + 1)?.firstIndex ?? to);
      try {
        const record = this.#record(place);
        for (let e = record?.next(); record !== undefined && next < until; e = record.next()) {
          if (e === undefined) return `entry ${next} of ${log.name} is not where it was written`;
          if (e.index < next) continue;
          if (left < e.data.length && next > from) return undefined;
          left -= e.data.length;
          out.push({ ...e, data: copyBytes(e.data) });
          next++;
        }
        if (record === undefined) return `${this.#dir}/${segmentName(place.segment)} at ${place.offset} is not what was written`;
      } catch (error) {
        if (error instanceof FilesError || error instanceof MalformedError) return `${this.#dir}/${segmentName(place.segment)}: ${error.message}`;
        throw error;
      }
    }
    return undefined;
  }
  #record(place) {
    const total = recordHeaderBytes + place.length + recordTrailerBytes;
    if (place.segment !== this.#segment || place.offset < this.#at || place.offset + total > this.#at + this.#bytes.length) {
      this.#bytes = this.#files.readAt(`${this.#dir}/${segmentName(place.segment)}`, place.offset, Math.max(total, readBytes));
      this.#segment = place.segment;
      this.#at = place.offset;
    }
    const bytes = this.#bytes;
    const start = place.offset - this.#at;
    if (start + total > bytes.length) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const payload = start + recordHeaderBytes;
    const end = payload + place.length;
    if (view.getUint32(start, true) !== place.length) return undefined;
    if (view.getUint32(end, true) !== place.crc || crc32c(bytes, view.getUint32(start + 8, true), payload, end) !== place.crc) return undefined;
    const reader = new EntriesReader(bytes, payload, end);
    return reader.firstIndex === place.firstIndex ? reader : undefined;
  }
}
//# sourceMappingURL=log-reader.js.map

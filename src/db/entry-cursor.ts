// Walks through a log entry's data without making an object of each transaction and operation:
// apply does this for every write on every node. What it reads is described in entry-codec.ts.
// It has `#varint` and `#skip` of its own, as OpsCursor has: one base class for both was measured to make
// either a third slower, because its methods then see two shapes of object.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { type EntryOp, entryVersion, opCodes, readOp, type Status } from './entry-codec.js';

export class EntryCursor {
  bytes: Uint8Array = new Uint8Array(0);
  stampMs = 0;
  /** Of the entry. */
  transactions = 0;
  // The transaction.
  incarnation = 0;
  seq = 0;
  receivedUpTo = 0;
  status: Status = 0;
  replyFrom = 0;
  replyTo = 0;
  // The operation. Keys and values as places in `bytes`.
  code = 0;
  tableId = 0;
  keyFrom = 0;
  keyTo = 0;
  owner = 0;
  previousOwner = 0;
  valueFrom = 0;
  valueTo = 0;
  #at = 0;
  #transactionsLeft = 0;
  #opsLeft = 0;

  /** All of these throw MalformedError: then the log is damaged or from a newer version. */
  begin(data: Uint8Array): void {
    this.bytes = data;
    const r = new ByteReader(data);
    const version = r.u8();
    if (version !== entryVersion) throw new MalformedError(`log entry of version ${version}; this build knows ${entryVersion}`);
    this.stampMs = r.f64();
    this.#at = r.at;
    this.transactions = this.#transactionsLeft = this.#varint();
    this.#opsLeft = 0;
  }

  /** Its operations, all of them, are read before the next one. */
  nextTransaction(): boolean {
    if (this.#transactionsLeft === 0) {
      if (this.#at !== this.bytes.length) throw new MalformedError(`${this.bytes.length - this.#at} bytes left over`);
      return false;
    }
    this.#transactionsLeft--;
    this.incarnation = this.#varint();
    this.seq = this.incarnation === 0 ? 0 : this.#varint();
    this.receivedUpTo = this.incarnation === 0 ? 0 : this.#varint();
    const status = this.#varint();
    if (status > 3) throw new MalformedError(`unknown status ${status}`);
    this.status = status as Status;
    const reply = this.#varint();
    this.replyFrom = this.#at;
    this.replyTo = this.#skip(reply);
    this.#opsLeft = this.#varint();
    return true;
  }

  /** A put or delete is in the fields then; another one must be taken with `rare` before the next. */
  nextOp(): boolean {
    if (this.#opsLeft === 0) return false;
    this.#opsLeft--;
    const start = this.#at;
    this.code = this.#varint();
    if (this.code !== opCodes.put && this.code !== opCodes.delete) {
      this.#at = start;
      return true;
    }
    this.tableId = this.#varint();
    const key = this.#varint();
    this.keyFrom = this.#at;
    this.keyTo = this.#skip(key);
    this.owner = this.code === opCodes.put ? this.#varint() : 0;
    this.previousOwner = this.#varint();
    const value = this.code === opCodes.put ? this.#varint() : 0;
    this.valueFrom = this.#at;
    this.valueTo = this.#skip(value);
    return true;
  }

  rare(): EntryOp {
    const r = new ByteReader(this.bytes, this.#at);
    const op = readOp(r);
    this.#at = r.at;
    return op;
  }

  #skip(n: number): number {
    if (n > this.bytes.length - this.#at) throw new MalformedError(`need ${n} bytes, have ${this.bytes.length - this.#at}`);
    this.#at += n;
    return this.#at;
  }

  #varint(): number {
    let v = 0;
    for (let scale = 1, i = 0; i < 8; i++, scale *= 128) {
      const b = this.bytes[this.#at++];
      if (b === undefined) throw new MalformedError('the entry is cut off');
      v += (b & 127) * scale;
      if (b < 128) return v;
    }
    throw new MalformedError('varint too long');
  }
}

/** It reads the tables: everything before it must be in them. */
export function hasSweep(cursor: EntryCursor, data: Uint8Array): boolean {
  cursor.begin(data);
  while (cursor.nextTransaction()) {
    while (cursor.nextOp()) {
      if (cursor.code === opCodes.put || cursor.code === opCodes.delete) continue;
      if (cursor.rare().kind === 'sweep') return true;
    }
  }
  return false;
}

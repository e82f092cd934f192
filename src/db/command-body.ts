// What handlers of commands share: bodies that are not what their format says are refused, and lists of keys.
// Used by the rooms that define commands.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import { type CommandHandler, CommandRefused } from './api.js';

/** Whoever sent what cannot be read is told so; the leader goes on. */
export function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof MalformedError) throw new CommandRefused(error.message);
    throw error;
  }
}

/** For a handler that reads its body as it goes: what it wrote before the fault is not kept. */
export function refusing(handler: CommandHandler): CommandHandler {
  return (context, body) => decoded(() => handler(context, body));
}

/** Keys of one table. */
export function encodeKeys(keys: readonly Uint8Array[]): Uint8Array {
  const w = new ByteWriter(40 * keys.length + 8);
  w.varint(keys.length);
  for (const key of keys) w.blob(key);
  return w.finish();
}

/** Copies. Throws MalformedError. */
export function decodeKeys(bytes: Uint8Array): Uint8Array[] {
  const r = new ByteReader(bytes);
  const keys: Uint8Array[] = [];
  for (let n = r.count(); n > 0; n--) keys.push(copyBytes(r.blob()));
  return keys;
}

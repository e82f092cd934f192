// Commands of exclusive subscriptions, evaluated once at the leader of shard `route`: a row (filter → client
// id) is written if nobody has the filter, or the same client has it elsewhere; it is taken back by the
// incarnation that wrote it. Invariant: at any position of the log a filter has at most one client id.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { CommandHandler, Table } from '#db/api.js';
import { decoded } from '#db/command-body.js';

/** Another client has it. */
const held: Uint8Array = Uint8Array.of(1);

interface Exclusive {
  readonly key: Uint8Array;
  readonly clientId: string;
}

export function encodeExclusive(key: Uint8Array, clientId: string): Uint8Array {
  const w = new ByteWriter(16 + key.length + clientId.length);
  w.blob(key);
  w.string(clientId);
  return w.finish();
}

function decodeExclusive(bytes: Uint8Array): Exclusive {
  return decoded(() => {
    const r = new ByteReader(bytes);
    const body = { key: r.blob(), clientId: r.string() };
    r.done();
    return body;
  });
}

export function exclusiveCommands(table: Table): Readonly<Record<string, CommandHandler>> {
  return {
    exclusiveTake: (context, bytes) => {
      const { key, clientId } = decodeExclusive(bytes);
      const row = context.get(table, key);
      if (row !== undefined && utf8Decode(row.value) !== clientId) return held;
      context.put(table, key, utf8Encode(clientId), context.incarnation);
      return emptyBytes;
    },
    exclusiveRelease: (context, bytes) => {
      const { key, clientId } = decodeExclusive(bytes);
      const row = context.get(table, key);
      if (row !== undefined && row.owner === context.incarnation && utf8Decode(row.value) === clientId) context.delete(table, key);
      return emptyBytes;
    },
    // An operator's word. A node that has a session with the subscription writes the row again.
    exclusiveDrop: (context, bytes) => {
      const { key, clientId } = decodeExclusive(bytes);
      const row = context.get(table, key);
      if (row !== undefined && utf8Decode(row.value) === clientId) context.delete(table, key);
      return emptyBytes;
    },
  };
}

// Commands of shard `retain`, evaluated once at its leader: last write wins in log order, and time is
// the leader's stamp. `put` stores or deletes one message; `expire` deletes those of the given keys
// whose time is up and answers with the leader's stamp, which nodes also use to know its clock.
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { type CommandHandler, CommandRefused, type Table } from '#db/api.js';
import { decodeKeys, refusing } from '#db/command-body.js';
import { decodeRetainedRow, decodeRetainPut, encodeRetainedRow } from './retained-row.js';

export function retainCommands(table: Table): Readonly<Record<string, CommandHandler>> {
  return { put: refusing(putCommand(table)), expire: refusing(expireCommand(table)) };
}

function putCommand(table: Table): CommandHandler {
  return (context, bytes) => {
    const put = decodeRetainPut(bytes);
    const exists = context.get(table, put.key) !== undefined;
    if (put.body.length === 0) {
      if (exists) context.delete(table, put.key);
      return emptyBytes;
    }
    if (put.onlyReplace && !exists) throw new CommandRefused('the limit of retained messages is reached');
    context.put(table, put.key, encodeRetainedRow(context.position, context.stampMs + put.lifetimeMs, !exists, put.body), 0);
    return emptyBytes;
  };
}

function expireCommand(table: Table): CommandHandler {
  return (context, bytes) => {
    for (const key of decodeKeys(bytes)) {
      const row = context.get(table, key);
      if (row !== undefined && decodeRetainedRow(row.value).expiresAtMs <= context.stampMs) context.delete(table, key);
    }
    const reply = new ByteWriter(8);
    reply.f64(context.stampMs);
    return reply.finish();
  };
}

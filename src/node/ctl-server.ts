// The node's control socket: `ctl.sock` in the data directory, readable by its user alone, which is
// all the authentication there is. Commands run in ctl/commands.ts; `startNode` hands in the handlers.
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { ask, NotRunning } from './ctl/client.js';
import { runCtl } from './ctl/commands.js';
import type { CtlHandlers } from './ctl/handlers.js';
import { Lines, parseRequest, requestBytesMax } from './ctl/protocol.js';
import type { CtlReply } from './ctl/replies.js';
import { announce, bindable } from './ctl/sockets.js';

export interface CtlServer {
  /** Stops accepting, drops open connections, removes the socket. */
  close(): Promise<void>;
}

const connectionsMax = 32;
const idleMsMax = 60_000;

/** Serves `socketPath` (`DATA_DIR/ctl.sock`). Rejects when another living node serves it, or it cannot be made. */
export async function startCtlServer(socketPath: string, handlers: CtlHandlers): Promise<CtlServer> {
  const path = bindable(socketPath);
  await removeStale(path, socketPath);
  const withdraw = announce(handlers.status().node, socketPath);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(socket, handlers);
  });
  server.maxConnections = connectionsMax;
  try {
    await listen(server, path);
  } catch (error) {
    withdraw();
    throw error;
  }
  return {
    close: () =>
      new Promise((done) => {
        withdraw();
        server.close(() => done());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

// A socket file outlives a killed process; only one that nobody answers is removed.
async function removeStale(path: string, shown: string): Promise<void> {
  try {
    await ask(path, ['status'], 2000);
  } catch (error) {
    if (!(error instanceof NotRunning)) throw new Error(`${shown} cannot be used: ${error instanceof Error ? error.message : String(error)}`);
    rmSync(path, { force: true });
    return;
  }
  throw new Error(`another node is running on this data directory (it answers at ${shown})`);
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The file is made during this call; no moment in which others may open it.
    const before = process.umask(0o177);
    server.listen(path, () => {
      server.off('error', reject);
      chmodSync(path, 0o600);
      resolve();
    });
    process.umask(before);
  });
}

function serve(socket: Socket, handlers: CtlHandlers): void {
  const lines = new Lines(requestBytesMax);
  let busy: Promise<void> = Promise.resolve();
  const answer = (reply: CtlReply): void => {
    if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
  };
  socket.setTimeout(idleMsMax, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    const received = lines.push(chunk);
    if (lines.tooLong) {
      answer({ ok: false, text: 'the request is too long' });
      socket.end();
      return;
    }
    if (received.length === 0) return;
    // One at a time, in order; a client that floods waits in its own socket.
    socket.pause();
    // Some answers take their time.
    socket.setTimeout(0);
    busy = busy.then(async () => {
      for (const line of received) answer(await run(line, handlers));
      socket.setTimeout(idleMsMax);
      socket.resume();
    });
  });
}

function run(line: string, handlers: CtlHandlers): Promise<CtlReply> | CtlReply {
  const request = parseRequest(line);
  return request === undefined ? { ok: false, text: 'a request is one line such as {"cmd": ["status"]}' } : runCtl(request.cmd, handlers);
}

// Makes the sockets of a server's connections as Node does, at half the price. Node copies the options of
// each socket and then adds three to the copy; V8 never shares the shape of an object that was made so, and
// looks every option up anew: a third of what an accepted connection costs before anything is read. Here
// the options are complete before they are copied.
//
// It takes the place of the function that the server's handle calls. Where that works otherwise, in a Node
// that does it in another way, the server goes on with its own.
import { type Server, Socket, type SocketConstructorOpts } from 'node:net';

interface Handle {
  onconnection?: OnConnection;
  setNoDelay?(noDelay: boolean): unknown;
}

type OnConnection = (this: Handle, status: number, client: Handle | undefined) => void;
type ServerFields = { readonly _handle?: Handle | null; _connections?: number };
type SocketFields = { readonly _handle?: unknown; server?: unknown; _server?: unknown };

export interface AcceptedOptions {
  readonly noDelay: boolean;
  readonly highWaterMark: number;
}

/** One whose peer has ended, and that has sent what it was given, is closed without a word before: that says the same. */
class AcceptedSocket extends Socket {
  override _final(callback: (error?: Error | null) => void): void {
    if (this.readableEnded) callback();
    else super._final(callback);
  }
}

/** Of a server that has just begun to listen. False: it makes its sockets itself. */
export function makeSockets(server: Server, { noDelay, highWaterMark }: AcceptedOptions): boolean {
  const fields = server as unknown as ServerFields;
  const handle = fields._handle;
  const original = handle?.onconnection;
  if (handle === undefined || handle === null || typeof original !== 'function' || typeof fields._connections !== 'number') return false;
  handle.onconnection = function (status, client) {
    // Failures, and limits of the server's, are its own.
    if (status !== 0 || client === undefined || typeof server.maxConnections === 'number') {
      original.call(this, status, client);
      return;
    }
    // Every option that is added to the copy, and those that are looked up there by every socket.
    const options = {
      handle: client,
      allowHalfOpen: false,
      emitClose: false,
      autoDestroy: true,
      decodeStrings: false,
      pauseOnCreate: false,
      readable: true,
      writable: true,
      readableHighWaterMark: highWaterMark,
      writableHighWaterMark: highWaterMark,
    };
    const socket = new AcceptedSocket(options as SocketConstructorOpts);
    const made = socket as unknown as SocketFields;
    if (made._handle !== client) {
      this.onconnection = original;
      original.call(this, status, client);
      return;
    }
    if (noDelay) client.setNoDelay?.(true);
    // Its end takes it away from there.
    fields._connections = (fields._connections ?? 0) + 1;
    made.server = server;
    made._server = server;
    server.emit('connection', socket);
  };
  return true;
}

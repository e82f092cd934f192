// env's byte streams over node:net. One `write` per call (callers gather per turn), no Nagle.
import { createServer, type Socket, connect as tcpConnect } from 'node:net';
import { type Connection, type ConnectionHandler, type ConnectOptions, type Listening, type Net, type NetAddress, NetError } from '#env/net.js';

export interface NetOptions {
  /** Bytes buffered per connection above which `write` answers false. */
  readonly highWaterMarkBytes?: number;
  /** Connections waiting to be accepted. */
  readonly backlog?: number;
}

export const netDefaults: { readonly highWaterMarkBytes: number; readonly backlog: number } = { highWaterMarkBytes: 256 * 1024, backlog: 1024 };

export class OsNet implements Net {
  readonly #highWaterMark: number;
  readonly #backlog: number;

  constructor(options: NetOptions = {}) {
    this.#highWaterMark = options.highWaterMarkBytes ?? netDefaults.highWaterMarkBytes;
    this.#backlog = options.backlog ?? netDefaults.backlog;
  }

  connect(to: NetAddress, options: ConnectOptions, connected: (c: Connection) => void, failed: (e: NetError) => void): void {
    let socket: Socket;
    try {
      const more = { writableHighWaterMark: this.#highWaterMark };
      socket = tcpConnect({ host: to.host, port: to.port, noDelay: true, ...more });
    } catch (error) {
      const e = asNetError(error);
      setImmediate(() => failed(e));
      return;
    }
    let settled = false;
    const timer = setTimeout(
      () => fail(new NetError('ETIMEDOUT', `no connection to ${to.host}:${to.port} within ${options.timeoutMs} ms`)),
      options.timeoutMs,
    );
    function fail(error: NetError): void {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      socket.destroy();
      failed(error);
    }
    socket.on('error', (error) => fail(asNetError(error)));
    socket.once('close', () => fail(new NetError('ECONNRESET', 'closed before it was connected')));
    socket.once('connect', () => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      connected(new OsConnection(socket, to));
    });
  }

  listen(at: NetAddress, onConnection: (c: Connection) => void, onListening: (l: Listening) => void, onError: (e: NetError) => void): void {
    const server = createServer({ noDelay: true, highWaterMark: this.#highWaterMark }, (socket) => {
      onConnection(new OsConnection(socket, { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 }));
    });
    let listening = false;
    server.on('error', (error) => {
      // After it listens, errors are failures to accept one connection (EMFILE): the server goes on.
      if (!listening) onError(asNetError(error));
    });
    const start = (): void => {
      server.listen({ host: at.host, port: at.port, backlog: this.#backlog }, () => {
        listening = true;
        const address = server.address();
        const port = typeof address === 'object' && address !== null ? address.port : at.port;
        const host = typeof address === 'object' && address !== null ? address.address : at.host;
        onListening({ address: { host, port }, close: (done) => void server.close(() => done()) });
      });
    };
    try {
      start();
    } catch (error) {
      const e = asNetError(error);
      setImmediate(() => onError(e));
    }
  }
}

class OsConnection implements Connection {
  readonly remote: NetAddress;
  handler: ConnectionHandler | undefined;
  readonly #socket: Socket;
  #error: NetError | undefined;
  #closed = false;

  constructor(socket: Socket, remote: NetAddress) {
    this.remote = remote;
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      if (!this.#closed) this.handler?.onData(chunk);
    });
    socket.on('drain', () => {
      if (!this.#closed) this.handler?.onDrain();
    });
    socket.on('error', (error) => {
      this.#error ??= asNetError(error);
    });
    socket.on('close', () => {
      if (this.#closed) return;
      this.#closed = true;
      this.handler?.onClose(this.#error);
    });
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): boolean {
    // A write after the end is no error of the caller: `onClose` is on its way.
    if (this.#socket.destroyed || this.#socket.writableEnded) return true;
    return this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    if (!this.#socket.destroyed) this.#socket.end();
    // A paused socket does not see the peer's end, and would stay half open.
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

function asNetError(error: unknown): NetError {
  const e = error as NodeJS.ErrnoException;
  return new NetError(e.code ?? 'EIO', e.message);
}

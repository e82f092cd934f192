// env's byte streams over node:net: dialling, and listening. What a connection needs before its first
// byte (PROXY header, TLS, WebSocket) is the acceptor's; plain TCP goes straight to its handler.
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net';
import { type SecureContext, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { type Connection, type ConnectOptions, type Listening, type ListenOptions, type Net, type NetAddress, NetError } from '#env/net.js';
import { makeSockets } from './accepted-socket.js';
import { Acceptor, isStaged } from './acceptor.js';
import { diallingContext, peerFault } from './certificates.js';
import { asNetError, OsConnection } from './connection.js';

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
    const { tls } = options;
    let socket: Socket;
    let secure: SecureContext | undefined;
    try {
      if (tls !== undefined) secure = diallingContext(tls);
      const more = { writableHighWaterMark: this.#highWaterMark };
      socket = tcpConnect({ host: to.host, port: to.port, noDelay: true, ...more });
    } catch (error) {
      const e = error instanceof NetError ? error : asNetError(error);
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
    const done = (stream: Socket): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      connected(new OsConnection(stream, to));
    };
    socket.once('connect', () => {
      if (secure === undefined || tls === undefined || settled) done(socket);
      else this.#secure(socket, secure, tls.verify === 'verify_peer', done, fail);
    });
  }

  /** TLS over a connection that we made. Names are not compared: whom the authorities of ours signed for is one of us. */
  #secure(raw: Socket, secureContext: SecureContext, verify: boolean, done: (s: Socket) => void, fail: (e: NetError) => void): void {
    const options = {
      socket: raw,
      secureContext,
      rejectUnauthorized: verify,
      checkServerIdentity: () => undefined,
      highWaterMark: this.#highWaterMark,
    };
    const socket: TLSSocket = tlsConnect(options);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const fault = peerFault(error.code);
      fail(fault === undefined ? asNetError(error) : new NetError('ETLS', fault));
    });
    socket.once('secureConnect', () => done(socket));
  }

  listen(
    at: NetAddress,
    onConnection: (c: Connection) => void,
    onListening: (l: Listening) => void,
    onError: (e: NetError) => void,
    options: ListenOptions = {},
  ): void {
    const fail = (error: unknown): void => {
      const e = error instanceof NetError ? error : asNetError(error);
      setImmediate(() => onError(e));
    };
    let acceptor: Acceptor | undefined;
    try {
      if (isStaged(options)) acceptor = new Acceptor(options, this.#highWaterMark, onConnection);
    } catch (error) {
      fail(error);
      return;
    }
    const accept = acceptor === undefined ? (socket: Socket) => onConnection(plain(socket)) : (socket: Socket) => acceptor.accept(socket);
    const sockets = { noDelay: options.noDelay ?? true, highWaterMark: this.#highWaterMark };
    const server = createServer(sockets, accept);
    let listening = false;
    server.on('error', (error) => {
      // After it listens, errors are failures to accept one connection (EMFILE): the server goes on.
      if (!listening) onError(asNetError(error));
    });
    try {
      server.listen({ host: at.host, port: at.port, backlog: options.backlog ?? this.#backlog }, () => {
        listening = true;
        makeSockets(server, sockets);
        onListening(acceptor === undefined ? listeningOf(server, at) : stagedListening(server, at, acceptor, options));
      });
    } catch (error) {
      fail(error);
    }
  }
}

function plain(socket: Socket): OsConnection {
  return new OsConnection(socket, undefined, 'shared');
}

function listeningOf(server: Server, at: NetAddress): Listening {
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : at.port;
  const host = typeof address === 'object' && address !== null ? address.address : at.host;
  return { address: { host, port }, close: (done) => void server.close(() => done()) };
}

function stagedListening(server: Server, at: NetAddress, acceptor: Acceptor, options: ListenOptions): Listening {
  const { address, close } = listeningOf(server, at);
  const staged: Listening = {
    address,
    close: (done) => {
      close(done);
      acceptor.close();
    },
  };
  return options.tls === undefined ? staged : { ...staged, reload: () => acceptor.reload(), certificateEnds: () => acceptor.certificateEnds };
}

// WebSockets on the server's side (package `ws`): the upgrade of an HTTP request, and env's Connection
// over what comes of it. A message's frames are bytes of one stream to the handler: MQTT packets need not
// be aligned with them. [MQTT-6.0.0-2]
// Invariants: only binary messages pass; text closes the connection [MQTT-6.0.0-1]; everything that a peer
// can make us hold (a message, pongs, headers) is bounded.
import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type RawData, type ServerOptions, type WebSocket, WebSocketServer } from 'ws';
import { type Connection, type ConnectionHandler, type NetAddress, NetError, type WebSocketOptions } from '#env/net.js';
import type { CertificateReader } from './connection.js';

/** Header lines of an upgrade request: browsers may send cookies along. */
const headerBytesMax = 16 * 1024;
/** How long a closed connection may take for its part of the closing handshake. */
const closeMsMax = 5_000;
/** With more than this waiting for the peer, its pings go unanswered. */
const pongBacklogBytesMax = 64 * 1024;
/** Node's longest timer. */
const timeoutMsMax = 2 ** 31 - 1;
/** Close code of RFC 6455: a kind of data that is not accepted. */
const unsupportedData = 1003;

/** Turns HTTP connections that are handed to it into WebSockets. It listens nowhere. */
export class Upgrader {
  readonly #http: Server;
  readonly #sockets: WebSocketServer;
  readonly #options: WebSocketOptions;
  readonly #upgraded: (stream: Duplex, socket: WebSocket) => void;

  constructor(options: WebSocketOptions, upgraded: (stream: Duplex, socket: WebSocket) => void) {
    this.#options = options;
    this.#upgraded = upgraded;
    // Times are the acceptor's: it knows since when the connection exists.
    this.#http = createServer({ maxHeaderSize: headerBytesMax, headersTimeout: 0, requestTimeout: 0, keepAliveTimeout: 0 });
    this.#http.on('request', (request, response) => {
      const status = pathOf(request) === options.path ? 426 : 404;
      const headers = { connection: 'close', 'content-type': 'text/plain', ...(status === 426 ? { upgrade: 'websocket' } : {}) };
      response.writeHead(status, headers).end(`${STATUS_CODES[status]}\n`);
    });
    this.#http.on('clientError', (_error, stream) => stream.destroy());
    this.#http.on('upgrade', (request, stream, head) => this.#upgrade(request, stream, head));
    // The types of the package do not know `closeTimeout` yet.
    const settings: ServerOptions & { readonly closeTimeout: number } = {
      noServer: true,
      clientTracking: false,
      autoPong: false,
      maxPayload: options.messageBytesMax,
      perMessageDeflate: options.compress ? { serverNoContextTakeover: true, clientNoContextTakeover: true } : false,
      handleProtocols: (offered) => options.subprotocols.find((p) => offered.has(p)) ?? false,
      closeTimeout: closeMsMax,
    };
    this.#sockets = new WebSocketServer(settings);
    this.#sockets.on('wsClientError', (_error, stream) => stream.destroy());
  }

  /** The connection's bytes so far are unread. */
  take(stream: Duplex): void {
    this.#http.emit('connection', stream);
  }

  #upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    const options = this.#options;
    if (pathOf(request) !== options.path) return refuse(stream, 404);
    const { origin } = request.headers;
    if (options.origins !== undefined && origin !== undefined && !options.origins.includes(origin)) return refuse(stream, 403);
    // [MQTT-6.0.0-3]
    if (options.failIfNoSubprotocol && !offers(request, options.subprotocols)) return refuse(stream, 400);
    this.#sockets.handleUpgrade(request, stream, head, (socket) => {
      if (socket.extensions !== '') stopAtError(socket);
      this.#upgraded(stream, socket);
    });
  }
}

/** The package's reader of frames, of which its types say nothing. */
interface Receiver {
  _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void;
}

/**
 * Chunks that come while a compressed message is being unpacked wait in the reader. It takes the next of them also
 * when it has refused the one before, in the middle of a frame, and version 8.23 of the package throws then where
 * nobody can catch it: a single peer could end the process. After its first error it gets nothing any more.
 */
function stopAtError(socket: WebSocket): void {
  const { _receiver: receiver } = socket as unknown as { readonly _receiver?: Receiver };
  if (receiver === undefined) return;
  const write = receiver._write;
  let failed = false;
  receiver._write = function (chunk, encoding, done): void {
    if (failed) return done();
    write.call(this, chunk, encoding, (error) => {
      failed ||= error instanceof Error;
      done(error);
    });
  };
}

function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '';
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

function offers(request: IncomingMessage, wanted: readonly string[]): boolean {
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((p) => p.trim());
  return wanted.some((p) => offered.includes(p));
}

function refuse(stream: Duplex, status: number): void {
  stream.on('error', () => {});
  stream.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => stream.destroy());
}

const plain = { binary: true, compress: false };
const compressed = { binary: true, compress: true };

export class WebSocketConnection implements Connection {
  readonly remote: NetAddress;
  handler: ConnectionHandler | undefined;
  readonly #socket: WebSocket;
  readonly #stream: Socket;
  readonly #certificate: CertificateReader | undefined;
  /** Only where messages are compressed, which takes its time: run after each. */
  readonly #onSent: (() => void) | undefined;
  #awaited = false;
  #error: NetError | undefined;
  #closed = false;

  constructor(socket: WebSocket, stream: Socket, remote: NetAddress, certificate: CertificateReader | undefined, idleTimeoutMs: number) {
    this.remote = remote;
    this.#socket = socket;
    this.#stream = stream;
    this.#certificate = certificate;
    if (socket.extensions !== '') this.#onSent = () => this.#sent();
    socket.on('message', (data, isBinary) => this.#message(data, isBinary));
    socket.on('ping', (data) => {
      if (socket.bufferedAmount < pongBacklogBytesMax && socket.readyState === socket.OPEN) socket.pong(data);
    });
    socket.on('error', (error) => {
      this.#error ??= new NetError((error as NodeJS.ErrnoException).code ?? 'EPROTO', error.message);
    });
    socket.on('close', () => {
      if (this.#closed) return;
      this.#closed = true;
      this.handler?.onClose(this.#error);
    });
    stream.on('drain', () => {
      if (!this.#closed && this.#onSent === undefined) this.handler?.onDrain();
    });
    stream.setTimeout(Math.min(idleTimeoutMs, timeoutMsMax), () => this.destroy());
  }

  certificateField(field: Parameters<CertificateReader>[0]): string | undefined {
    return this.#certificate?.(field);
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  #message(data: RawData, isBinary: boolean): void {
    if (this.#closed || this.#error !== undefined) return;
    if (isBinary) {
      // Binary messages are Buffers unless another type was asked for.
      this.handler?.onData(data as Buffer);
      return;
    }
    this.#error = new NetError('EPROTO', 'a text message'); // [MQTT-6.0.0-1]
    this.#socket.close(unsupportedData);
    if (this.#onSent === undefined) this.#stream.destroySoon();
    else this.destroy();
  }

  write(bytes: Uint8Array): boolean {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return true;
    if (this.#onSent === undefined) {
      socket.send(bytes, plain);
      return !this.#stream.writableNeedDrain;
    }
    socket.send(bytes, compressed, this.#onSent);
    if (socket.bufferedAmount < this.#stream.writableHighWaterMark) return true;
    this.#awaited = true;
    return false;
  }

  #sent(): void {
    if (!this.#awaited || this.#closed || this.#socket.bufferedAmount > 0) return;
    this.#awaited = false;
    this.handler?.onDrain();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.close();
    // A paused socket does not see the peer's end, and would stay half open.
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.terminate();
  }
}

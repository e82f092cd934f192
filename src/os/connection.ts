// env's Connection over a socket of Node's: plain TCP, and TLS, whose sockets behave alike; and over any
// stream that a program which embeds the broker has accepted itself.
// One `write` per call (callers gather per turn).
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type CertificateField, type Connection, type ConnectionHandler, type NetAddress, NetError } from '#env/net.js';

export class OsConnection implements Connection {
  readonly remote: NetAddress;
  handler: ConnectionHandler | undefined;
  readonly #socket: Duplex;
  #error: NetError | undefined;
  #closed = false;

  constructor(socket: Duplex, remote: NetAddress) {
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

/** Over a stream of somebody else's: bytes both ways. One that does not end with its peer is ended. */
export function connectionOver(stream: Duplex): OsConnection {
  const { remoteAddress, remotePort } = stream as Partial<Socket>;
  const connection = new OsConnection(stream, { host: remoteAddress ?? 'stream', port: remotePort ?? 0 });
  stream.once('end', () => stream.end());
  if ('setNoDelay' in stream) (stream as Socket).setNoDelay(true);
  return connection;
}

/** What a certificate says; undefined: there is none. */
export type CertificateReader = (field: CertificateField) => string | undefined;

/** Of a peer that may have shown a certificate. */
export class IdentifiedConnection extends OsConnection {
  readonly #certificate: CertificateReader;

  constructor(socket: Socket, remote: NetAddress, certificate: CertificateReader) {
    super(socket, remote);
    this.#certificate = certificate;
  }

  certificateField(field: CertificateField): string | undefined {
    return this.#certificate(field);
  }
}

export function asNetError(error: unknown): NetError {
  const e = error as NodeJS.ErrnoException;
  return new NetError(e.code ?? 'EIO', e.message);
}

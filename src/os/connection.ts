// env's Connection over a socket of Node's: plain TCP, and TLS, whose sockets behave alike; and over any
// stream that a program which embeds the broker has accepted itself.
// One `write` per call (callers gather per turn).
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type CertificateField, type Connection, type ConnectionHandler, type NetAddress, NetError } from '#env/net.js';
import { type LentTaker, SharedReads } from './shared-read.js';

/** The connection of a socket: one set of listeners serves all sockets, so that none has closures of its own. */
const owner: unique symbol = Symbol('connection');
/** Who takes lent bytes of the socket: one object less to look at for each read. */
const taker: unique symbol = Symbol('taker');
type Owned = Duplex & { [owner]?: OsConnection; [taker]?: ConnectionHandler | undefined };

function onData(this: Owned, chunk: Uint8Array): void {
  this[owner]?.received(chunk);
}

function onLent(this: Owned, bytes: Uint8Array, length: number): boolean {
  const handler = this[taker];
  if (handler?.onLent === undefined) return false;
  handler.onLent(bytes, 0, length);
  return true;
}

function onDrain(this: Owned): void {
  this[owner]?.drained();
}

function onError(this: Owned, error: Error): void {
  this[owner]?.failed(error);
}

function onClose(this: Owned): void {
  this[owner]?.closed();
}

function takesLent(handler: ConnectionHandler | undefined): handler is ConnectionHandler & LentTaker {
  return handler?.onLent !== undefined;
}

const sharedReads = new SharedReads<Owned & Socket>(onData, onLent);

export class OsConnection implements Connection {
  /** A plain socket tries a write at once, and keeps the rest alone, which `bufferedBytes` counts; any other stream may pass on what it is given. */
  readonly takesAtOnce: boolean;
  #handler: ConnectionHandler | undefined = undefined;
  readonly #socket: Duplex;
  /** Undefined: what the socket says. */
  readonly #remote: NetAddress | undefined;
  #error: NetError | undefined = undefined;
  #closed = false;

  /** `remote`: where the peer really is, if the socket does not know. `reads`: of a socket that was just accepted, and nobody has read. */
  constructor(socket: Duplex, remote: NetAddress | undefined, reads?: 'shared') {
    this.#remote = remote;
    this.#socket = socket;
    (socket as Owned)[taker] = undefined;
    (socket as Owned)[owner] = this;
    // Asked for now, the address is known after the end, too.
    if (remote === undefined) void (socket as Partial<Socket>).remoteAddress;
    this.takesAtOnce = reads === 'shared';
    if (reads !== 'shared' || !sharedReads.share(socket as Socket)) socket.on('data', onData);
    socket.on('drain', onDrain);
    socket.on('error', onError);
    socket.on('close', onClose);
  }

  get handler(): ConnectionHandler | undefined {
    return this.#handler;
  }

  set handler(handler: ConnectionHandler | undefined) {
    this.#handler = handler;
    (this.#socket as Owned)[taker] = handler;
    sharedReads.give(this.#socket as Owned & Socket, takesLent(handler) ? handler : undefined);
  }

  get remote(): NetAddress {
    if (this.#remote !== undefined) return this.#remote;
    const { remoteAddress, remotePort } = this.#socket as Partial<Socket>;
    return { host: remoteAddress ?? '', port: remotePort ?? 0 };
  }

  // ---- for the listeners above ----

  received(chunk: Uint8Array): void {
    if (!this.#closed) this.#handler?.onData(chunk);
  }

  drained(): void {
    if (!this.#closed) this.#handler?.onDrain();
  }

  failed(error: Error): void {
    this.#error ??= asNetError(error);
  }

  closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    (this.#socket as Owned)[taker] = undefined;
    this.#handler?.onClose(this.#error);
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

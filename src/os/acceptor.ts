// What comes before a client's first MQTT byte where a listener asks for it, in this order: PROXY header,
// TLS handshake, upgrade to WebSocket. `OsNet.listen` hands accepted sockets in; finished connections go
// to the listener like those of plain TCP.
// Invariants: each stage has a deadline that bytes do not extend; what a peer sends in a stage is bounded;
// nothing that a peer does in here throws or reaches anybody else.
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Connection, HandshakeFailure, ListenOptions, NetAddress, NetError, TlsOptions } from '#env/net.js';
import { certificateReader, peerFault, readTlsMaterial } from './certificates.js';
import { asNetError, type CertificateReader, IdentifiedConnection, OsConnection } from './connection.js';
import { ProxyParser } from './proxy-protocol.js';
import { Upgrader, WebSocketConnection } from './web-socket.js';

const handshakeMsDefault = 15_000;

/** One connection on its way through the stages. */
interface Handshake {
  readonly raw: Socket;
  stage: HandshakeFailure;
  remote: NetAddress;
  certificate: CertificateReader | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** True where a connection needs more than to be accepted. */
export function isStaged(options: ListenOptions): boolean {
  return options.tls !== undefined || options.webSocket !== undefined || options.proxyProtocol !== undefined;
}

export class Acceptor {
  readonly #options: ListenOptions;
  readonly #onConnection: (c: Connection) => void;
  readonly #pending = new Set<Handshake>();
  readonly #tls: Server | undefined;
  readonly #upgrader: Upgrader | undefined;
  /** A handshake by what its TLS socket knows of it. */
  readonly #secured = new Map<string, Handshake>();
  readonly #upgrading = new Map<object, Handshake>();
  #certificateEnds = 0;

  /** Throws `NetError` (code 'ETLS') when the certificates cannot be used. */
  constructor(options: ListenOptions, highWaterMark: number, onConnection: (c: Connection) => void) {
    this.#options = options;
    this.#onConnection = onConnection;
    if (options.tls !== undefined) this.#tls = this.#tlsServer(options.tls, highWaterMark);
    const { webSocket } = options;
    if (webSocket === undefined) return;
    this.#upgrader = new Upgrader(webSocket, (stream, socket) => {
      const handshake = this.#upgrading.get(stream);
      if (handshake === undefined) return socket.terminate();
      this.#upgrading.delete(stream);
      this.#finish(handshake);
      const { remote, certificate } = handshake;
      this.#onConnection(new WebSocketConnection(socket, stream as Socket, remote, certificate, webSocket.idleTimeoutMs));
    });
  }

  #tlsServer(tls: NonNullable<ListenOptions['tls']>, highWaterMark: number): Server {
    const { context, ends } = readTlsMaterial(tls);
    this.#certificateEnds = ends;
    const requestCert = tls.verify === 'verify_peer';
    // Node closes a socket that it rejects itself without saying which it was: where that is asked for, `#secure` does it.
    const rejectUnauthorized = requestCert && tls.failIfNoPeerCert && this.#options.onTlsRefused === undefined;
    const settings = { requestCert, rejectUnauthorized, highWaterMark };
    const server = createServer({ ...context, ...settings, handshakeTimeout: 0 }, (socket) => this.#secure(socket, tls));
    // The raw socket's end tells what is to be told.
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      this.#tellTlsRefused(this.#secured.get(keyOf(socket) ?? ''), peerFault(error.code));
      socket.destroy();
    });
    return server;
  }

  #tellTlsRefused(handshake: Handshake | undefined, reason: string | undefined): void {
    if (handshake !== undefined && reason !== undefined && this.#pending.has(handshake)) this.#options.onTlsRefused?.(handshake.remote, reason);
  }

  get certificateEnds(): number {
    return this.#certificateEnds;
  }

  /** Connections from now on get the certificates that the files hold now. */
  reload(): NetError | undefined {
    if (this.#tls === undefined || this.#options.tls === undefined) return undefined;
    try {
      const { context, ends } = readTlsMaterial(this.#options.tls);
      this.#tls.setSecureContext(context);
      this.#certificateEnds = ends;
      return undefined;
    } catch (error) {
      return asNetError(error);
    }
  }

  /** Drops what has not got through. */
  close(): void {
    for (const handshake of this.#pending) handshake.raw.destroy();
  }

  accept(raw: Socket): void {
    const { admit, proxyProtocol, handshakesMax } = this.#options;
    if (handshakesMax !== undefined && this.#pending.size >= handshakesMax) {
      const oldest = this.#pending.values().next().value;
      if (oldest !== undefined) this.#giveUp(oldest);
    }
    if (admit !== undefined && !admit(this.#pending.size)) {
      raw.destroy();
      return;
    }
    const remote = { host: raw.remoteAddress ?? '', port: raw.remotePort ?? 0 };
    const handshake: Handshake = { raw, stage: 'proxy_protocol', remote, certificate: undefined, timer: undefined };
    this.#pending.add(handshake);
    raw.on('error', ignore);
    raw.once('close', () => this.#lost(handshake));
    if (proxyProtocol === undefined) this.#startTls(handshake);
    else this.#readHeader(handshake, proxyProtocol.timeoutMs);
  }

  // ---- the stages ----

  #readHeader(handshake: Handshake, timeoutMs: number): void {
    const { raw } = handshake;
    const parser = new ProxyParser();
    this.#deadline(handshake, timeoutMs);
    const onData = (chunk: Buffer): void => {
      const result = parser.push(chunk);
      if (result.kind === 'more') return;
      raw.off('data', onData);
      if (result.kind === 'invalid') {
        this.#giveUp(handshake);
        return;
      }
      raw.pause();
      if (result.rest.length > 0) raw.unshift(result.rest);
      const { source, commonName } = result.header;
      if (source !== undefined) handshake.remote = source;
      if (commonName !== undefined) handshake.certificate = (field) => (field === 'cn' || field === 'dn' ? commonName : '');
      this.#startTls(handshake);
    };
    raw.on('data', onData);
  }

  #startTls(handshake: Handshake): void {
    if (this.#tls === undefined) {
      this.#startUpgrade(handshake, handshake.raw);
      return;
    }
    const key = keyOf(handshake.raw);
    if (key === undefined) {
      handshake.raw.destroy();
      return;
    }
    handshake.stage = 'tls';
    this.#deadline(handshake, this.#options.handshakeTimeoutMs ?? handshakeMsDefault);
    this.#secured.set(key, handshake);
    handshake.raw.once('close', () => this.#secured.delete(key));
    this.#tls.emit('connection', handshake.raw);
  }

  #secure(socket: TLSSocket, tls: TlsOptions): void {
    const handshake = this.#secured.get(keyOf(socket) ?? '');
    // A certificate that need not be there must hold all the same.
    const shown = socket.getPeerX509Certificate() !== undefined;
    const missing = !shown && tls.verify === 'verify_peer' && tls.failIfNoPeerCert;
    if (handshake === undefined || !this.#pending.has(handshake) || missing || (shown && !socket.authorized)) {
      const code: unknown = socket.authorizationError;
      this.#tellTlsRefused(handshake, missing ? 'it showed no certificate' : (peerFault(String(code)) ?? String(code)));
      socket.destroy();
      return;
    }
    if (shown) handshake.certificate = certificateReader(socket);
    this.#startUpgrade(handshake, socket);
  }

  #startUpgrade(handshake: Handshake, stream: Socket): void {
    if (this.#upgrader === undefined) {
      this.#deliver(handshake, stream);
      return;
    }
    handshake.stage = 'websocket';
    this.#deadline(handshake, this.#options.handshakeTimeoutMs ?? handshakeMsDefault);
    this.#upgrading.set(stream, handshake);
    stream.on('error', ignore);
    handshake.raw.once('close', () => this.#upgrading.delete(stream));
    this.#upgrader.take(stream);
    stream.resume();
  }

  #deliver(handshake: Handshake, stream: Socket): void {
    this.#finish(handshake);
    const { remote, certificate } = handshake;
    this.#onConnection(certificate === undefined ? new OsConnection(stream, remote) : new IdentifiedConnection(stream, remote, certificate));
    // It stands still behind a PROXY header.
    stream.resume();
  }

  // ---- ends ----

  #deadline(handshake: Handshake, ms: number): void {
    clearTimeout(handshake.timer);
    handshake.timer = setTimeout(() => {
      handshake.stage = 'timeout';
      this.#giveUp(handshake);
    }, ms);
    handshake.timer.unref();
  }

  #finish(handshake: Handshake): void {
    clearTimeout(handshake.timer);
    this.#pending.delete(handshake);
  }

  #giveUp(handshake: Handshake): void {
    this.#lost(handshake);
    handshake.raw.destroy();
  }

  #lost(handshake: Handshake): void {
    if (!this.#pending.has(handshake)) return;
    this.#finish(handshake);
    // A check by a load balancer connects and leaves.
    if (handshake.raw.bytesRead > 0 || handshake.stage === 'timeout') this.#options.onRefused?.(handshake.stage);
  }
}

function ignore(): void {}

/** Both ends of a connection, the same for the raw socket and the TLS socket over it; undefined when it is gone. */
function keyOf(socket: Socket): string | undefined {
  const { remoteAddress, remotePort, localAddress } = socket;
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort} ${localAddress}`;
}

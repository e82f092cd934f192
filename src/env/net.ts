// Byte streams between processes: TCP in the real world, under TLS or WebSocket where a listener says so.

export interface NetAddress {
  readonly host: string;
  readonly port: number;
}

export interface ConnectionHandler {
  /** Bytes arrived. The chunk belongs to the receiver, but its memory may be large: copy what is kept for long. */
  onData(chunk: Uint8Array): void;
  /**
   * Bytes arrived, in `bytes[start, end)`, that are lent: good until this returns, and then written over. Who has it is
   * called instead of `onData` by transports that read into memory of their own.
   */
  onLent?(bytes: Uint8Array, start: number, end: number): void;
  /** Everything written so far has left our buffer; only after a `write` that returned false. */
  onDrain(): void;
  /** The connection is gone; nothing follows. `error` is undefined after an orderly end. */
  onClose(error: NetError | undefined): void;
}

/** code: 'ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EADDRINUSE', …; 'ETLS': certificates that cannot be used, the message says which and why. */
export class NetError extends Error {
  override readonly name = 'NetError';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Fields of a client's certificate, by EMQX's names: common name, subject (RFC 4514), DER in base64, PEM, MD5 of the DER in hex. */
export type CertificateField = 'cn' | 'dn' | 'crt' | 'pem' | 'md5';

export interface Connection {
  /** As a trusted proxy says, where one is in front. */
  readonly remote: NetAddress;
  /** Set once, right after the connection was made or accepted, before any byte is delivered. */
  handler: ConnectionHandler | undefined;
  /**
   * Hands bytes to the transport, which owns them from now on (they must not be changed, but see `takesAtOnce`).
   * False when more than the high watermark is buffered: wait for `onDrain`.
   */
  write(bytes: Uint8Array): boolean;
  /** True: when `write` has returned and `bufferedBytes` is 0, nobody looks at anything that was written any more, and its memory may be used anew. */
  readonly takesAtOnce?: boolean;
  /** Bytes written and not yet taken by the operating system. */
  readonly bufferedBytes: number;
  /** Stops and resumes `onData`: backpressure towards the peer. */
  pause(): void;
  resume(): void;
  /** Sends what is buffered, then closes. `onClose` follows. */
  end(): void;
  /** Closes at once, dropping what is buffered. `onClose` follows. */
  destroy(): void;
  /**
   * From the certificate that the peer has proved to own, to us or to the proxy in front; '' where it lacks the field
   * (a proxy knows the common name alone). Undefined, or not there at all: no certificate.
   */
  certificateField?(field: CertificateField): string | undefined;
}

export interface Listening {
  readonly address: NetAddress;
  /** Stops accepting; existing connections stay, handshakes under way are dropped. */
  close(done: () => void): void;
  /** Reads the certificates again, for connections from now on. On an error (code 'ETLS') the old ones stay. Only under TLS. */
  reload?(): NetError | undefined;
  /** When the certificate ends, in wall clock milliseconds. Only under TLS. */
  certificateEnds?(): number;
}

export interface TlsOptions {
  /** PEM files; paths as the process sees them. */
  readonly certfile: string;
  readonly keyfile: string;
  /** Who may have signed the other side's certificate; needed for `verify_peer`. */
  readonly cacertfile: string | undefined;
  /** Of the key. */
  readonly password: string | undefined;
  readonly verify: 'verify_none' | 'verify_peer';
  /** Of a listener under `verify_peer`: a client without a certificate is refused. */
  readonly failIfNoPeerCert: boolean;
  readonly versions: readonly string[];
  /** OpenSSL's names between colons; '': the defaults. */
  readonly ciphers: string;
}

export interface WebSocketOptions {
  readonly path: string;
  /** Accepted sub-protocols, the preferred first. */
  readonly subprotocols: readonly string[];
  /** A client that offers none of them is refused. */
  readonly failIfNoSubprotocol: boolean;
  /** Largest message in bytes, all its frames together and after decompression. */
  readonly messageBytesMax: number;
  /** permessage-deflate. */
  readonly compress: boolean;
  /** Accepted values of Origin, where a client sends one; undefined: all. */
  readonly origins: readonly string[] | undefined;
  /** A connection on which nothing moves for this long is closed. */
  readonly idleTimeoutMs: number;
}

/** Why a connection was given up before it was handed over. */
export type HandshakeFailure = 'proxy_protocol' | 'tls' | 'websocket' | 'timeout';

export interface ListenOptions {
  /** Connections waiting to be accepted. */
  readonly backlog?: number;
  readonly noDelay?: boolean;
  /** A PROXY header, version 1 or 2, must come first, within this time. Its sender is trusted. */
  readonly proxyProtocol?: { readonly timeoutMs: number } | undefined;
  readonly tls?: TlsOptions | undefined;
  readonly webSocket?: WebSocketOptions | undefined;
  /** For TLS, and again for the upgrade to WebSocket. */
  readonly handshakeTimeoutMs?: number;
  /** Where something must come before the first byte for the handler: asked right after accept; false: closed at once. `pending`: handshakes under way. */
  readonly admit?: (pending: number) => boolean;
  /** Handshakes under way; beyond it the oldest is given up. No bound of its own by default: `admit` sees the number. */
  readonly handshakesMax?: number;
  /** An admitted connection was given up. Not called for a peer that left without a byte. */
  readonly onRefused?: (failure: HandshakeFailure) => void;
  /** Under TLS: why a peer is refused, in words for the log. Peers are closed without an alert then. */
  readonly onTlsRefused?: (remote: NetAddress, reason: string) => void;
}

export interface ConnectOptions {
  /** For the whole, TLS included. */
  readonly timeoutMs: number;
  /**
   * Our certificate, and whose we accept; whatever name the other side's certificate has. The files are read once per
   * object: another object with the same contents reads them again. What fails in TLS has the code 'ETLS' and says why.
   */
  readonly tls?: TlsOptions | undefined;
}

export interface Net {
  /** Exactly one of the two callbacks runs, later than this call. */
  connect(to: NetAddress, options: ConnectOptions, connected: (c: Connection) => void, failed: (e: NetError) => void): void;
  /** `onError` runs at most once, instead of `onListening`. Port 0 picks a free one. */
  listen(
    at: NetAddress,
    onConnection: (c: Connection) => void,
    onListening: (l: Listening) => void,
    onError: (e: NetError) => void,
    options?: ListenOptions,
  ): void;
}

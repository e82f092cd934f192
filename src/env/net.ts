// Byte streams between processes (TCP in the real world).

export interface NetAddress {
  readonly host: string;
  readonly port: number;
}

export interface ConnectionHandler {
  /** Bytes arrived. The chunk belongs to the receiver, but its memory may be large: copy what is kept for long. */
  onData(chunk: Uint8Array): void;
  /** Everything written so far has left our buffer; only after a `write` that returned false. */
  onDrain(): void;
  /** The connection is gone; nothing follows. `error` is undefined after an orderly end. */
  onClose(error: NetError | undefined): void;
}

/** code: 'ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EADDRINUSE', … */
export class NetError extends Error {
  override readonly name = 'NetError';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface Connection {
  readonly remote: NetAddress;
  /** Set once, right after the connection was made or accepted, before any byte is delivered. */
  handler: ConnectionHandler | undefined;
  /**
   * Hands bytes to the transport, which owns them from now on (they must not be changed).
   * False when more than the high watermark is buffered: wait for `onDrain`.
   */
  write(bytes: Uint8Array): boolean;
  /** Bytes written and not yet taken by the operating system. */
  readonly bufferedBytes: number;
  /** Stops and resumes `onData`: backpressure towards the peer. */
  pause(): void;
  resume(): void;
  /** Sends what is buffered, then closes. `onClose` follows. */
  end(): void;
  /** Closes at once, dropping what is buffered. `onClose` follows. */
  destroy(): void;
}

export interface Listening {
  readonly address: NetAddress;
  /** Stops accepting; existing connections stay. */
  close(done: () => void): void;
}

export interface ConnectOptions {
  readonly timeoutMs: number;
}

export interface Net {
  /** Exactly one of the two callbacks runs, later than this call. */
  connect(to: NetAddress, options: ConnectOptions, connected: (c: Connection) => void, failed: (e: NetError) => void): void;
  /** `onError` runs at most once, instead of `onListening`. Port 0 picks a free one. */
  listen(at: NetAddress, onConnection: (c: Connection) => void, onListening: (l: Listening) => void, onError: (e: NetError) => void): void;
}

// The driver of a handshake: one connection with one of the two machines of handshake.ts. It stays
// the connection's handler for good and passes everything on once the lane has taken over.
// Used by dial.ts and accept.ts.
import type { Connection, ConnectionHandler, NetError } from '#env/net.js';
import type { AcceptorHandshake, DialerHandshake, HandshakeFault, HandshakeStep, RemoteSide } from './handshake.js';

/** An authenticated connection that waits for the other lanes of its link. It does not read meanwhile. */
export interface ReadyLane {
  readonly connection: Connection;
  readonly handshaking: Handshaking;
  readonly rest: Uint8Array;
  readonly readSeed: number;
  readonly writeSeed: number;
}

export interface HandshakingOwner {
  onProved(handshaking: Handshaking, remote: RemoteSide, step: HandshakeStep & { readonly kind: 'done' }): void;
  /** 'closed': the connection ended. It is closed in any case. */
  onFailed(handshaking: Handshaking, fault: HandshakeFault | 'closed'): void;
}

export class Handshaking implements ConnectionHandler {
  readonly connection: Connection;
  readonly #machine: DialerHandshake | AcceptorHandshake;
  readonly #owner: HandshakingOwner;
  /** The lane, once it has taken over. */
  next: ConnectionHandler | undefined;
  #over = false;

  constructor(connection: Connection, machine: DialerHandshake | AcceptorHandshake, owner: HandshakingOwner) {
    this.connection = connection;
    this.#machine = machine;
    this.#owner = owner;
    connection.handler = this;
  }

  onData(chunk: Uint8Array): void {
    if (this.next !== undefined) this.next.onData(chunk);
    else if (!this.#over) this.#step(this.#machine.push(chunk));
  }

  onDrain(): void {
    this.next?.onDrain();
  }

  onClose(error: NetError | undefined): void {
    if (this.next !== undefined) this.next.onClose(error);
    else if (!this.#over) {
      this.#over = true;
      this.#owner.onFailed(this, 'closed');
    }
  }

  /** Drops the connection without a word to the owner. */
  abandon(): void {
    this.#over = true;
    this.connection.destroy();
  }

  #step(step: HandshakeStep): void {
    if (step.kind === 'done') {
      // Not a byte more until the lane has started.
      this.connection.pause();
      this.#owner.onProved(this, step.remote, step);
      return;
    }
    if (step.send.length > 0) this.connection.write(step.send);
    if (step.kind === 'more') return;
    this.#over = true;
    if (step.send.length > 0) this.connection.end();
    else this.connection.destroy();
    this.#owner.onFailed(this, step.fault);
  }
}

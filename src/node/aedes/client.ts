// A connection as programs written for Aedes know it. Made by `aedes.ts` when it is handed the connection.
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { HookClient } from '../library/hook-types.js';

/** One topic filter of a SUBSCRIBE; `qos` is the one granted, 128 for one that was refused. */
export interface AedesSubscription {
  topic: string;
  qos: number;
}

export class AedesClient extends EventEmitter {
  /** null before CONNECT. */
  id: string | null = null;
  clean = true;
  /** 3: MQTT 3.1, 4: 3.1.1, 5: 5.0; null before CONNECT. */
  version: number | null = null;
  connecting = false;
  connected = false;
  closed = false;
  readonly conn: Duplex;
  readonly req: IncomingMessage | undefined;
  /** By topic filter: granted QoS. */
  readonly subscriptions: Map<string, number> = new Map();
  /** Filters of the SUBSCRIBE that is being answered. */
  asked: AedesSubscription[] = [];
  open = 0;
  hooked: HookClient | undefined = undefined;

  constructor(conn: Duplex, req: IncomingMessage | undefined) {
    super();
    this.conn = conn;
    this.req = req;
    conn.once('close', () => {
      this.closed = true;
      this.connecting = false;
      this.connected = false;
    });
  }

  /** Closes the connection; `done` runs when it is closed. */
  close(done?: () => void): void {
    if (this.conn.closed) {
      done?.();
      return;
    }
    if (done !== undefined) this.conn.once('close', () => done());
    if (this.hooked === undefined) this.conn.destroy();
    else this.hooked.disconnect();
  }
}

// One object per connection for the hooks of an embedding program, made when a hook first needs it.
import type { Duplex } from 'node:stream';
import type { Clock } from '#env/clock.js';
import type { Connection } from '#env/net.js';
import { ClientConnection } from '#listener/connection.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from '#session/channel.js';
import type { HookClient } from './hook-types.js';

export class ClientRefs {
  readonly #clock: Clock;
  readonly #refs: WeakMap<Channel, HookClient> = new WeakMap();
  readonly #streams: WeakMap<Connection, Duplex> = new WeakMap();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  came(connection: Connection, stream: Duplex): void {
    this.#streams.set(connection, stream);
  }

  of(channel: Channel): HookClient {
    let ref = this.#refs.get(channel);
    if (ref === undefined) {
      const stream = channel.out instanceof ClientConnection ? this.#streams.get(channel.out.net) : undefined;
      ref = new Ref(channel, stream, this.#clock);
      this.#refs.set(channel, ref);
    }
    return ref;
  }
}

class Ref implements HookClient {
  readonly stream: Duplex | undefined;
  readonly #channel: Channel;
  readonly #clock: Clock;

  constructor(channel: Channel, stream: Duplex | undefined, clock: Clock) {
    this.#channel = channel;
    this.stream = stream;
    this.#clock = clock;
  }

  get clientId(): string {
    return this.#channel.clientId;
  }

  get username(): string | undefined {
    return this.#channel.username;
  }

  get peer(): string {
    return this.#channel.peer;
  }

  get protocolVersion(): 3 | 4 | 5 {
    return this.#channel.version;
  }

  get cleanStart(): boolean {
    return this.#channel.cleanStart;
  }

  get keepAlive(): number {
    return this.#channel.keepAliveS;
  }

  get connected(): boolean {
    return this.#channel.state === 'connected';
  }

  disconnect(reasonCode: number = ReasonCode.administrativeAction): void {
    // Not within the hook: the broker is in the middle of something.
    queueMicrotask(() => this.#channel.disconnect(reasonCode, this.#clock.now()));
  }
}

// What the parts of a simulated client (client-inbox.ts, client-outbox.ts, client-subscriptions.ts) see
// of it and of each other. client.ts implements it.
import type { Prng } from '#base/prng.js';
import type { Packet } from '#mqtt/packet.js';
import type { Scope } from '../world/scheduler.js';
import type { BrokerNode, BrokerWorld } from './broker-world.js';
import type { History, SimSession } from './history.js';

export interface ClientProfile {
  readonly clientId: string;
  readonly version: 4 | 5;
  /** The session outlives its connection. */
  readonly lasting: boolean;
  readonly receiveMaximum: number;
  /** Acknowledges late, by up to so much. */
  readonly ackDelayMs: number;
  /** Another client uses the same client id: nothing is promised to either. */
  readonly double: boolean;
  readonly withWill: boolean;
  readonly willQos: 1 | 2;
  readonly willDelayS: number;
  readonly pings: boolean;
}

/** Something without an answer. */
export interface Operation {
  readonly what: string;
  readonly at: number;
}

export interface ClientHost {
  readonly profile: ClientProfile;
  readonly name: string;
  readonly scope: Scope;
  readonly prng: Prng;
  readonly world: BrokerWorld;
  readonly history: History;
  readonly session: SimSession | undefined;
  /** The node of the connection, or of the attempt. */
  readonly node: BrokerNode | undefined;
  readonly state: 'away' | 'dialling' | 'connecting' | 'connected';
  /** Connections so far. */
  readonly connections: number;
  /** Acknowledges at once from now on. */
  readonly prompt: boolean;
  readonly now: number;
  /** CONNECT, SUBSCRIBE, UNSUBSCRIBE and PUBLISH without an answer. */
  readonly open: Map<number | 'connect', Operation>;
  send(packet: Packet): void;
  nextPacketId(): number;
  /** Runs `fn` if the connection of now is still there then. */
  later(ms: number, fn: () => void): void;
}

export const never: number = Number.POSITIVE_INFINITY;

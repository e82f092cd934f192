// A client that is not connected, and of whose rights those count that need no connection: whoever published a will or
// a delayed message before this node, or another one, was started again.
import { Channel, type ChannelEffects } from '#session/channel.js';
import type { SessionCounters } from '#session/counters.js';
import type { SessionLimits } from '#session/limits.js';
import type { ChannelOutput } from '#session/output.js';
import type { AccessClient } from './access.js';
import type { Adopted } from './adopted.js';

export class AbsentClient implements AccessClient {
  readonly clientId: string;
  username: string | undefined;
  readonly mountpoint: string;
  readonly peer = '';
  grant: unknown = undefined;

  constructor(clientId: string, username: string | undefined, mountpoint: string) {
    this.clientId = clientId;
    this.username = username;
    this.mountpoint = mountpoint;
  }

  disconnect(): void {}
}

const nothing = (): void => {};
const noOutput: ChannelOutput = {
  writable: false,
  send: nothing,
  frame: nothing,
  aliased: nothing,
  ack: nothing,
  pauseReading: nothing,
  resumeReading: nothing,
  close: nothing,
  setKeepAlive: nothing,
  peer: '',
};

/** The channel of a client that went before its session came: closed from the beginning. */
export function absentChannel(effects: ChannelEffects, limits: SessionLimits, counters: SessionCounters, { clientId, meta }: Adopted): Channel {
  const channel = new Channel(noOutput, effects, limits, counters);
  channel.state = 'closed';
  channel.clientId = clientId;
  channel.username = meta.username;
  channel.mountpoint = meta.mountpoint;
  return channel;
}

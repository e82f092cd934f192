// Enhanced authentication of MQTT 5.0 (4.12): conversations in AUTH packets, before CONNACK and, on a
// connection that is accepted, when the client asks for one again. `connect.ts` begins them.
// Invariant: a conversation ends in time; at its end nothing of it is kept.
import type { Timer } from '#env/clock.js';
import type { AuthPacket, ConnectPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from '#session/channel.js';
import type { AccessExchange } from './access.js';
import type { Core } from './core.js';

/** From the first message to the last. */
const conversationMs = 15_000;

interface Conversation {
  readonly exchange: AccessExchange;
  readonly timer: Timer;
  /** 0 or why not. */
  readonly done: (reasonCode: number) => void;
}

export class Enhanced {
  readonly #core: Core;
  readonly #open = new Map<Channel, Conversation>();

  constructor(core: Core) {
    this.#core = core;
  }

  /** For a CONNECT with an Authentication Method. `done` runs once, unless the connection ends first. */
  begin(channel: Channel, packet: ConnectPacket, done: (reasonCode: number) => void): void {
    this.#begin(channel, packet.properties?.authenticationData, done);
  }

  /** An AUTH of the client. */
  auth(channel: Channel, packet: AuthPacket, now: number): void {
    const { authenticationMethod, authenticationData } = packet.properties ?? {};
    const conversation = this.#open.get(channel);
    // [MQTT-4.12.0-5] [MQTT-4.12.1-1]
    if (authenticationMethod !== channel.authMethod) channel.fail(ReasonCode.protocolError, now);
    else if (packet.reasonCode === ReasonCode.continueAuthentication && conversation !== undefined) {
      if (channel.state === 'connecting') channel.holdUntilConnected();
      this.#step(channel, conversation, authenticationData); // [MQTT-4.12.0-3]
    } else if (packet.reasonCode === ReasonCode.reAuthenticate && conversation === undefined && channel.state === 'connected') {
      this.#begin(channel, authenticationData, (reasonCode) => {
        this.#core.hooks.authenticated?.(channel, reasonCode);
        if (reasonCode !== 0) channel.disconnect(ReasonCode.notAuthorized, this.#core.now()); // [MQTT-4.12.1-2]
      });
    } else channel.fail(ReasonCode.protocolError, now);
  }

  closed(channel: Channel): void {
    if (this.#open.size > 0) this.#end(channel);
  }

  #begin(channel: Channel, data: Uint8Array | undefined, done: (reasonCode: number) => void): void {
    const exchange = this.#core.access.exchange?.(channel, channel.authMethod ?? '');
    if (exchange === undefined) {
      done(ReasonCode.badAuthenticationMethod); // [MQTT-4.12.0-1]
      return;
    }
    const timer = this.#core.env.clock.setTimer(conversationMs, () => {
      this.#open.delete(channel);
      done(ReasonCode.notAuthorized);
    });
    const conversation = { exchange, timer, done };
    this.#open.set(channel, conversation);
    this.#step(channel, conversation, data);
  }

  #step(channel: Channel, conversation: Conversation, data: Uint8Array | undefined): void {
    const step = conversation.exchange.step(data);
    if (step.kind === 'failed') {
      this.#end(channel);
      conversation.done(step.reasonCode); // [MQTT-4.12.0-4]
      return;
    }
    if (step.kind === 'continue') {
      this.#send(channel, ReasonCode.continueAuthentication, step.data); // [MQTT-4.12.0-2]
      if (channel.state === 'connecting') channel.release();
      return;
    }
    this.#end(channel);
    if (channel.state === 'connected') this.#send(channel, ReasonCode.success, step.data);
    else channel.authData = step.data;
    conversation.done(0);
  }

  #send(channel: Channel, reasonCode: number, authenticationData: Uint8Array): void {
    const properties = { authenticationMethod: channel.authMethod, authenticationData };
    channel.out.send({ type: 'auth', reasonCode, properties }, 5, channel.maximumPacketSize); // [MQTT-4.12.0-5]
  }

  #end(channel: Channel): void {
    this.#open.get(channel)?.timer.cancel();
    this.#open.delete(channel);
  }
}

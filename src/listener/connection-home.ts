// What the connections of a listener share: `listener.ts` is it, `connection.ts` uses it.
import type { Broker } from '#broker/broker.js';
import type { DecoderSettings } from '#mqtt/decoder.js';
import type { SessionLimits } from '#session/limits.js';
import type { IdentityOptions } from './identity.js';
import type { WireMetrics } from './metrics.js';
import type { ConnectionOptions } from './options.js';
import type { Outbox } from './outbox.js';
import type { Rates } from './rate-limit.js';

/** `C`: the connections. */
export interface ConnectionHome<C> {
  readonly broker: Broker;
  readonly options: ConnectionOptions;
  readonly metrics: WireMetrics;
  readonly outbox: Outbox;
  readonly decoding: DecoderSettings;
  readonly limits: SessionLimits;
  /** Undefined: as much as a client likes. */
  readonly rates: Rates | undefined;
  /** Bytes that may wait for a client now: `outputBytesMax`, or less while memory is short. */
  readonly outputBytesMax: number;
  /** The least that this may be. */
  readonly outputBytesMin: number;
  /** Connections without a CONNECT so far. */
  strangers: number;
  /** When so much has been received in all, memory is looked at. */
  readonly lookAtBytes: number;
  look(): void;
  /** While memory is short: those that are in the middle of a large packet, read a chunk now and then. */
  readonly slow: Set<C> | undefined;
  /** Undefined: certificates name nobody. */
  readonly identity: IdentityOptions | undefined;
  /** The connection is gone. */
  closed(connection: C): void;
}

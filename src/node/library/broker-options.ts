// What `createBroker` takes, and what a node's listeners make of it.
import type { ListenerOptions } from '#listener/options.js';
import { webSocketSubprotocols } from '#listener/options.js';
import type { SessionLimits } from '#session/limits.js';
import { BrokerError } from './broker-error.js';
import type { DatabaseOptions } from './options.js';

/** PEM files, and what is asked of clients. */
export interface TlsSettings {
  readonly certfile: string;
  readonly keyfile: string;
  /** Who may have signed clients' certificates. Given: clients have to show one, unless `optional`. */
  readonly cacertfile?: string;
  readonly optional?: boolean;
  /** Of the key. */
  readonly password?: string;
}

interface Listen {
  /** 0 picks a free one: see `Broker.addresses`. */
  readonly port: number;
  /** Default '127.0.0.1'. '0.0.0.0' or '::' for everybody. */
  readonly host?: string;
  /** Distinguishes listeners of one type. Default 'default'. */
  readonly name?: string;
  /** Default: any number. */
  readonly maxConnections?: number;
  /** Messages and bytes per second and client; one that sends more is read more slowly. Default: any number. */
  readonly messagesRate?: number;
  readonly bytesRate?: number;
}

interface OverWebSocket {
  /** Default '/mqtt'. */
  readonly path?: string;
  /** Accepted values of Origin. Default: all. */
  readonly origins?: readonly string[];
}

export type ListenerSettings =
  | (Listen & { readonly type: 'tcp' })
  | (Listen & { readonly type: 'tls'; readonly tls: TlsSettings })
  | (Listen & OverWebSocket & { readonly type: 'ws' })
  | (Listen & OverWebSocket & { readonly type: 'wss'; readonly tls: TlsSettings });

/** `createBroker()` alone: one node, in a directory of its own that goes with it, without listeners. */
export interface BrokerOptions extends Partial<DatabaseOptions> {
  /** Default 'starmesh@127.0.0.1'. Needed as soon as `cores` or `dataDir` is given. */
  readonly name?: string;
  /** Default: a temporary directory, removed by `close`. */
  readonly dataDir?: string;
  /** Default: none; connections come by `Broker.handle`. */
  readonly listeners?: readonly ListenerSettings[];
  /** Bounds of sessions and packets; see `SessionLimits` for each one's default. */
  readonly limits?: Partial<SessionLimits>;
  /** Without a quorum of cores new clients are taken in with a session of this node alone (default), or refused. */
  readonly withoutQuorum?: 'accept' | 'refuse';
  /** How long a deciding hook may take, in ms; afterwards it counts as having refused. Default 5,000. */
  readonly hookDeadlineMs?: number;
}

export const brokerDefaults: { readonly name: string; readonly hookDeadlineMs: number } = { name: 'starmesh@127.0.0.1', hookDeadlineMs: 5_000 };

const idleWebSocketMs = 7_200_000;
const messageBytesMax = 16 * 1024 * 1024;

export function listenerOptionsOf(settings: ListenerSettings): Partial<ListenerOptions> {
  const { type, port, host, name, maxConnections, messagesRate, bytesRate } = settings;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new BrokerError('options', `listeners: the port is to be 0 to 65535, not ${port}`);
  return {
    id: `${type}:${name ?? 'default'}`,
    host: host ?? '127.0.0.1',
    port,
    ...(maxConnections === undefined ? {} : { maxConnections }),
    ...(messagesRate === undefined ? {} : { messagesRate }),
    ...(bytesRate === undefined ? {} : { bytesRate }),
    tls: 'tls' in settings ? tlsOf(settings.tls) : undefined,
    webSocket: type === 'ws' || type === 'wss' ? webSocketOf(settings) : undefined,
  };
}

function tlsOf(t: TlsSettings): ListenerOptions['tls'] {
  return {
    certfile: t.certfile,
    keyfile: t.keyfile,
    cacertfile: t.cacertfile,
    password: t.password,
    verify: t.cacertfile === undefined ? 'verify_none' : 'verify_peer',
    failIfNoPeerCert: t.cacertfile !== undefined && t.optional !== true,
    versions: ['tlsv1.3', 'tlsv1.2'],
    ciphers: '',
  };
}

function webSocketOf(w: OverWebSocket): ListenerOptions['webSocket'] {
  return {
    path: w.path ?? '/mqtt',
    subprotocols: webSocketSubprotocols,
    failIfNoSubprotocol: false,
    messageBytesMax,
    compress: false,
    origins: w.origins,
    idleTimeoutMs: idleWebSocketMs,
  };
}

// The part of the schema under `listeners`: {tcp,ssl,ws,wss}.NAME.
import { parseNetwork } from '#auth/address.js';
import type { Position } from '../hocon/errors.js';
import type { AccessRule, ListenerConfig, ListenerType, SslConfig, TcpConfig, WebSocketConfig } from './config.js';
import {
  type Field,
  type Fields,
  field,
  list,
  mapped,
  named,
  type ObjectShape,
  object,
  type Report,
  type Shape,
  scalar,
  section,
  type Where,
} from './shape.js';
import { bind, duration, flag, integer, limit, nonEmpty, rate, size, sizeOrInfinity, text } from './shapes.js';
import { ciphers, tlsVersions, verification } from './tls.js';

const ports: Readonly<Record<ListenerType, number>> = { tcp: 1883, ssl: 8883, ws: 8083, wss: 8084 };
const anyHost = '0.0.0.0';

interface RawListener extends Omit<ListenerConfig, 'type' | 'name' | 'ssl' | 'websocket'> {
  readonly enable: boolean;
  readonly authentication: undefined;
}

interface RawSsl extends Omit<SslConfig, 'certfile' | 'keyfile'> {
  readonly crlCheck: undefined;
  readonly certfile: string | undefined;
  readonly keyfile: string | undefined;
}

// What keeps clients out in EMQX is not passed over in silence.
function notHere(why: string): Shape<undefined> {
  return {
    expects: 'left out',
    read(value, _path, report): undefined {
      const empty = value.kind === 'scalar' ? value.text === 'false' : (value.kind === 'list' ? value.items.length : value.fields.size) === 0;
      return empty ? undefined : report.problem(value.at, why);
    },
  };
}

const accessRule: Shape<AccessRule> = scalar('a rule such as "allow 10.0.0.0/8" or "deny all"', (t) => {
  const [verb, who = '', ...rest] = t.trim().split(/\s+/);
  const network = who === 'all' ? undefined : parseNetwork(who);
  if ((verb !== 'allow' && verb !== 'deny') || rest.length > 0 || (network === undefined && who !== 'all')) return undefined;
  return { allow: verb === 'allow', network };
});

const tcp: ObjectShape<TcpConfig> = object<TcpConfig>({
  backlog: field('backlog', integer(1, 65_535), 1024),
  nodelay: field('nodelay', flag, true),
  highWatermark: field('high_watermark', size(1024), 1_048_576),
  sendTimeoutMs: field('send_timeout', duration(1), 15_000),
});

const ssl: ObjectShape<RawSsl> = object<RawSsl>({
  cacertfile: field<string | undefined>('cacertfile', nonEmpty, undefined),
  certfile: field<string | undefined>('certfile', nonEmpty, undefined),
  keyfile: field<string | undefined>('keyfile', nonEmpty, undefined),
  password: field<string | undefined>('password', text, undefined),
  verify: field('verify', verification, 'verify_none'),
  failIfNoPeerCert: field('fail_if_no_peer_cert', flag, false),
  versions: tlsVersions('versions'),
  ciphers: field('ciphers', ciphers, []),
  handshakeTimeoutMs: field('handshake_timeout', duration(1), 15_000),
  crlCheck: field('enable_crl_check', notHere('lists of revoked certificates are not looked at in this version'), undefined),
});

const websocket: ObjectShape<WebSocketConfig> = object<WebSocketConfig>({
  mqttPath: field('mqtt_path', nonEmpty, '/mqtt'),
  compress: field('compress', flag, false),
  idleTimeoutMs: field('idle_timeout', duration(1), 7_200_000),
  maxFrameSize: field('max_frame_size', sizeOrInfinity, Number.POSITIVE_INFINITY),
  failIfNoSubprotocol: field('fail_if_no_subprotocol', flag, true),
  checkOriginEnable: field('check_origin_enable', flag, false),
  checkOrigins: field('check_origins', list(nonEmpty), []),
});

function common(type: ListenerType): Fields<RawListener> {
  return {
    enable: field('enable', flag, true, ['enabled']),
    bind: field('bind', bind(anyHost), { host: anyHost, port: ports[type] }),
    maxConnections: field('max_connections', limit(1), Number.POSITIVE_INFINITY),
    maxConnRate: field('max_conn_rate', rate, Number.POSITIVE_INFINITY),
    maxHandshakes: field('max_handshakes', integer(1), 10_000),
    messagesRate: field('messages_rate', rate, Number.POSITIVE_INFINITY),
    bytesRate: field('bytes_rate', rate, Number.POSITIVE_INFINITY),
    maxPacketSize: field<number | undefined>('max_packet_size', size(128), undefined),
    accessRules: field('access_rules', list(accessRule), []),
    authentication: field(
      'authentication',
      notHere('authenticators of single listeners are not available; configure authentication for all'),
      undefined,
    ),
    mountpoint: field('mountpoint', text, ''),
    proxyProtocol: field('proxy_protocol', flag, false),
    proxyProtocolTimeoutMs: field('proxy_protocol_timeout', duration(1), 3000),
    enableAuthn: field('enable_authn', flag, true),
    tcp: section('tcp_options', tcp),
  };
}

const sslField: Field<RawSsl> = section('ssl_options', ssl);
const websocketField: Field<WebSocketConfig> = section('websocket', websocket);

/** One listener, or undefined when it is disabled. */
function listener(type: ListenerType, name: string): Shape<ListenerConfig | undefined> {
  const head = { type, name };
  switch (type) {
    case 'tcp':
      return mapped(object(common(type)), (raw) => finish(head, raw, undefined, undefined));
    case 'ws':
      return mapped(object({ ...common(type), websocket: websocketField }), ({ websocket, ...raw }) => finish(head, raw, undefined, websocket));
    case 'ssl':
      return mapped(object({ ...common(type), ssl: sslField }), ({ ssl, ...raw }, at) => finish(head, raw, certified(ssl, raw, at), undefined));
    case 'wss':
      return mapped(object({ ...common(type), ssl: sslField, websocket: websocketField }), ({ ssl, websocket, ...raw }, at) =>
        finish(head, raw, certified(ssl, raw, at), websocket),
      );
  }
}

function finish(
  head: { type: ListenerType; name: string },
  raw: RawListener,
  ssl: SslConfig | undefined,
  websocket: WebSocketConfig | undefined,
): ListenerConfig | undefined {
  const { enable, authentication: _, ...rest } = raw;
  return enable ? { ...head, ...rest, ssl, websocket } : undefined;
}

function certified(ssl: RawSsl, raw: RawListener, where: Where): SslConfig | undefined {
  const { certfile, keyfile, crlCheck: _, ...rest } = ssl;
  if (!raw.enable) return undefined;
  if (certfile !== undefined && keyfile !== undefined) return { ...rest, certfile, keyfile };
  return where.report.problem(where.at, `${where.path.join('.')} needs ssl_options.certfile and ssl_options.keyfile`);
}

interface RawListeners {
  readonly tcp: readonly (ListenerConfig | undefined)[];
  readonly ssl: readonly (ListenerConfig | undefined)[];
  readonly ws: readonly (ListenerConfig | undefined)[];
  readonly wss: readonly (ListenerConfig | undefined)[];
}

const plainListener: ListenerConfig = {
  type: 'tcp',
  name: 'default',
  ...omitEnable(object(common('tcp')).defaults()),
  ssl: undefined,
  websocket: undefined,
};

function omitEnable({ enable: _, ...rest }: RawListener): Omit<RawListener, 'enable'> {
  return rest;
}

const types: ObjectShape<RawListeners> = object<RawListeners>({
  tcp: field(
    'tcp',
    named((name) => listener('tcp', name)),
    [],
  ),
  ssl: field(
    'ssl',
    named((name) => listener('ssl', name)),
    [],
  ),
  ws: field(
    'ws',
    named((name) => listener('ws', name)),
    [],
  ),
  wss: field(
    'wss',
    named((name) => listener('wss', name)),
    [],
  ),
});

/** All enabled listeners; `tcp.default` on port 1883 is there unless the file disables it. */
export const listeners: Shape<readonly ListenerConfig[]> = {
  expects: types.expects,
  read(value, path, report): readonly ListenerConfig[] | undefined {
    const raw = types.read(value, path, report);
    if (raw === undefined) return undefined;
    const tcpNames = value.kind === 'object' ? value.fields.get('tcp') : undefined;
    const named = tcpNames?.kind === 'object' && tcpNames.fields.has('default');
    const all = [...(named ? [] : [plainListener]), ...raw.tcp, ...raw.ssl, ...raw.ws, ...raw.wss].filter((l) => l !== undefined);
    clashes(all, value.at, report);
    return all;
  },
};

/** What a file without the key `listeners` means. */
export const defaultListeners: () => readonly ListenerConfig[] = () => [plainListener];

function clashes(all: readonly ListenerConfig[], at: Position, report: Report): void {
  const taken = new Map<string, ListenerConfig>();
  for (const one of all) {
    const key = `${one.bind.host} ${one.bind.port}`;
    const other = taken.get(key);
    if (other !== undefined && one.bind.port !== 0) {
      report.problem(at, `listeners ${other.type}.${other.name} and ${one.type}.${one.name} are both bound to ${one.bind.host}:${one.bind.port}`);
    }
    taken.set(key, one);
  }
}

// One broker over real sockets with listeners of any kind, and clients of several kinds. Everything is
// taken down by `close`.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type Socket, connect as tcpConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import { type Broker, createBroker } from '#broker/broker.js';
import { localPorts } from '#broker/local-ports.js';
import type { TlsOptions, WebSocketOptions } from '#env/net.js';
import { type Listener, startListener } from '#listener/listener.js';
import { type ListenerOptions, webSocketSubprotocols } from '#listener/options.js';
import { encode } from '#mqtt/encoder.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import { type Certificate, makeCertificate, writeCertificate } from './certificates.js';

export type Kind = 'tcp' | 'ssl' | 'ws' | 'wss';
export const kinds: readonly Kind[] = ['tcp', 'ssl', 'ws', 'wss'];
const schemes = { tcp: 'mqtt', ssl: 'mqtts', ws: 'ws', wss: 'wss' } as const;

export const webSocketDefaults: WebSocketOptions = {
  path: '/mqtt',
  subprotocols: webSocketSubprotocols,
  failIfNoSubprotocol: true,
  messageBytesMax: 1024 * 1024 + 64 * 1024,
  compress: false,
  origins: undefined,
  idleTimeoutMs: 7_200_000,
};

export class Harness {
  readonly dir: string = mkdtempSync(join(tmpdir(), 'starmesh-listeners-'));
  readonly env: OsEnv;
  readonly broker: Broker;
  readonly authority: Certificate = makeCertificate({ name: [['CN', 'Test authority']] });
  readonly #listeners = new Set<Listener>();
  readonly #clients = new Set<MqttClient>();
  readonly #sockets = new Set<Socket>();

  constructor() {
    this.env = createOsEnv({ dataDir: join(this.dir, 'data'), logger: { targets: [{ level: 'error' }] } });
    this.broker = createBroker(this.env, {}, localPorts());
    writeFileSync(this.cacertfile, this.authority.cert);
  }

  get cacertfile(): string {
    return join(this.dir, 'ca.pem');
  }

  /** A certificate for 127.0.0.1, written anew under its stem. */
  tls(stem: string = 'server', more: Partial<TlsOptions> = {}): TlsOptions {
    const files = writeCertificate(this.dir, stem, makeCertificate({ name: [['CN', stem]], by: this.authority }));
    return {
      ...files,
      cacertfile: this.cacertfile,
      password: undefined,
      verify: 'verify_none',
      failIfNoPeerCert: false,
      versions: ['tlsv1.3', 'tlsv1.2'],
      ciphers: '',
      ...more,
    };
  }

  /** Port 0 on loopback, and what the kind needs. */
  optionsOf(kind: Kind): Partial<ListenerOptions> {
    return {
      id: `${kind}:test`,
      host: '127.0.0.1',
      port: 0,
      tls: kind === 'ssl' || kind === 'wss' ? this.tls() : undefined,
      webSocket: kind === 'ws' || kind === 'wss' ? webSocketDefaults : undefined,
    };
  }

  listen(kind: Kind, more: Partial<ListenerOptions> = {}): Promise<Listener> {
    return new Promise((resolve, reject) => {
      const listener = startListener(this.env, this.broker, { ...this.optionsOf(kind), ...more }, (error) =>
        error === undefined ? resolve(listener) : reject(error),
      );
      this.#listeners.add(listener);
    });
  }

  async connect(kind: Kind, listener: Listener, options: IClientOptions = {}): Promise<MqttClient> {
    const url = `${schemes[kind]}://127.0.0.1:${portOf(listener)}${kind === 'ws' || kind === 'wss' ? '/mqtt' : ''}`;
    const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, ca: this.authority.cert, ...options }, false);
    this.#clients.add(client);
    return client;
  }

  /** A bare TCP connection. */
  raw(listener: Listener): Socket {
    const socket = tcpConnect({ host: '127.0.0.1', port: portOf(listener) });
    socket.on('error', () => {});
    this.#sockets.add(socket);
    return socket;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.end(true);
    for (const socket of this.#sockets) socket.destroy();
    for (const listener of this.#listeners) {
      listener.closeAll();
      await new Promise<void>((resolve) => listener.stop(resolve));
    }
    await new Promise<void>((resolve) => this.env.close(resolve));
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A counter of the metrics page. */
  metric(name: string, labels: Readonly<Record<string, string>>): number {
    return this.env.metrics.counter(name, '', labels).value;
  }
}

export function portOf(listener: Listener): number {
  const port = listener.address?.port;
  if (port === undefined) throw new Error(`${listener.id} does not listen`);
  return port;
}

const messagesMs = 20_000;

/** The next `count` messages of the client. */
export function messages(client: MqttClient, count: number): Promise<IPublishPacket[]> {
  const got: IPublishPacket[] = [];
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      client.off('message', onMessage);
      reject(new Error(`${got.length} of ${count} messages came within ${messagesMs} ms`));
    }, messagesMs);
    const onMessage = (_topic: string, _payload: Buffer, packet: IPublishPacket): void => {
      got.push(packet);
      if (got.length < count) return;
      client.off('message', onMessage);
      clearTimeout(late);
      resolve(got);
    };
    client.on('message', onMessage);
  });
}

/** The socket's end, whoever ended it; what came before is returned. */
export function ended(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => void chunks.push(chunk));
  return new Promise((resolve) => void socket.once('close', () => resolve(Buffer.concat(chunks))));
}

/** The first bytes that come. */
export function firstBytes(socket: Socket, count: number): Promise<Buffer> {
  let got = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk) => {
      got = Buffer.concat([got, chunk]);
      if (got.length >= count) resolve(got);
    });
    socket.once('close', () => reject(new Error(`closed after ${got.length} bytes`)));
  });
}

export function connectBytes(clientId: string, protocolVersion: 4 | 5 = 4): Uint8Array {
  return encode({ type: 'connect', protocolVersion, clientId, cleanStart: true, keepAlive: 0 }, protocolVersion);
}

/** CONNACK of MQTT 3.1.1: accepted. */
export const connackBytes: Buffer = Buffer.from([0x20, 2, 0, 0]);

// Stand-ins on loopback for what discovery asks: a DNS server and the Kubernetes API.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface SrvRecord {
  readonly target: string;
  readonly port: number;
}

/** Answers A questions from `a` and SRV questions from `srv`, by name; every other question with NXDOMAIN. */
export class FakeDns {
  readonly a: Map<string, readonly string[]> = new Map();
  readonly srv: Map<string, readonly SrvRecord[]> = new Map();
  asked = 0;
  readonly #socket: Socket = createSocket('udp4');

  static async start(): Promise<FakeDns> {
    const dns = new FakeDns();
    dns.#socket.on('message', (message, from) => dns.#socket.send(dns.#answer(message), from.port, from.address));
    dns.#socket.bind(0, '127.0.0.1');
    await once(dns.#socket, 'listening');
    return dns;
  }

  get server(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  close(): void {
    this.#socket.close();
  }

  #answer(question: Buffer): Buffer {
    this.asked++;
    let at = 12;
    const labels: string[] = [];
    for (let size = question[at] ?? 0; size > 0; size = question[at] ?? 0) {
      labels.push(question.toString('latin1', at + 1, at + 1 + size));
      at += 1 + size;
    }
    const type = question.readUInt16BE(at + 1);
    const end = at + 5;
    const name = labels.join('.').toLowerCase();
    const known = this.a.has(name) || this.srv.has(name);
    const records = type === 1 ? (this.a.get(name) ?? []).map(addressData) : type === 33 ? (this.srv.get(name) ?? []).map(srvData) : [];
    const head = Buffer.from(question.subarray(0, 12));
    head.writeUInt16BE(known ? 0x8580 : 0x8583, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(records.length, 6);
    head.writeUInt32BE(0, 8);
    const answers = records.map((data) => {
      const fixed = Buffer.alloc(12);
      fixed.writeUInt16BE(0xc00c, 0);
      fixed.writeUInt16BE(type, 2);
      fixed.writeUInt16BE(1, 4);
      fixed.writeUInt16BE(data.length, 10);
      return Buffer.concat([fixed, data]);
    });
    return Buffer.concat([head, question.subarray(12, end), ...answers]);
  }
}

function addressData(host: string): Buffer {
  return Buffer.from(host.split('.').map(Number));
}

function srvData({ target, port }: SrvRecord): Buffer {
  const fixed = Buffer.alloc(6);
  fixed.writeUInt16BE(port, 4);
  const labels = target.split('.').map((l) => Buffer.concat([Buffer.from([l.length]), Buffer.from(l, 'latin1')]));
  return Buffer.concat([fixed, ...labels, Buffer.from([0])]);
}

/** One service's endpoints behind a token. */
export class FakeKubernetes {
  ready: readonly string[] = [];
  notReady: readonly string[] = [];
  /** Paths that were asked for with the right token, and how often the token was wrong. */
  readonly paths: Set<string> = new Set();
  refused = 0;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(tls: { readonly cert: string; readonly key: string }, token: () => string): Promise<FakeKubernetes> {
    const server = createServer({ cert: tls.cert, key: tls.key });
    const api = new FakeKubernetes(server);
    server.on('request', (request, response) => {
      if (request.headers.authorization !== `Bearer ${token()}`) {
        api.refused++;
        response.writeHead(401).end();
        return;
      }
      api.paths.add(request.url ?? '');
      const list = (ips: readonly string[]): object[] => ips.map((ip) => ({ ip, targetRef: { kind: 'Pod' } }));
      const subsets = [{ addresses: list(api.ready), notReadyAddresses: list(api.notReady), ports: [{ name: 'mqtt', port: 1883 }] }];
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ kind: 'Endpoints', apiVersion: 'v1', subsets }));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return api;
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

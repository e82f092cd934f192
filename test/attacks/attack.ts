// The player of the tables of attacks: each case over plain TCP and over WebSocket, and after each the
// criteria that all cases share (the node stands, the honest clients talk, nothing stays behind).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ConnectPacket, Packet, ProtocolVersion } from '#mqtt/packet.js';
import type { ClassId } from './classes.js';
import { type Kind, Lab, type LabOptions } from './lab.js';
import { Peer } from './peer.js';

export interface AttackCase {
  readonly of: ClassId;
  /** What is fired, unique in its class. */
  readonly name: string;
  /** What only frames can do has no half over plain TCP. */
  readonly only?: Kind;
  run(attack: Attack): Promise<void>;
}

/** One run of a case. */
export class Attack {
  readonly lab: Lab;
  readonly kind: Kind;
  readonly #peers: Peer[] = [];

  constructor(lab: Lab, kind: Kind) {
    this.lab = lab;
    this.kind = kind;
  }

  /** A connection that has said nothing yet. */
  async open(version: ProtocolVersion = 5): Promise<Peer> {
    const peer = await Peer.open(this.kind, this.lab.port(this.kind), version);
    this.#peers.push(peer);
    return peer;
  }

  /** CONNECT and its answer. */
  async login(connect: Partial<ConnectPacket> = {}): Promise<{ readonly peer: Peer; readonly code: number; readonly sessionPresent: boolean }> {
    const packet: ConnectPacket = { type: 'connect', protocolVersion: 5, clientId: 'attacker', cleanStart: true, keepAlive: 0, ...connect };
    const peer = await this.open(packet.protocolVersion);
    peer.send(packet);
    const { reasonCode, sessionPresent } = await peer.next('connack');
    return { peer, code: reasonCode, sessionPresent };
  }

  /** A client that is in. */
  async connect(connect: Partial<ConnectPacket> = {}): Promise<Peer> {
    const { peer, code } = await this.login(connect);
    assert.equal(code, 0, 'CONNACK');
    return peer;
  }

  close(): void {
    for (const peer of this.#peers) peer.destroy();
  }
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function publish(topicName: string, payload: string | Uint8Array = 'x', more: Partial<Extract<Packet, { type: 'publish' }>> = {}): Packet {
  const bytes = typeof payload === 'string' ? utf8(payload) : payload;
  return { type: 'publish', topicName, payload: bytes, qos: 0, retain: false, dup: false, packetId: more.qos ? 1 : 0, ...more };
}

export function subscribe(topicFilters: readonly string[], packetId: number = 1, qos: 0 | 1 | 2 = 0): Packet {
  const options = { qos, noLocal: false, retainAsPublished: false, retainHandling: 0 as const };
  return { type: 'subscribe', packetId, subscriptions: topicFilters.map((topicFilter) => ({ topicFilter, ...options })) };
}

/** Bytes of a table: numbers, texts, and lists of them. */
export type Bytes = number | string | Uint8Array | readonly Bytes[];

export function bytes(...parts: readonly Bytes[]): Uint8Array {
  return Uint8Array.from(
    parts.flatMap((part): number[] => {
      if (typeof part === 'number') return [part];
      if (typeof part === 'string') return [...utf8(part)];
      return part instanceof Uint8Array ? [...part] : [...bytes(...part)];
    }),
  );
}

/** A string with its length. */
export function str(content: Bytes): Uint8Array {
  const body = bytes(content);
  return bytes(body.length >> 8, body.length & 255, body);
}

/** A packet with the length of its body. */
export function packet(first: number, ...body: readonly Bytes[]): Uint8Array {
  const content = bytes(...body);
  const length: number[] = [];
  let rest = content.length;
  do {
    length.push((rest & 127) | (rest > 127 ? 128 : 0));
    rest >>= 7;
  } while (rest > 0);
  return bytes(first, length, content);
}

interface ByteCase {
  readonly version?: ProtocolVersion;
  /** False: the bytes are the first ones. Default true. */
  readonly connected?: boolean;
  readonly send: Uint8Array;
  /** What the node says, then `closed`, or `open` where it answers on. */
  readonly expect: readonly string[];
}

/** A case that sends bytes and looks what comes back. */
export function fires(of: ClassId, name: string, { version = 5, connected = true, send, expect }: ByteCase): AttackCase {
  return {
    of,
    name,
    run: async (attack) => {
      const peer = connected ? await attack.connect({ protocolVersion: version }) : await attack.open(version);
      peer.write(send);
      const said = expect.at(-1) === 'closed' ? [...(await peer.fate()), 'closed'] : [...(await peer.alive()), 'open'];
      assert.deepEqual(said, expect);
    },
  };
}

export const kinds: readonly Kind[] = ['tcp', 'ws'];

/** Registers the tests of a table. */
export function play(cases: readonly AttackCase[], options: LabOptions = {}): void {
  const { growthBytesMax = 24 * 1024 * 1024 } = options;
  const lab = new Lab(options);
  before(() => lab.start());
  after(() => lab.close());
  let used = 0;
  for (const kind of kinds) {
    for (const one of cases.filter((c) => c.only === undefined || c.only === kind)) {
      test(`${one.of} over ${kind}: ${one.name}`, async () => {
        const attack = new Attack(lab, kind);
        try {
          await one.run(attack);
        } finally {
          attack.close();
        }
        await lab.witness();
        await lab.clean();
      });
    }
    // What the first round has filled, the second one may not fill again.
    test(`memory after all of it over ${kind}`, () => {
      const now = lab.memory();
      if (used > 0) assert.ok(now - used < growthBytesMax, `${used} bytes became ${now}`);
      used = now;
    });
  }
}

// The handshake of one lane's connection, as two pure machines that are fed bytes and say what to
// send. Both sides prove that they know the cookie, the dialer first: who does not know it learns
// nothing but a random challenge.
//
//   dialer   → preamble: magic, versions it speaks (from, to), challenge           44 bytes
//   acceptor → preamble: magic, version chosen (twice), challenge                  44 bytes
//   dialer   → proof: status, lane, nodeId, linkId, size and hash of hello, MAC   104 bytes, then its hello
//   acceptor → proof: the same of its own                                         104 bytes, then its hello
//
// MAC = HMAC-SHA-256(cookie, label of the side ‖ both preambles ‖ the dialer's proof, if it was before ‖
// this proof). Fresh challenges from both sides defeat replay, the side's label reflection, the
// preambles in the MAC a forged version. Before its MAC was found right, a peer's bytes are only
// copied into a buffer of fixed size. What follows the handshake is not encrypted.
import { assert } from '#base/assert.js';
import { concatBytes, emptyBytes, equalBytes, fromHex, toHex } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import type { Hash } from '#env/hash.js';
import { getU32, putU32 } from './frame.js';
import { helloBytesMax } from './hello.js';
import { ownProtocol, type ProtocolRange } from './protocol.js';

const magic: Uint8Array = utf8Encode('STARMESH');
const challengeBytes = 32;
export const preambleBytes: number = magic.length + 4 + challengeBytes;
const nodeIdBytes = 16;
export const linkIdBytes = 16;
const macBytes = 32;
/** status u8, lane u8, reserved u16, nodeId, linkId, size of hello u32, hash of hello. */
const proofBodyBytes: number = 4 + nodeIdBytes + linkIdBytes + 4 + 32;
export const proofBytes: number = proofBodyBytes + macBytes;

/** Why an acceptor that recognised the dialer refuses it; 0 is no refusal. */
export const refusals = { none: 0, self: 1, cluster: 2, stale: 3, closing: 4, copy: 5 } as const;
export type Refusal = (typeof refusals)[keyof typeof refusals];

/** What one side brings. `hello` is empty on all lanes but rpc. */
export interface LocalSide {
  readonly hash: Hash;
  readonly cookie: Uint8Array;
  readonly nodeId: string;
  readonly hello: Uint8Array;
  readonly challenge: Uint8Array;
  /** Versions that this side speaks; undefined: those of this build. */
  readonly protocol?: ProtocolRange | undefined;
}

/** The proved statement of the other side. */
export interface RemoteSide {
  readonly nodeId: string;
  readonly lane: number;
  readonly linkId: string;
  readonly hello: Uint8Array;
  readonly refusal: number;
  /** Of the protocol, as agreed. */
  readonly version: number;
}

/** protocol: no peer of ours · version: none in common · cookie: the proof is wrong · hello: not what was proved. */
export type HandshakeFault = 'protocol' | 'version' | 'cookie' | 'hello';

export type HandshakeStep =
  | { readonly kind: 'more'; readonly send: Uint8Array }
  | { readonly kind: 'failed'; readonly fault: HandshakeFault; readonly send: Uint8Array }
  /** `rest` came after the handshake. `readSeed` and `writeSeed` begin the checksums of frames. */
  | { readonly kind: 'done'; readonly remote: RemoteSide; readonly rest: Uint8Array; readonly readSeed: number; readonly writeSeed: number };

const more: HandshakeStep = { kind: 'more', send: emptyBytes };

/** Collects bytes until a fixed number is there. */
class Collector {
  #bytes: Uint8Array = new Uint8Array(0);
  #have = 0;
  #chunk: Uint8Array = emptyBytes;

  feed(chunk: Uint8Array): void {
    assert(this.#chunk.length === 0, 'a chunk is used up before the next');
    this.#chunk = chunk;
  }

  /** The next `size` bytes, or undefined until they have come. */
  next(size: number): Uint8Array | undefined {
    if (this.#have === 0 && this.#bytes.length !== size) this.#bytes = new Uint8Array(size);
    const take = Math.min(size - this.#have, this.#chunk.length);
    this.#bytes.set(this.#chunk.subarray(0, take), this.#have);
    this.#chunk = this.#chunk.subarray(take);
    this.#have += take;
    if (this.#have < size) return undefined;
    const out = this.#bytes;
    this.#bytes = new Uint8Array(0);
    this.#have = 0;
    return out;
  }

  rest(): Uint8Array {
    const rest = this.#chunk;
    this.#chunk = emptyBytes;
    return rest;
  }
}

/** The side that opened the connection. */
export class DialerHandshake {
  readonly #local: LocalSide;
  readonly #protocol: ProtocolRange;
  #version = 0;
  readonly #lane: number;
  readonly #linkId: Uint8Array;
  readonly #in = new Collector();
  readonly #preamble: Uint8Array;
  #state: 'preamble' | 'proof' | 'hello' | 'over' = 'preamble';
  #transcript: Uint8Array = emptyBytes;
  #ownProof: Uint8Array = emptyBytes;
  #theirProof: Uint8Array = emptyBytes;

  constructor(local: LocalSide, lane: number, linkId: Uint8Array) {
    assert(linkId.length === linkIdBytes, 'a linkId has 16 bytes');
    this.#local = local;
    this.#protocol = local.protocol ?? ownProtocol;
    this.#lane = lane;
    this.#linkId = linkId;
    this.#preamble = encodePreamble(this.#protocol.min, this.#protocol.max, local.challenge);
  }

  start(): Uint8Array {
    return this.#preamble;
  }

  push(chunk: Uint8Array): HandshakeStep {
    this.#in.feed(chunk);
    if (this.#state === 'preamble') {
      const theirs = this.#in.next(preambleBytes);
      return theirs === undefined ? more : this.#onPreamble(theirs);
    }
    if (this.#state === 'proof') {
      const proof = this.#in.next(proofBytes);
      if (proof === undefined) return more;
      if (!proves(this.#local, 'acceptor', concatBytes([this.#transcript, this.#ownProof]), proof)) return this.#fail('cookie');
      this.#theirProof = proof;
      this.#state = 'hello';
    }
    if (this.#state !== 'hello') return this.#fail('protocol');
    const size = helloSize(this.#theirProof);
    if (size > helloBytesMax) return this.#fail('hello');
    const hello = this.#in.next(size);
    if (hello === undefined) return more;
    if (!helloProved(this.#local.hash, this.#theirProof, hello)) return this.#fail('hello');
    this.#state = 'over';
    return doneStep(decodeProof(this.#theirProof, hello, this.#version), this.#in.rest(), this.#theirProof, this.#ownProof);
  }

  #onPreamble(theirs: Uint8Array): HandshakeStep {
    const versions = decodePreamble(theirs);
    if (versions === undefined) return this.#fail('protocol');
    const [chosen] = versions;
    if (chosen < this.#protocol.min || chosen > this.#protocol.max) return this.#fail('version');
    this.#version = chosen;
    // An acceptor owes its preamble and then waits: whatever comes before our proof is no peer.
    if (this.#in.rest().length > 0) return this.#fail('protocol');
    this.#transcript = concatBytes([this.#preamble, theirs]);
    this.#ownProof = makeProof(this.#local, 'dialer', this.#transcript, refusals.none, this.#lane, this.#linkId, this.#local.hello);
    this.#state = 'proof';
    return { kind: 'more', send: concatBytes([this.#ownProof, this.#local.hello]) };
  }

  #fail(fault: HandshakeFault): HandshakeStep {
    this.#state = 'over';
    this.#in.rest();
    return { kind: 'failed', fault, send: emptyBytes };
  }
}

/** The side that accepted the connection. `push` ends with 'done'; then it owes the answer (`answer`). */
export class AcceptorHandshake {
  readonly #local: LocalSide;
  #version = 0;
  readonly #in = new Collector();
  #state: 'preamble' | 'proof' | 'hello' | 'over' = 'preamble';
  #transcript: Uint8Array = emptyBytes;
  #theirProof: Uint8Array = emptyBytes;

  constructor(local: LocalSide) {
    this.#local = local;
  }

  /** True once the dialer has proved that it knows the cookie. */
  get authenticated(): boolean {
    return this.#theirProof.length > 0;
  }

  push(chunk: Uint8Array): HandshakeStep {
    this.#in.feed(chunk);
    if (this.#state === 'preamble') {
      const theirs = this.#in.next(preambleBytes);
      return theirs === undefined ? more : this.#onPreamble(theirs);
    }
    if (this.#state === 'proof') {
      const proof = this.#in.next(proofBytes);
      if (proof === undefined) return more;
      if (!proves(this.#local, 'dialer', this.#transcript, proof)) return this.#fail('cookie');
      this.#theirProof = proof;
      this.#state = 'hello';
    }
    if (this.#state !== 'hello') return this.#fail('protocol');
    const size = helloSize(this.#theirProof);
    if (size > helloBytesMax) return this.#fail('hello');
    const hello = this.#in.next(size);
    if (hello === undefined) return more;
    if (!helloProved(this.#local.hash, this.#theirProof, hello)) return this.#fail('hello');
    this.#state = 'over';
    // The seed for writing is known with the answer.
    return doneStep(decodeProof(this.#theirProof, hello, this.#version), this.#in.rest(), this.#theirProof, emptyBytes);
  }

  /** Our proof and hello, or an authenticated refusal. After 'done' only. */
  answer(refusal: Refusal, hello: Uint8Array): { readonly send: Uint8Array; readonly writeSeed: number } {
    assert(this.#state === 'over' && this.authenticated, 'the dialer has proved itself');
    const said = refusal === refusals.none ? hello : emptyBytes;
    const theirs = decodeProof(this.#theirProof, emptyBytes, this.#version);
    const linkId = this.#theirProof.subarray(4 + nodeIdBytes, 4 + nodeIdBytes + linkIdBytes);
    const proof = makeProof(this.#local, 'acceptor', concatBytes([this.#transcript, this.#theirProof]), refusal, theirs.lane, linkId, said);
    return { send: concatBytes([proof, said]), writeSeed: seedOf(proof) };
  }

  #onPreamble(theirs: Uint8Array): HandshakeStep {
    const versions = decodePreamble(theirs);
    if (versions === undefined) return this.#fail('protocol');
    const [from, to] = versions;
    const { min, max } = this.#local.protocol ?? ownProtocol;
    const chosen = Math.min(to, max);
    const common = from <= to && chosen >= Math.max(from, min);
    this.#version = chosen;
    const ours = encodePreamble(common ? chosen : 0, common ? chosen : 0, this.#local.challenge);
    if (!common) return { ...this.#fail('version'), send: ours };
    // A dialer cannot have made its proof before it saw our challenge.
    if (this.#in.rest().length > 0) return this.#fail('protocol');
    this.#transcript = concatBytes([theirs, ours]);
    this.#state = 'proof';
    return { kind: 'more', send: ours };
  }

  #fail(fault: HandshakeFault): HandshakeStep & { readonly kind: 'failed' } {
    this.#state = 'over';
    this.#in.rest();
    return { kind: 'failed', fault, send: emptyBytes };
  }
}

function encodePreamble(from: number, to: number, challenge: Uint8Array): Uint8Array {
  assert(challenge.length === challengeBytes, 'a challenge has 32 bytes');
  const out = new Uint8Array(preambleBytes);
  out.set(magic);
  out[magic.length] = from & 255;
  out[magic.length + 1] = from >> 8;
  out[magic.length + 2] = to & 255;
  out[magic.length + 3] = to >> 8;
  out.set(challenge, magic.length + 4);
  return out;
}

function decodePreamble(bytes: Uint8Array): readonly [number, number] | undefined {
  if (!equalBytes(bytes.subarray(0, magic.length), magic)) return undefined;
  const versions = getU32(bytes, magic.length);
  return [versions & 0xffff, versions >>> 16];
}

function makeProof(
  local: LocalSide,
  side: 'dialer' | 'acceptor',
  transcript: Uint8Array,
  status: Refusal,
  lane: number,
  linkId: Uint8Array,
  hello: Uint8Array,
): Uint8Array {
  const nodeId = fromHex(local.nodeId);
  assert(nodeId !== undefined && nodeId.length === nodeIdBytes, 'a nodeId is 32 hexadecimal digits');
  const proof = new Uint8Array(proofBytes);
  proof[0] = status;
  proof[1] = lane;
  proof.set(nodeId, 4);
  proof.set(linkId, 4 + nodeIdBytes);
  putU32(proof, 4 + nodeIdBytes + linkIdBytes, hello.length);
  proof.set(local.hash.sha256(hello), proofBodyBytes - 32);
  proof.set(mac(local, side, transcript, proof.subarray(0, proofBodyBytes)), proofBodyBytes);
  return proof;
}

function mac(local: LocalSide, side: 'dialer' | 'acceptor', transcript: Uint8Array, body: Uint8Array): Uint8Array {
  return local.hash.hmacSha256(local.cookie, concatBytes([utf8Encode(`starmesh link ${side}`), Uint8Array.of(0), transcript, body]));
}

function proves(local: LocalSide, side: 'dialer' | 'acceptor', transcript: Uint8Array, proof: Uint8Array): boolean {
  return equalInConstantTime(mac(local, side, transcript, proof.subarray(0, proofBodyBytes)), proof.subarray(proofBodyBytes));
}

/** Takes as long for bytes that differ at the start as for bytes that differ at the end. */
function equalInConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] ?? 0);
  return difference === 0;
}

function helloSize(proof: Uint8Array): number {
  return getU32(proof, 4 + nodeIdBytes + linkIdBytes);
}

function helloProved(hash: Hash, proof: Uint8Array, hello: Uint8Array): boolean {
  return equalBytes(hash.sha256(hello), proof.subarray(proofBodyBytes - 32, proofBodyBytes));
}

function decodeProof(proof: Uint8Array, hello: Uint8Array, version: number): RemoteSide {
  return {
    version,
    refusal: proof[0] as number,
    lane: proof[1] as number,
    nodeId: toHex(proof.subarray(4, 4 + nodeIdBytes)),
    linkId: toHex(proof.subarray(4 + nodeIdBytes, 4 + nodeIdBytes + linkIdBytes)),
    hello,
  };
}

function seedOf(proof: Uint8Array): number {
  return proof.length === 0 ? 0 : getU32(proof, proofBodyBytes);
}

function doneStep(remote: RemoteSide, rest: Uint8Array, theirProof: Uint8Array, ownProof: Uint8Array): HandshakeStep {
  return { kind: 'done', remote, rest, readSeed: seedOf(theirProof), writeSeed: seedOf(ownProof) };
}

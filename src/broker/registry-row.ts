// Rows, commands and replies of the client registry as bytes. A row says who a client id belongs to:
//  - owner: the node of the latest CONNECT, absent while nobody is connected;
//  - holder: the node that has the session. Owner and holder differ while a takeover is on its way.
// The database's owner of a row is the holder's incarnation, so that the row goes when the holder is
// purged; an owner that is not live counts as absent. Epochs are positions in the shard's log.
// The row of a session that is on its holder's disk belongs to nobody: it stays while the holder is down,
// does not count meanwhile, and is the next incarnation's when the node comes back (registry-commands.ts).
//  - displaced: holders that lost the client id to a registration whose sender has not shown yet that
//    it knows of it; the next registration tells them too, so that a lost answer leaves no session behind.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes, fromHex, toHex } from '#base/bytes.js';
import { crc32c } from '#base/crc32c.js';
import { utf8Encode } from '#base/utf8.js';
import type { WillWord } from './registered-wills.js';

/** A node's claim on a client id. */
export interface Claim {
  readonly nodeId: string;
  readonly incarnation: number;
  readonly epoch: number;
  /**
   * Older epochs under which the node may still know the session: those of registrations on the same node whose
   * successor's answer may have been lost. Newest last.
   */
  readonly also: readonly number[];
}

export interface RegistryRow {
  readonly owner: Claim | undefined;
  readonly holder: Claim;
  /** Seconds; 0xFFFFFFFF never expires. */
  readonly sessionExpiryInterval: number;
  /** Leader's stamp of the disconnection; 0 while connected. */
  readonly disconnectedAtMs: number;
  readonly displaced: readonly Claim[];
  /** Unused: wills stand in a row of their own (registered-wills.ts). */
  readonly will: Uint8Array;
  /** The session is on its holder's disk. Not in the row's bytes: such a row has no owner in the database. */
  readonly durable: boolean;
}

/** Of claims, or of epochs. */
const none: readonly never[] = [];

const rowVersion = 1;
/** Displaced holders that a row remembers; the oldest goes first. */
export const displacedMax = 4;
/** Older epochs that a claim remembers. */
export const alsoMax = 4;

/** For encodings that are copied out at once; none of them calls another. */
const scratch = new ByteWriter(256);

export function encodeRow(row: RegistryRow): Uint8Array {
  scratch.reset();
  writeRow(scratch, row);
  return scratch.finish();
}

export function writeRow(w: ByteWriter, row: RegistryRow): void {
  w.u8(rowVersion);
  writeClaim(w, row.holder);
  writeOptionalClaim(w, row.owner);
  w.u32(row.sessionExpiryInterval);
  w.varint(row.disconnectedAtMs);
  writeClaims(w, row.displaced);
  w.blob(row.will);
}

/** Throws MalformedError. */
export function decodeRow(bytes: Uint8Array, durable: boolean = false): RegistryRow {
  const r = new ByteReader(bytes);
  if (r.u8() !== rowVersion) throw new MalformedError('registry row of another version');
  const holder = readClaim(r);
  const owner = readOptionalClaim(r);
  return {
    holder,
    owner,
    sessionExpiryInterval: r.u32(),
    disconnectedAtMs: r.varint(),
    displaced: readClaims(r),
    will: readWill(r),
    durable,
  };
}

function readWill(r: ByteReader): Uint8Array {
  const will = r.blob();
  return will.length === 0 ? emptyBytes : copyBytes(will);
}

function writeClaim(w: ByteWriter, claim: Claim): void {
  writeNodeId(w, claim.nodeId);
  w.varint(claim.incarnation);
  w.varint(claim.epoch);
  w.u8(claim.also.length);
  for (const epoch of claim.also) w.varint(epoch);
}

function readClaim(r: ByteReader): Claim {
  const nodeId = readNodeId(r);
  const incarnation = r.varint();
  const epoch = r.varint();
  const count = r.u8();
  if (count === 0) return { nodeId, incarnation, epoch, also: none };
  const also: number[] = [];
  for (let n = count; n > 0; n--) also.push(r.varint());
  return { nodeId, incarnation, epoch, also };
}

function writeOptionalClaim(w: ByteWriter, claim: Claim | undefined): void {
  w.u8(claim === undefined ? 0 : 1);
  if (claim !== undefined) writeClaim(w, claim);
}

function readOptionalClaim(r: ByteReader): Claim | undefined {
  return r.u8() === 0 ? undefined : readClaim(r);
}

function writeClaims(w: ByteWriter, claims: readonly Claim[]): void {
  w.u8(claims.length);
  for (const claim of claims) writeClaim(w, claim);
}

function readClaims(r: ByteReader): readonly Claim[] {
  const count = r.u8();
  if (count === 0) return none;
  const claims: Claim[] = [];
  for (let n = count; n > 0; n--) claims.push(readClaim(r));
  return claims;
}

/** Node ids met last, as they are written and read all the time: a few, the same again and again. */
const known: { readonly nodeId: string; readonly bytes: Uint8Array }[] = [];
const knownMax = 16;
let nextKnown = 0;

function learn(nodeId: string, bytes: Uint8Array): void {
  known[nextKnown] = { nodeId, bytes };
  nextKnown = (nextKnown + 1) % knownMax;
}

function writeNodeId(w: ByteWriter, nodeId: string): void {
  for (const k of known) {
    if (k.nodeId === nodeId) {
      w.raw(k.bytes);
      return;
    }
  }
  const bytes = fromHex(nodeId);
  if (bytes?.length !== 16) throw new MalformedError('a node id has 32 hexadecimal digits');
  learn(nodeId, bytes);
  w.raw(bytes);
}

function readNodeId(r: ByteReader): string {
  if (r.remaining >= 16) {
    for (const k of known) {
      if (startsAt(r.bytes, r.at, k.bytes)) {
        r.at += 16;
        return k.nodeId;
      }
    }
  }
  const bytes = copyBytes(r.raw(16));
  const nodeId = toHex(bytes);
  learn(nodeId, bytes);
  return nodeId;
}

function startsAt(bytes: Uint8Array, at: number, part: Uint8Array): boolean {
  for (let i = 0; i < part.length; i++) if (bytes[at + i] !== part[i]) return false;
  return true;
}

/** Key of a client id in its registry table. */
export function registryKey(clientId: string): Uint8Array {
  return utf8Encode(clientId);
}

/** Which of `shards` registry shards a client id belongs to. */
export function registryShardIndex(key: Uint8Array, shards: number): number {
  return crc32c(key) % shards;
}

// ---- commands ----

/**
 * continue: takes the session along · clean: it is over · offer: nobody asks, a session that was begun without a quorum
 * shall be known; it stands back behind any other node · adopt: nobody asks, a session on a node that goes is to move to the
 * sender; it stands back behind every client.
 */
export type RegisterMode = 'continue' | 'clean' | 'offer' | 'adopt';

const modes: readonly RegisterMode[] = ['continue', 'clean', 'offer', 'adopt'];

export interface RegisterBody {
  readonly key: Uint8Array;
  readonly nodeId: string;
  readonly mode: RegisterMode;
  readonly sessionExpiryInterval: number;
  /** `encodeStanding` in registered-wills.ts; empty: none. */
  readonly will: Uint8Array;
  /** The session is on the sender's disk. */
  readonly durable: boolean;
  /** adopt: the epoch of the session on the node that goes. 0: an older node does not say. */
  readonly adopts: number;
}

export function encodeRegister(body: RegisterBody): Uint8Array {
  scratch.reset();
  writeRegister(scratch, body);
  return scratch.finish();
}

export function writeRegister(w: ByteWriter, body: RegisterBody): void {
  w.blob(body.key);
  writeNodeId(w, body.nodeId);
  w.u8(modes.indexOf(body.mode));
  w.u32(body.sessionExpiryInterval);
  w.blob(body.will);
  w.u8(body.durable ? 1 : 0);
  if (body.adopts > 0) w.varint(body.adopts);
}

export function decodeRegister(bytes: Uint8Array): RegisterBody {
  const r = new ByteReader(bytes);
  const key = r.blob();
  const nodeId = readNodeId(r);
  const mode = oneOf(modes, r);
  const sessionExpiryInterval = r.u32();
  const will = readWill(r);
  // An older node does not say, and has none.
  const durable = r.remaining > 0 && r.u8() === 1;
  return { key, nodeId, mode, sessionExpiryInterval, will, durable, adopts: r.remaining > 0 ? r.varint() : 0 };
}

function oneOf<T>(all: readonly T[], r: ByteReader): T {
  const found = all[r.u8()];
  if (found === undefined) throw new MalformedError('unknown kind');
  return found;
}

/** Who had the client id before. `epoch` 0: one that stood back. */
export interface RegisterReply {
  readonly epoch: number;
  readonly holder: Claim | undefined;
  readonly owner: Claim | undefined;
  readonly displaced: readonly Claim[];
}

export function writeRegisterReply(w: ByteWriter, reply: RegisterReply): void {
  w.varint(reply.epoch);
  writeOptionalClaim(w, reply.holder);
  writeOptionalClaim(w, reply.owner);
  writeClaims(w, reply.displaced);
}

export function decodeRegisterReply(bytes: Uint8Array): RegisterReply {
  const r = new ByteReader(bytes);
  return { epoch: r.varint(), holder: readOptionalClaim(r), owner: readOptionalClaim(r), displaced: readClaims(r) };
}

/** Body of every command about one epoch: takeoverDone, settle, disconnected, ended, reassert. */
export interface EpochBody {
  readonly key: Uint8Array;
  readonly nodeId: string;
  readonly epoch: number;
  readonly sessionExpiryInterval: number;
  /** disconnected: every session that this one displaced has ended or been told. */
  readonly settled: boolean;
  /** reassert: its client is connected. */
  readonly connected: boolean;
  /** takeoverDone, settle, reassert: the session is on the sender's disk. */
  readonly durable: boolean;
  /** takeoverDone: the session begins anew. */
  readonly fresh: boolean;
  /** disconnected, ended: what has become of the connection's will. */
  readonly will: WillWord;
  /** disconnected: `sessionExpiryInterval` is the session's from now on. An older version takes no notice. */
  readonly newExpiry?: boolean;
}

export function encodeEpoch(body: EpochBody): Uint8Array {
  scratch.reset();
  writeEpoch(scratch, body);
  return scratch.finish();
}

export function writeEpoch(w: ByteWriter, body: EpochBody): void {
  w.blob(body.key);
  writeNodeId(w, body.nodeId);
  w.varint(body.epoch);
  w.u32(body.sessionExpiryInterval);
  const { will } = body;
  const word = will === undefined ? 0 : will === 'over' ? 16 : 32;
  w.u8((body.settled ? 1 : 0) | (body.connected ? 2 : 0) | (body.durable ? 4 : 0) | (body.fresh ? 8 : 0) | word | (body.newExpiry === true ? 64 : 0));
  if (typeof will === 'number') w.varint(will);
}

export function decodeEpoch(bytes: Uint8Array): EpochBody {
  const r = new ByteReader(bytes);
  const key = r.blob();
  const nodeId = readNodeId(r);
  const epoch = r.varint();
  const sessionExpiryInterval = r.u32();
  const flags = r.u8();
  return {
    key,
    nodeId,
    epoch,
    sessionExpiryInterval,
    settled: (flags & 1) !== 0,
    connected: (flags & 2) !== 0,
    durable: (flags & 4) !== 0,
    fresh: (flags & 8) !== 0,
    will: (flags & 32) !== 0 ? r.varint() : (flags & 16) !== 0 ? 'over' : undefined,
    newExpiry: (flags & 64) !== 0,
  };
}

/** current: done, the epoch is the current one · stale: a newer one holds the client id · absent: there is no row. */
export type EpochVerdict = 'current' | 'stale' | 'absent';

const verdicts: readonly EpochVerdict[] = ['current', 'stale', 'absent'];

/** Answer to a command about an epoch. `displaced`: holders that lost the client id by it and must be told. */
export interface EpochReply {
  readonly verdict: EpochVerdict;
  readonly displaced: readonly Claim[];
}

export function writeEpochReply(w: ByteWriter, reply: EpochReply): void {
  w.u8(verdicts.indexOf(reply.verdict));
  writeClaims(w, reply.displaced);
}

export function decodeEpochReply(bytes: Uint8Array): EpochReply {
  const r = new ByteReader(bytes);
  return { verdict: oneOf(verdicts, r), displaced: readClaims(r) };
}

/** Body of `verify`: sessions that the sender has, of client ids of one shard. The reply has a verdict for each. */
export function encodeVerify(sessions: readonly { readonly key: Uint8Array; readonly epoch: number }[]): Uint8Array {
  const w = new ByteWriter(40 * sessions.length + 8);
  w.varint(sessions.length);
  for (const { key, epoch } of sessions) {
    w.blob(key);
    w.varint(epoch);
  }
  return w.finish();
}

export function decodeVerify(bytes: Uint8Array): { readonly key: Uint8Array; readonly epoch: number }[] {
  const r = new ByteReader(bytes);
  const out: { key: Uint8Array; epoch: number }[] = [];
  for (let n = r.varint(); n > 0; n--) out.push({ key: r.blob(), epoch: r.varint() });
  return out;
}

export function encodeVerdicts(list: readonly EpochVerdict[]): Uint8Array {
  return Uint8Array.from(list, (verdict) => verdicts.indexOf(verdict));
}

export function decodeVerdicts(bytes: Uint8Array): EpochVerdict[] {
  const r = new ByteReader(bytes);
  return Array.from(bytes, () => oneOf(verdicts, r));
}

/** Reply of `lookup`: the row, or nothing. */
export function encodeLookup(row: RegistryRow | undefined): Uint8Array {
  return row === undefined ? emptyBytes : encodeRow(row);
}

export function decodeLookup(bytes: Uint8Array): RegistryRow | undefined {
  return bytes.length === 0 ? undefined : decodeRow(bytes);
}

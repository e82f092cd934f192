// What stands with the registry of a client's will (registered-wills.ts): enough to publish it without its node.
// Also the numbers by which copies of one will are told: it is published by its client's node or by the leader of a registry
// shard, and a second time only if whoever published it died before it could say so.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Will } from '#mqtt/packet.js';
import { readMeta, writeMeta } from '#session/session-meta.js';
import { encodeStanding } from './registered-wills.js';
import { registryKey, registryShardIndex } from './registry-row.js';
import { registryShards } from './schema.js';

/** A longer one stays with the node of its client. */
export const willBytesMax: number = 64 * 1024;

/** Origins of wills: above all incarnations, one for each registry shard; the number is the connection's epoch there. */
const originsFrom: number = 2 ** 45;

export interface WillClient {
  readonly username: string | undefined;
  readonly mountpoint: string;
}

/** `underRules`: they are asked when it is published; else what was said at CONNECT holds. Undefined: it is too long. */
export function encodeWillBody(client: WillClient, will: Will, underRules: boolean): Uint8Array | undefined {
  if (will.payload.length > willBytesMax) return undefined;
  const w = new ByteWriter(128 + will.payload.length);
  w.u8(underRules ? 1 : 0);
  const { username, mountpoint } = client;
  writeMeta(w, { epoch: 0, expiryIntervalS: 0, username, mountpoint, leftAtMs: 0, will: { will, dueAtMs: 0 } });
  return w.length > willBytesMax ? undefined : w.finish();
}

/** Throws MalformedError. */
export function decodeWillBody(bytes: Uint8Array): WillClient & { readonly will: Will | undefined; readonly underRules: boolean } {
  const r = new ByteReader(bytes);
  const underRules = r.u8() === 1;
  const { username, mountpoint, will } = readMeta(r);
  r.done();
  return { username, mountpoint, will: will?.will, underRules };
}

/** For a registration. The delay ends with the session at the latest [MQTT-3.1.3-9]. Empty: none that could stand there. */
export function standingWill(client: WillClient, will: Will, expiryIntervalS: number, underRules: boolean): Uint8Array | undefined {
  const body = encodeWillBody(client, will, underRules);
  if (body === undefined) return undefined;
  return encodeStanding(Math.min(will.properties?.willDelayInterval ?? 0, expiryIntervalS) * 1000, body);
}

export function willOrigin(clientId: string): number {
  return originsFrom + registryShardIndex(registryKey(clientId), registryShards);
}

export function isWillOrigin(originIncarnation: number): boolean {
  return originIncarnation >= originsFrom;
}

// Certificates for tests, made anew for each run: X.509 in DER, written by hand, so that no key and no
// tool is needed. ECDSA on P-256 throughout.
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Attributes of a name in the order of the certificate, the most general first: `['O', 'Works'], ['CN', 'device']`. */
export type NameParts = readonly (readonly ['CN' | 'O' | 'OU' | 'C', string])[];

export interface Certificate {
  readonly cert: string;
  readonly key: string;
  readonly name: NameParts;
  readonly privateKey: KeyObject;
}

export interface CertificateOptions {
  readonly name: NameParts;
  /** Undefined: signed by itself, and an authority. */
  readonly by?: Certificate;
  readonly ends?: Date;
}

const day = 86_400_000;
const oids = { CN: '2.5.4.3', C: '2.5.4.6', O: '2.5.4.10', OU: '2.5.4.11' } as const;

export function makeCertificate({ name, by, ends = new Date(Date.now() + 30 * day) }: CertificateOptions): Certificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const serial = createHash('sha256').update(spki).digest().subarray(0, 16);
  serial.writeUInt8((serial.readUInt8(0) & 0x3f) | 0x40, 0);
  const algorithm = tlv(0x30, oid('1.2.840.10045.4.3.2'));
  const tbs = tlv(
    0x30,
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, serial),
    algorithm,
    nameOf(by?.name ?? name),
    tlv(0x30, time(new Date(Date.now() - day)), time(ends)),
    nameOf(name),
    spki,
    tlv(0xa3, tlv(0x30, ...(by === undefined ? [authority()] : [alternativeNames()]))),
  );
  const signature = sign('sha256', tbs, by?.privateKey ?? privateKey);
  const der = tlv(0x30, tbs, algorithm, tlv(0x03, Buffer.from([0]), signature));
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { cert: pem(der), key, name, privateKey };
}

function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), body]);
  const head = length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from(head), body]);
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = part >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tlv(0x06, Buffer.from(bytes));
}

function nameOf(parts: NameParts): Buffer {
  return tlv(0x30, ...parts.map(([kind, value]) => tlv(0x31, tlv(0x30, oid(oids[kind]), tlv(0x0c, Buffer.from(value, 'utf8'))))));
}

function time(at: Date): Buffer {
  const digits = at.toISOString().replaceAll(/[-:T]|\.\d+Z/g, '');
  return tlv(0x18, Buffer.from(`${digits}Z`));
}

function authority(): Buffer {
  return tlv(0x30, oid('2.5.29.19'), tlv(0x01, Buffer.from([0xff])), tlv(0x04, tlv(0x30, tlv(0x01, Buffer.from([0xff])))));
}

/** localhost and 127.0.0.1: what tests connect to. */
function alternativeNames(): Buffer {
  const names = tlv(0x30, tlv(0x82, Buffer.from('localhost')), tlv(0x87, Buffer.from([127, 0, 0, 1])));
  return tlv(0x30, oid('2.5.29.17'), tlv(0x04, names));
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

export interface CertificateFiles {
  readonly certfile: string;
  readonly keyfile: string;
}

export function writeCertificate(dir: string, stem: string, made: Certificate): CertificateFiles {
  const files = { certfile: join(dir, `${stem}.pem`), keyfile: join(dir, `${stem}.key`) };
  writeFileSync(files.certfile, made.cert);
  writeFileSync(files.keyfile, made.key);
  return files;
}

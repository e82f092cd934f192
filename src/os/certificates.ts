// TLS material: reads PEM files, says in a sentence what is wrong with them or with a peer, and reads what
// clients' certificates say. The acceptor calls it at start and at each reload, the dialling side once per options object.
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext, type SecureContextOptions, type SecureVersion, type TLSSocket } from 'node:tls';
import { NetError, type TlsOptions } from '#env/net.js';
import type { CertificateReader } from './connection.js';

export interface TlsMaterial {
  readonly context: SecureContextOptions;
  /** End of the server's certificate, in wall clock milliseconds. */
  readonly ends: number;
}

/** Throws `NetError` with code 'ETLS'. */
export function readTlsMaterial(o: TlsOptions): TlsMaterial {
  const cert = readPem(o.certfile, 'certificate file');
  const key = readPem(o.keyfile, 'key file');
  const ca = o.cacertfile === undefined ? undefined : readPem(o.cacertfile, 'file of CA certificates');
  if (o.verify === 'verify_peer' && ca === undefined) {
    throw unusable('verify = verify_peer needs cacertfile: without it anybody with a certificate of a public authority would be let in');
  }
  if (o.verify === 'verify_none' && o.failIfNoPeerCert) {
    throw unusable('fail_if_no_peer_cert = true needs verify = verify_peer: no certificate is asked for otherwise');
  }
  const versions = [...o.versions].sort().map((v) => v.replace('tlsv', 'TLSv') as SecureVersion);
  if (versions.length === 0) throw unusable('versions must name tlsv1.2, tlsv1.3 or both');
  const context: SecureContextOptions = {
    cert,
    key,
    ...(ca === undefined ? {} : { ca }),
    ...(o.password === undefined ? {} : { passphrase: o.password }),
    ...(o.ciphers === '' ? {} : { ciphers: o.ciphers }),
    minVersion: versions[0] as SecureVersion,
    maxVersion: versions[versions.length - 1] as SecureVersion,
    honorCipherOrder: true,
  };
  const ends = endOf(cert, `the certificate file ${o.certfile}`);
  if (ca !== undefined) endOf(ca, `the file of CA certificates ${o.cacertfile}`);
  try {
    createSecureContext(context);
  } catch (error) {
    throw unusable(sentence(error, o, key));
  }
  return { context, ends };
}

const dialling = new WeakMap<TlsOptions, SecureContext>();

/** For connections that we make: read once per options object. Throws `NetError` with code 'ETLS'. */
export function diallingContext(o: TlsOptions): SecureContext {
  let context = dialling.get(o);
  if (context === undefined) {
    context = createSecureContext(readTlsMaterial(o).context);
    dialling.set(o, context);
  }
  return context;
}

const unknownAuthority = 'its certificate is not signed by an authority of ours (cacertfile)';

const peerFaults: Readonly<Record<string, string>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT: unknownAuthority,
  SELF_SIGNED_CERT_IN_CHAIN: unknownAuthority,
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownAuthority,
  CERT_SIGNATURE_FAILURE: unknownAuthority,
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  CERT_REVOKED: 'its certificate is revoked',
  INVALID_CA: 'its certificate is signed by one that may not sign',
  INVALID_PURPOSE: 'its certificate is not made for this purpose',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS',
  ERR_SSL_HTTP_REQUEST: 'it does not speak TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it speaks no version of TLS that is allowed here',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'it speaks no version of TLS that is allowed here',
  ERR_SSL_NO_SHARED_CIPHER: 'no cipher in common',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'it showed no certificate',
};

/** Why a peer's TLS handshake was refused, in words; undefined: it is none of that (the connection broke). */
export function peerFault(code: string | undefined): string | undefined {
  if (code === undefined) return undefined;
  return peerFaults[code] ?? (/^(?:ERR_SSL|ERR_TLS|CERT_|UNABLE_)/.test(code) ? code : undefined);
}

function unusable(message: string): NetError {
  return new NetError('ETLS', message);
}

const fileTrouble: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'may not be read by this user',
  EISDIR: 'is a directory',
};

/** A certificate chain has a few kilobytes, a bundle of authorities a few hundred. */
const pemBytesMax = 4 * 1024 * 1024;

function readPem(path: string, what: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw unusable(`the ${what} ${path} ${fileTrouble[code ?? ''] ?? `cannot be read: ${message}`}`);
  }
  if (bytes.length > pemBytesMax) throw unusable(`the ${what} ${path} is larger than any such file (${pemBytesMax} bytes at most)`);
  return bytes;
}

function endOf(pem: Buffer, what: string): number {
  try {
    return Date.parse(new X509Certificate(pem).validTo);
  } catch {
    throw unusable(`${what} holds no certificate in PEM`);
  }
}

/** PKCS #8, and the older form that says so in its header (RFC 1421, 4.6.1.1). */
const encrypted = /^-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

function sentence(error: unknown, o: TlsOptions, key: Buffer): string {
  const notOpened = `ssl_options.password does not open the key file ${o.keyfile}`;
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ERR_OSSL_X509_KEY_VALUES_MISMATCH':
    case 'ERR_OSSL_X509_KEY_TYPE_MISMATCH':
      return `the key file ${o.keyfile} does not belong to the certificate file ${o.certfile}`;
    case 'ERR_MISSING_PASSPHRASE':
    case 'ERR_OSSL_PEM_BAD_PASSWORD_READ':
    case 'ERR_OSSL_BAD_DECRYPT':
    case 'ERR_OSSL_EVP_BAD_DECRYPT':
    case 'ERR_OSSL_PEM_BAD_DECRYPT':
    case 'ERR_OSSL_CRYPTO_INTERRUPTED_OR_CANCELLED':
      if (o.password === undefined) return `the key file ${o.keyfile} is encrypted; set ssl_options.password`;
      return notOpened;
    case 'ERR_SSL_NO_CIPHER_MATCH':
      return `ssl_options.ciphers names no cipher that this machine knows: ${o.ciphers}`;
    default:
      if (/^ERR_OSSL_(?:UNSUPPORTED|PEM_|ASN1_|.*DECODER)/.test(code ?? '')) {
        // One wrong password of 256 passes the check of the padding, and what it yields is no key.
        if (o.password !== undefined && encrypted.test(key.toString('latin1'))) return notOpened;
        return `the key file ${o.keyfile} holds no private key in PEM`;
      }
      return `the certificate file ${o.certfile} and the key file ${o.keyfile} cannot be used: ${message}`;
  }
}

/** Reads the certificate that the peer has shown, when it is asked for: nothing is kept per connection. */
export function certificateReader(socket: TLSSocket): CertificateReader {
  return (field) => {
    const shown = socket.getPeerX509Certificate();
    if (shown === undefined) return undefined;
    switch (field) {
      case 'cn': {
        const name: unknown = socket.getPeerCertificate().subject?.CN;
        const first: unknown = Array.isArray(name) ? name[0] : name;
        return typeof first === 'string' ? first : '';
      }
      case 'dn':
        return distinguishedName(shown.subject);
      case 'crt':
        return shown.raw.toString('base64');
      case 'pem':
        return shown.toString();
      case 'md5':
        return createHash('md5').update(shown.raw).digest('hex');
    }
  };
}

/** RFC 4514: the last part first, commas between. Node gives a line a part, its special characters escaped already. */
export function distinguishedName(subject: string | undefined): string {
  const parts = (subject ?? '').split('\n').filter((part) => part !== '');
  return parts.reverse().join(',').replaceAll(' + ', '+');
}

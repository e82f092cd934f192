// Settings of TLS that listeners and the links between nodes share, and those of the links.

import type { Position } from '../hocon/errors.js';
import type { ClusterTlsConfig } from './config.js';
import { type Field, field, list, type ObjectShape, object, type Report, type Shape } from './shape.js';
import { choice, flag, nonEmpty, text } from './shapes.js';

/** A list, or a text with commas or colons between. */
const cipherList = list(nonEmpty);
export const ciphers: Shape<readonly string[]> = {
  expects: 'names of ciphers: a list, or a text with commas between',
  read(value, path, report): readonly string[] | undefined {
    if (value.kind !== 'scalar') return cipherList.read(value, path, report);
    return value.text.split(/[,:]/).flatMap((name) => (name.trim() === '' ? [] : [name.trim()]));
  },
};

export const verification: Shape<'verify_none' | 'verify_peer'> = choice('verify_none', 'verify_peer');

export function tlsVersions(key: string): Field<readonly string[]> {
  return field(key, list(choice('tlsv1.3', 'tlsv1.2')), ['tlsv1.3', 'tlsv1.2']);
}

/** As written under `cluster.tls`. */
export interface RawTls extends Omit<ClusterTlsConfig, 'certfile' | 'keyfile'> {
  /** undefined: as `rpc.protocol` says. */
  readonly enable: boolean | undefined;
  readonly certfile: string | undefined;
  readonly keyfile: string | undefined;
}

export function file(key: string): Field<string | undefined> {
  return field<string | undefined>(key, nonEmpty, undefined);
}

export const clusterTls: ObjectShape<RawTls> = object<RawTls>({
  enable: field<boolean | undefined>('enable', flag, undefined),
  cacertfile: file('cacertfile'),
  certfile: file('certfile'),
  keyfile: file('keyfile'),
  password: field<string | undefined>('password', text, undefined),
  // Another default than a listener's: who may not speak for the cluster is not asked for a cookie either.
  verify: field('verify', verification, 'verify_peer'),
  versions: tlsVersions('versions'),
  ciphers: field('ciphers', ciphers, []),
});

/** EMQX's names for TLS between nodes; they count where `cluster.tls` says nothing. */
export interface RpcTls {
  readonly protocol: 'tcp' | 'ssl';
  readonly cacertfile: string | undefined;
  readonly certfile: string | undefined;
  readonly keyfile: string | undefined;
}

/** `protoDist`: EMQX's `cluster.proto_dist`; it asks for TLS without saying where the certificates are. */
export function completeTls(tls: RawTls, rpc: RpcTls, protoDist: string, at: Position, report: Report): ClusterTlsConfig | undefined {
  const { enable, ...rest } = tls;
  const wanted = enable ?? rpc.protocol === 'ssl';
  if (!wanted) {
    if (protoDist.endsWith('tls'))
      report.problem(at, `cluster.proto_dist = ${protoDist} asks for TLS between nodes: set cluster.tls { enable, cacertfile, certfile, keyfile }`);
    return undefined;
  }
  const certfile = rest.certfile ?? rpc.certfile;
  const keyfile = rest.keyfile ?? rpc.keyfile;
  const cacertfile = rest.cacertfile ?? rpc.cacertfile;
  if (certfile === undefined || keyfile === undefined || (cacertfile === undefined && rest.verify === 'verify_peer')) {
    return report.problem(at, 'cluster.tls needs cacertfile, certfile and keyfile');
  }
  if (rest.verify === 'verify_none') {
    report.warn(
      at,
      'cluster.tls.verify = verify_none: what passes between nodes is encrypted, but whoever sits in between can read it; use verify_peer',
    );
  }
  return { ...rest, certfile, keyfile, cacertfile };
}

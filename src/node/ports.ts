// Ports at the start of a node: whether they can be had, and what to say when not.

import type { Net, TlsOptions } from '#env/net.js';
import type { HostPort } from './config/config.js';

const advice: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program uses this port; stop it or choose another port',
  EACCES: 'this user may not use this port; choose one above 1023',
  EADDRNOTAVAIL: 'this machine does not have this address',
  ENOTFOUND: 'there is no such host name',
  EMFILE: 'too many open files; raise the limit (ulimit -n)',
};

/** `listeners.tcp.default cannot listen on 0.0.0.0:1883: another program uses this port; …` */
export function cannotListen(what: string, at: HostPort, error: unknown): Error {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  const why = (code === undefined ? undefined : advice[code]) ?? message ?? String(error);
  const host = at.host.includes(':') ? `[${at.host}]` : at.host;
  return new Error(`${what} cannot listen on ${host}:${at.port}: ${why}`);
}

/** Listens and stops at once. Rejects with one sentence when the port cannot be had, or the certificates cannot be used. */
export function probe(net: Net, what: string, at: HostPort, tls?: TlsOptions): Promise<void> {
  if (at.port === 0 && tls === undefined) return Promise.resolve();
  return new Promise((done, reject) => {
    net.listen(
      at,
      (connection) => connection.destroy(),
      (listening) => listening.close(done),
      (error) => reject(cannotListen(what, at, error)),
      { tls },
    );
  });
}

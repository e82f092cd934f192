// Who a client is by its certificate: `mqtt.peer_cert_as_username` and `mqtt.peer_cert_as_clientid`.
import type { CertificateField, Connection } from '#env/net.js';
import type { ConnectPacket } from '#mqtt/packet.js';

export interface IdentityOptions {
  /** What of the certificate takes the place of CONNECT's user name; undefined: nothing. */
  readonly username: CertificateField | undefined;
  readonly clientId: CertificateField | undefined;
}

/**
 * Puts what the certificate says in the place of what CONNECT says. Without a certificate CONNECT stands; a certificate
 * without the field leaves no name, rather than any that its owner likes.
 */
export function identify(packet: ConnectPacket, net: Connection, options: IdentityOptions): void {
  if (net.certificateField === undefined) return;
  if (options.username !== undefined) {
    const name = net.certificateField(options.username);
    if (name !== undefined) packet.username = name === '' ? undefined : name;
  }
  if (options.clientId === undefined) return;
  const clientId = net.certificateField(options.clientId);
  if (clientId === undefined || clientId === packet.clientId) return;
  packet.clientId = clientId;
  packet.clientIdAssigned = clientId !== '';
}

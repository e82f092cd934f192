// Who a client is by its certificate or its user name: `mqtt.peer_cert_as_username`, `mqtt.peer_cert_as_clientid` and
// `mqtt.use_username_as_clientid`.
import type { CertificateField, Connection } from '#env/net.js';
import type { ConnectPacket } from '#mqtt/packet.js';

export interface IdentityOptions {
  /** What of the certificate takes the place of CONNECT's user name; undefined: nothing. */
  readonly username: CertificateField | undefined;
  readonly clientId: CertificateField | undefined;
  /** The user name takes the place of the client identifier, where the certificate has none for it. */
  readonly usernameAsClientId?: boolean;
}

/**
 * Puts what the certificate says in the place of what CONNECT says. Without a certificate CONNECT stands; a certificate
 * without the field leaves no name, rather than any that its owner likes.
 */
export function identify(packet: ConnectPacket, net: Connection, options: IdentityOptions): void {
  if (options.username !== undefined) {
    const name = net.certificateField?.(options.username);
    if (name !== undefined) packet.username = name === '' ? undefined : name;
  }
  const { username } = packet;
  if (options.usernameAsClientId === true && username !== undefined && username !== '') rename(packet, username);
  const clientId = options.clientId === undefined ? undefined : net.certificateField?.(options.clientId);
  if (clientId !== undefined) rename(packet, clientId);
}

function rename(packet: ConnectPacket, clientId: string): void {
  if (clientId === packet.clientId) return;
  packet.clientId = clientId;
  packet.clientIdAssigned = clientId !== '';
}

/** Undefined: what CONNECT says stands for every client. */
export function identityOf(options: IdentityOptions): IdentityOptions | undefined {
  const { username, clientId, usernameAsClientId } = options;
  return username === undefined && clientId === undefined && usernameAsClientId !== true ? undefined : options;
}

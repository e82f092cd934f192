// Who wants something, as this room sees it. The broker's channels are this; so are doubles in tests.
import { peerHost } from './address.js';

export interface AuthClient {
  readonly clientId: string;
  /** A proof of identity may set it. */
  username: string | undefined;
  /** `1.2.3.4:56789`. */
  readonly peer: string;
  /** CN and DN of the certificate that the client showed, if the listener asked for one. */
  readonly certCommonName?: string | undefined;
  readonly certSubject?: string | undefined;
  /** False: its listener lets everybody in (`enable_authn = false`). */
  readonly authenticates?: boolean;
  /** What access control keeps with the connection; nobody else reads or writes it. */
  grant: unknown;
  /** The server ends the connection. */
  disconnect(reasonCode: number, now: number): void;
}

/** What a client says about itself in CONNECT. Good during the call only: copy what is kept. */
export interface Credentials {
  readonly password: Uint8Array | undefined;
}

/** The value of a placeholder that speaks of the client. */
export function clientValue(client: AuthClient, name: string): string | undefined {
  switch (name) {
    case 'clientid':
      return client.clientId;
    case 'username':
      return client.username;
    case 'peerhost':
      return peerHost(client.peer);
    case 'peername':
      return client.peer;
    case 'cert_common_name':
      return client.certCommonName;
    case 'cert_subject':
      return client.certSubject;
    default:
      return undefined;
  }
}

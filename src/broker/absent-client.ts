// A client that is not connected, and of whose rights those count that need no connection: whoever published a will or
// a delayed message before this node, or another one, was started again.
import type { AccessClient } from './access.js';

export class AbsentClient implements AccessClient {
  readonly clientId: string;
  username: string | undefined;
  readonly mountpoint: string;
  readonly peer = '';
  grant: unknown = undefined;

  constructor(clientId: string, username: string | undefined, mountpoint: string) {
    this.clientId = clientId;
    this.username = username;
    this.mountpoint = mountpoint;
  }

  disconnect(): void {}
}

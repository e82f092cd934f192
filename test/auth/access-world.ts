// Access control over the database double, and clients that it knows: for the tests of this folder.
import assert from 'node:assert/strict';
import type { AccessControl } from '#auth/access-control.js';
import { AuthAdmin } from '#auth/admin.js';
import { type AuthSettings, adminSettings, buildAccess, openSettings } from '#auth/build.js';
import type { AuthClient } from '#auth/client.js';
import type { Fetch } from '#auth/http-client.js';
import { readAuthentication, readSources, type SettingsFiles } from '#auth/options.js';
import { PasswordHasher } from '#auth/password.js';
import type { PlainObject } from '#auth/plain.js';
import { authSchema } from '#auth/schema.js';
import { utf8Encode } from '#base/utf8.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster, type MemoryDatabase } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';

export const noFiles: SettingsFiles = {
  text: () => {
    throw new Error('no files here');
  },
  rules: () => [],
};

export interface WorldSettings {
  readonly authentication?: readonly PlainObject[];
  readonly sources?: readonly PlainObject[];
  readonly authorization?: Partial<AuthSettings['authorization']>;
  readonly flapping?: AuthSettings['flapping'];
}

export class Client implements AuthClient {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly peer: string;
  grant: unknown = undefined;
  ended = 0;

  constructor(clientId: string, username?: string, peer: string = '10.0.0.1:1000') {
    this.clientId = clientId;
    this.username = username;
    this.peer = peer;
  }

  disconnect(reasonCode: number): void {
    this.ended = reasonCode;
  }
}

export class AccessWorld {
  readonly clock: ManualClock = new ManualClock();
  readonly metrics: ReadableMetrics = new ReadableMetrics();
  readonly cluster: MemoryCluster = new MemoryCluster(this.clock, authSchema);
  readonly db: MemoryDatabase = this.cluster.join('n1');
  readonly other: MemoryDatabase = this.cluster.join('n2');
  readonly access: AccessControl;
  readonly admin: AuthAdmin;
  /** What a service answers. */
  fetch: Fetch = async () => ({ kind: 'failed', reason: 'nobody answers' });

  constructor(settings: WorldSettings = {}) {
    const problems: string[] = [];
    const auth: AuthSettings = {
      authentication: readAuthentication(settings.authentication ?? [], noFiles, problems),
      authorization: { ...openSettings.authorization, ...settings.authorization, sources: readSources(settings.sources ?? [], noFiles, problems) },
      flapping: settings.flapping ?? openSettings.flapping,
    };
    assert.deepEqual(problems, []);
    const hasher = new PasswordHasher(this.metrics);
    const env = { clock: this.clock, metrics: this.metrics, log: quietLog };
    this.access = buildAccess(env, this.db, auth, hasher, new Uint8Array(32), (call, timeoutMs) => this.fetch(call, timeoutMs));
    this.admin = new AuthAdmin(this.other, hasher, this.clock, { ...adminSettings(auth), algorithm: { name: 'sha256', saltPosition: 'prefix' } });
  }

  /** The code of CONNACK. */
  async login(client: AuthClient, password?: string): Promise<number> {
    return await new Promise((done) =>
      this.access.authenticate({ client, password: password === undefined ? undefined : utf8Encode(password) }, done),
    );
  }

  /** A client that is in; without authentication that happens at once. */
  in(clientId: string, username?: string, peer?: string): Client {
    const client = new Client(clientId, username, peer);
    let code = -1;
    this.access.authenticate({ client, password: undefined }, (c) => {
      code = c;
    });
    assert.equal(code, 0);
    return client;
  }

  may(client: AuthClient, topicName: string, retain: boolean = false): boolean | undefined {
    return this.access.mayPublish(client, topicName, 1, retain, this.clock.now());
  }

  /** Runs the clock until the change is everywhere. */
  async change<T>(changing: Promise<T>): Promise<T> {
    let open = true;
    const over = (): void => {
      open = false;
    };
    changing.then(over, over);
    while (open) {
      await new Promise((turn) => setImmediate(turn));
      this.clock.advance(1);
    }
    return await changing;
  }

  read(name: string): number {
    return this.metrics.read(name);
  }
}

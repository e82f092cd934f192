// The least a broker must do with a Registry: sessions with an identity and a queue, taken over in two
// phases. For tests of the registry; it checks what the registry promises with every answer.
import assert from 'node:assert/strict';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { HeldSession, RegisterResult, TakeoverSource } from '#broker/ports.js';
import type { WillWord } from '#broker/registered-wills.js';
import { ClusterRegistry, type RegistryOptions } from '#broker/registry.js';
import type { ManualClock } from '../doubles/manual-clock.js';
import type { MemoryDatabase } from '../doubles/memory-database.js';
import type { MemoryLinks } from '../doubles/memory-links.js';
import { ReadableMetrics } from '../doubles/quiet-env.js';

export interface MiniSession {
  epoch: number;
  readonly identity: string;
  queue: string[];
  connected: boolean;
  /** Taken over, but not finished. */
  building: boolean;
}

export class MiniBroker implements TakeoverSource {
  readonly db: MemoryDatabase;
  readonly links: MemoryLinks;
  readonly registry: ClusterRegistry;
  readonly metrics: ReadableMetrics = new ReadableMetrics();
  readonly sessions: Map<string, MiniSession> = new Map();
  /** `clientId epoch reasonCode` of every discard that found its session. */
  readonly discarded: string[] = [];
  /** Time between the phases of a takeover. */
  buildMs: () => number = () => 5;
  /** State sizes, to test transfers in chunks. */
  padding = 0;
  open = 0;
  /** Its sessions are on its disk. */
  durable = false;
  /** Of those that connect here. */
  will: Uint8Array | undefined = undefined;
  /** Sessions that the registry said it knows. */
  readonly known: string[] = [];
  readonly #clock: ManualClock;
  #identities = 0;

  constructor(clock: ManualClock, db: MemoryDatabase, links: MemoryLinks, options: Partial<RegistryOptions> = {}) {
    this.#clock = clock;
    this.db = db;
    this.links = links;
    this.registry = new ClusterRegistry({ clock, metrics: this.metrics }, db, links, options);
    this.registry.serve(this);
    db.onIncarnation((incarnation) => {
      links.updateSelf({ incarnation });
      this.registry.reassert(this.held());
    });
  }

  connect(clientId: string, cleanStart: boolean, done: (how: string, session: MiniSession | undefined) => void = () => {}, adopt?: number): void {
    this.open++;
    this.registry.register({ clientId, cleanStart, sessionExpiryInterval: 100, durable: this.durable, adopt, will: this.will }, (result) => {
      this.open--;
      this.#registered(clientId, result, done);
    });
  }

  disconnect(clientId: string, end: boolean, will?: WillWord): void {
    const session = this.sessions.get(clientId);
    if (session === undefined || session.building) return;
    session.connected = false;
    if (end) {
      this.sessions.delete(clientId);
      this.registry.ended(clientId, session.epoch, will);
    } else this.registry.disconnected(clientId, session.epoch, will);
  }

  begin(clientId: string, epoch: number): Uint8Array | undefined {
    const session = this.#held(clientId, epoch);
    if (session === undefined) return undefined;
    session.connected = false;
    return utf8Encode(session.identity.padEnd(this.padding, ' '));
  }

  finish(clientId: string, epoch: number): Uint8Array | undefined {
    const session = this.#held(clientId, epoch);
    if (session === undefined) return undefined;
    return utf8Encode(session.queue.join(',').padEnd(this.padding, ' '));
  }

  *held(): IterableIterator<HeldSession> {
    for (const [clientId, s] of this.sessions)
      yield { clientId, epoch: s.epoch, connected: s.connected, durable: this.durable, sessionExpiryInterval: 100 };
  }

  kick(clientId: string, reasonCode: number): boolean {
    const session = this.sessions.get(clientId);
    if (session === undefined) return false;
    this.sessions.delete(clientId);
    this.discarded.push(`${clientId} ${session.epoch} ${reasonCode}`);
    this.registry.ended(clientId, session.epoch);
    return true;
  }

  discard(clientId: string, epoch: number, reasonCode: number): void {
    if (this.#held(clientId, epoch) === undefined) return;
    this.sessions.delete(clientId);
    this.discarded.push(`${clientId} ${epoch} ${reasonCode}`);
  }

  confirmed(clientId: string, epoch: number): void {
    this.known.push(`${clientId} ${epoch}`);
  }

  heldEpoch(clientId: string): number | undefined {
    return this.sessions.get(clientId)?.epoch;
  }

  #held(clientId: string, epoch: number): MiniSession | undefined {
    const session = this.sessions.get(clientId);
    return session?.epoch === epoch ? session : undefined;
  }

  #registered(clientId: string, result: RegisterResult, done: (how: string, session: MiniSession | undefined) => void): void {
    switch (result.kind) {
      case 'fresh':
        done('fresh', this.#make(clientId, result.epoch));
        return;
      case 'local': {
        const session = this.#held(clientId, result.heldEpoch);
        if (session === undefined) {
          done('fresh', this.#make(clientId, result.epoch));
          return;
        }
        session.epoch = result.epoch;
        session.connected = true;
        done('local', session);
        return;
      }
      case 'remote': {
        const identity = text(result.state);
        const session: MiniSession = { epoch: result.epoch, identity, queue: [], connected: true, building: true };
        this.sessions.set(clientId, session);
        this.open++;
        this.#clock.setTimer(this.buildMs(), () => this.#finish(clientId, session, done));
        return;
      }
      case 'failed':
        done(result.reason, undefined);
    }
  }

  #finish(clientId: string, session: MiniSession, done: (how: string, session: MiniSession | undefined) => void): void {
    let queue: Uint8Array | undefined;
    const prepare = (bytes: Uint8Array, next: (ok: boolean) => void): void => {
      queue = bytes;
      next(true);
    };
    this.registry.finishTakeover(clientId, session.epoch, prepare, (outcome) => {
      this.open--;
      const mine = this.sessions.get(clientId) === session;
      if (outcome === 'undecided') {
        assert.ok(queue !== undefined);
        session.building = false;
        session.connected = false;
        session.queue = [...text(queue).split(',').filter(Boolean), ...session.queue];
        if (!mine) this.registry.ended(clientId, session.epoch);
        done(outcome, undefined);
        return;
      }
      if (outcome !== 'done') {
        if (mine) this.sessions.delete(clientId);
        done(outcome, undefined);
        return;
      }
      assert.ok(mine || !this.sessions.has(clientId), 'a takeover that is done was replaced by another session');
      if (!mine) {
        // It was kicked while it was built.
        this.registry.ended(clientId, session.epoch);
        done('gone', undefined);
        return;
      }
      session.building = false;
      if (queue === undefined) {
        done('fresh', this.#make(clientId, session.epoch));
        return;
      }
      session.queue = [...text(queue).split(',').filter(Boolean), ...session.queue];
      done('remote', session);
    });
  }

  #make(clientId: string, epoch: number): MiniSession {
    const session = {
      epoch,
      identity: `${this.db.nodeId.slice(-1)}/${this.db.incarnation}/${++this.#identities}`,
      queue: [],
      connected: true,
      building: false,
    };
    this.sessions.set(clientId, session);
    return session;
  }
}

function text(bytes: Uint8Array): string {
  return (utf8Decode(bytes) ?? '').trim();
}

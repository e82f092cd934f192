// What access control keeps with a connection: what its proof of identity gave it, and the verdicts it
// got lately. The cache is forgotten as a whole when any rule changes (`version`), and entry by entry
// when its time is up or the connection uses more topics than it may have entries.
import type { Rule } from './rule.js';

/** A verdict that is not known (or not any more). */
export const unknown = 0;

/** The largest whole number that needs no memory of its own everywhere. */
export const maxS: number = 2 ** 30 - 1;

/** Nobody puts anything in here. */
const noVerdicts: (Map<string, number> | undefined)[] = [];

export class Grant {
  readonly superuser: boolean;
  readonly acl: readonly Rule[] | undefined;
  /** Wall clock ms at which `acl` ends. */
  readonly expiresAtMs: number | undefined;
  #version = -1;
  #size = 0;
  /** The verdict that was asked for last. */
  #lastKind = -1;
  #lastTopic = '';
  /** Of it, in whole seconds, which need no memory of their own; above 0: it was allowed. */
  #lastUntilS = 0;
  /** By action, QoS and retain: topic → monotonic ms until which it is good, negative when denied. */
  #verdicts: (Map<string, number> | undefined)[] = noVerdicts;

  constructor(superuser: boolean, acl?: readonly Rule[], expiresAtMs?: number) {
    this.superuser = superuser;
    this.acl = acl;
    this.expiresAtMs = expiresAtMs;
  }

  /** 1 allowed, -1 denied, {@link unknown}. */
  cached(kind: number, topic: string, version: number, now: number): number {
    if (version !== this.#version) {
      this.#forget(version);
      return unknown;
    }
    // Most clients publish to one topic: its name is the same string each time.
    if (kind === this.#lastKind && topic === this.#lastTopic) {
      const untilS = this.#lastUntilS;
      if (untilS * 1000 > now) return 1;
      if (untilS * -1000 > now) return -1;
    }
    const until = this.#verdicts[kind]?.get(topic);
    if (until === undefined) return unknown;
    this.#lastKind = kind;
    this.#lastTopic = topic;
    // Towards the present.
    this.#lastUntilS = Math.trunc(Math.max(-maxS, Math.min(maxS, until / 1000)));
    if (until > now) return 1;
    return -until > now ? -1 : unknown;
  }

  /** The whole second of the monotonic clock until which {@link cached} says that it is allowed; 0: it does not. */
  allowedUntilS(kind: number, topic: string, version: number, now: number): number {
    // What is known was asked for last then.
    return this.cached(kind, topic, version, now) === 1 && this.#lastUntilS * 1000 > now ? this.#lastUntilS : 0;
  }

  keep(kind: number, topic: string, version: number, allowed: boolean, until: number, sizeMax: number): void {
    if (version !== this.#version) this.#forget(version);
    this.#lastKind = -1;
    let map = this.#verdicts[kind];
    if (map === undefined) {
      if (this.#verdicts === noVerdicts) this.#verdicts = [];
      map = new Map();
      this.#verdicts[kind] = map;
    }
    if (map.delete(topic)) this.#size--;
    if (this.#size >= sizeMax) this.#makeRoom(map);
    map.set(topic, allowed ? until : -until);
    this.#size++;
  }

  #makeRoom(map: Map<string, number>): void {
    for (const oldest of map.keys()) {
      map.delete(oldest);
      this.#size--;
      return;
    }
    for (const other of this.#verdicts) other?.clear();
    this.#size = 0;
  }

  /** Whatever the rules. */
  forget(): void {
    this.#forget(this.#version);
  }

  #forget(version: number): void {
    this.#version = version;
    this.#lastKind = -1;
    this.#size = 0;
    this.#verdicts = noVerdicts;
  }
}

/** Index of the cache for an action. */
export function publishKind(qos: 0 | 1 | 2, retain: boolean): number {
  return qos * 2 + (retain ? 1 : 0);
}

export function subscribeKind(qos: 0 | 1 | 2): number {
  return 6 + qos;
}

// Access control with the hooks `client.authenticate` and `client.authorize` before it, and behind it
// `client.check_authz_complete`. `Broker` puts it in place when the first of them is wanted, so that nobody else pays for it.
// Invariants: a hook may refuse a client, or leave it to the access control behind, which is asked then
// (bans stay in force); a hook is asked once per question; nobody is asked about a client that has gone.
import { copyBytes } from '#base/bytes.js';
import type { QoS } from '#mqtt/packet.js';
import {
  type Access,
  type AccessAction,
  type AccessAnswer,
  type AccessClient,
  type AccessExchange,
  type AccessRequest,
  type Answer,
  askAccess,
} from './access.js';
import type { BrokerHooks } from './hooks.js';

export class HookedAccess implements Access {
  readonly #base: Access;
  readonly #hooks: BrokerHooks;
  readonly #now: () => number;
  /** Clients whose hook has not answered. */
  readonly #pending: Set<AccessClient> = new Set();

  constructor(base: Access, hooks: BrokerHooks, now: () => number) {
    this.#base = base;
    this.#hooks = hooks;
    this.#now = now;
  }

  get denyAction(): 'ignore' | 'disconnect' {
    return this.#base.denyAction ?? 'ignore';
  }

  get concealReason(): boolean {
    return this.#base.concealReason ?? false;
  }

  /** A hook that lets clients in vouches for their names as an authenticator does. */
  get provesUsers(): boolean {
    return this.#hooks.authenticate !== undefined || this.#base.provesUsers === true;
  }

  authenticate(request: AccessRequest, answer: AccessAnswer): void {
    const hook = this.#hooks.authenticate;
    const { client, password } = request;
    if (hook === undefined || client.authenticates === false) {
      this.#base.authenticate(request, answer);
      return;
    }
    const kept = { ...request, password: password === undefined ? undefined : copyBytes(password) };
    this.#pending.add(client);
    hook(kept, (reasonCode) => {
      if (!this.#pending.delete(client)) return;
      if (reasonCode !== 0) answer(reasonCode);
      else this.#base.authenticate(kept, answer);
    });
  }

  exchange(client: AccessClient, method: string): AccessExchange | undefined {
    return this.#base.exchange?.(client, method);
  }

  mayPublish(client: AccessClient, topicName: string, qos: QoS, retain: boolean, now: number): boolean | undefined {
    if (this.#hooks.authorize !== undefined) return undefined;
    const may = this.#base.mayPublish(client, topicName, qos, retain, now);
    if (may !== undefined) this.#hooks.authorized?.(client, 'publish', topicName, qos, retain, may);
    return may;
  }

  maySubscribe(client: AccessClient, topicFilter: string, qos: QoS, now: number): boolean | undefined {
    if (this.#hooks.authorize !== undefined) return undefined;
    const may = this.#base.maySubscribe(client, topicFilter, qos, now);
    if (may !== undefined) this.#hooks.authorized?.(client, 'subscribe', topicFilter, qos, false, may);
    return may;
  }

  whenKnown(client: AccessClient, action: AccessAction, topic: string, qos: QoS, retain: boolean, known: Answer): void {
    const answer: Answer = (allowed, sure) => {
      this.#hooks.authorized?.(client, action, topic, qos, retain, allowed);
      known(allowed, sure);
    };
    const hook = this.#hooks.authorize;
    const ask = (): void => this.#ask(client, action, topic, qos, retain, answer);
    if (hook === undefined) ask();
    else hook(client, action, topic, qos, retain, (allowed) => (allowed === undefined ? ask() : answer(allowed)));
  }

  #ask(client: AccessClient, action: AccessAction, topic: string, qos: QoS, retain: boolean, answer: Answer): void {
    const base = this.#base;
    const now = this.#now();
    const may = action === 'publish' ? base.mayPublish(client, topic, qos, retain, now) : base.maySubscribe(client, topic, qos, now);
    if (may === undefined) askAccess(base, client, action, topic, qos, retain, answer);
    else answer(may);
  }

  isUnderRules(client: AccessClient): boolean {
    return this.#base.isUnderRules?.(client) ?? true;
  }

  closed(client: AccessClient): void {
    this.#pending.delete(client);
    this.#base.closed?.(client);
  }
}

// The authentication chain: the first authenticator that says yes or no decides. Nobody said anything:
// refused. An empty chain lets everybody in.
import { copyBytes } from '#base/bytes.js';
import type { Authenticator, AuthnAnswer, AuthnResult, Exchange } from './authenticator.js';
import type { AuthClient } from './client.js';

/** Who is let in without a proof of identity. */
export const anonymous: Extract<AuthnResult, { kind: 'allow' }> = { kind: 'allow', superuser: false };

export class Chain {
  readonly #members: readonly Authenticator[];

  constructor(members: readonly Authenticator[]) {
    this.#members = members;
  }

  get empty(): boolean {
    return this.#members.length === 0;
  }

  /** Answers once, now or later. `password` is good during the call only. */
  authenticate(client: AuthClient, password: Uint8Array | undefined, answer: AuthnAnswer): void {
    if (this.empty || client.authenticates === false) answer(anonymous);
    else this.#ask(0, client, password === undefined ? undefined : copyBytes(password), answer);
  }

  /** A conversation in an Authentication Method; undefined: nobody speaks it. */
  begin(method: string): Exchange | undefined {
    return this.#members.find((m) => m.method === method)?.begin?.();
  }

  close(): void {
    for (const member of this.#members) member.close();
  }

  #ask(i: number, client: AuthClient, password: Uint8Array | undefined, answer: AuthnAnswer): void {
    const member = this.#members[i];
    if (member === undefined) {
      // The same as for a wrong password: who has an account does not show.
      const said = client.username !== undefined || password !== undefined;
      answer({ kind: 'deny', reason: said ? 'credentials' : 'not-authorized' });
      return;
    }
    let answered = false;
    member.authenticate(client, password, (result) => {
      if (answered) return;
      answered = true;
      if (result.kind === 'ignore') this.#ask(i + 1, client, password, answer);
      else answer(result);
    });
  }
}

// Who is banned: the table `banned` of this node's copy, kept in memory by what is asked (client id,
// user name, address), with networks and patterns as short lists. Bans end by the wall clock.
import { inNetwork, type Network, parseAddress, parseNetwork, peerHost } from './address.js';
import type { AuthClient } from './client.js';
import { Pattern, PatternError } from './pattern.js';
import type { BanRow } from './rows.js';
import type { BanKind } from './schema.js';

interface NetworkBan {
  readonly network: Network;
  readonly ban: BanRow;
}

interface PatternBan {
  readonly pattern: Pattern;
  readonly ban: BanRow;
}

/** A ban's `who` that cannot be, as a sentence; undefined: fine. */
export function problemOfBan(as: BanKind, who: string): string | undefined {
  if (who === '') return 'who is banned is missing';
  if (as === 'peerhost' && parseAddress(who) === undefined) return `${who.slice(0, 60)} is no address`;
  if (as === 'peerhost_net' && parseNetwork(who) === undefined) return `${who.slice(0, 60)} is no network such as 10.0.0.0/8`;
  if (as !== 'clientid_re' && as !== 'username_re') return undefined;
  return patternOf(who) === undefined ? `${who.slice(0, 60)} is no pattern that is known here` : undefined;
}

function patternOf(source: string): Pattern | undefined {
  try {
    return new Pattern(source);
  } catch (error) {
    if (error instanceof PatternError) return undefined;
    throw error;
  }
}

/** One spelling per address, so that `::ffff:1.2.3.4` and `1.2.3.4` are one. */
function addressKey(host: string): string {
  return parseAddress(host)?.join('.') ?? host;
}

export class Bans {
  readonly #clientIds = new Map<string, BanRow>();
  readonly #usernames = new Map<string, BanRow>();
  readonly #hosts = new Map<string, BanRow>();
  readonly #networks = new Map<string, NetworkBan>();
  readonly #clientIdPatterns = new Map<string, PatternBan>();
  readonly #usernamePatterns = new Map<string, PatternBan>();

  get size(): number {
    const exact = this.#clientIds.size + this.#usernames.size + this.#hosts.size;
    return exact + this.#networks.size + this.#clientIdPatterns.size + this.#usernamePatterns.size;
  }

  clear(): void {
    for (const map of this.#maps()) map.clear();
  }

  /** False: the row makes no sense and is left out. */
  put(ban: BanRow): boolean {
    const { who } = ban;
    switch (ban.as) {
      case 'clientid':
        this.#clientIds.set(who, ban);
        return true;
      case 'username':
        this.#usernames.set(who, ban);
        return true;
      case 'peerhost':
        this.#hosts.set(addressKey(who), ban);
        return true;
      case 'peerhost_net': {
        const network = parseNetwork(who);
        if (network !== undefined) this.#networks.set(who, { network, ban });
        return network !== undefined;
      }
      case 'clientid_re':
      case 'username_re': {
        const pattern = patternOf(who);
        const map = ban.as === 'clientid_re' ? this.#clientIdPatterns : this.#usernamePatterns;
        if (pattern !== undefined) map.set(who, { pattern, ban });
        return pattern !== undefined;
      }
      default:
        return false;
    }
  }

  delete(as: BanKind, who: string): void {
    if (as === 'clientid') this.#clientIds.delete(who);
    else if (as === 'username') this.#usernames.delete(who);
    else if (as === 'peerhost') this.#hosts.delete(addressKey(who));
    else if (as === 'peerhost_net') this.#networks.delete(who);
    else if (as === 'clientid_re') this.#clientIdPatterns.delete(who);
    else this.#usernamePatterns.delete(who);
  }

  /** The ban that keeps the client out; undefined: none. */
  find(client: Pick<AuthClient, 'clientId' | 'username' | 'peer'>, wallNow: number): BanRow | undefined {
    if (this.size === 0) return undefined;
    const { clientId, username } = client;
    const host = peerHost(client.peer);
    const found =
      inForce(this.#clientIds.get(clientId), wallNow) ??
      (username === undefined ? undefined : inForce(this.#usernames.get(username), wallNow)) ??
      (this.#hosts.size === 0 ? undefined : inForce(this.#hosts.get(addressKey(host)), wallNow));
    return found ?? this.#findNetwork(host, wallNow) ?? this.#findPattern(clientId, username, wallNow);
  }

  #findNetwork(host: string, wallNow: number): BanRow | undefined {
    if (this.#networks.size === 0) return undefined;
    const address = parseAddress(host);
    if (address === undefined) return undefined;
    for (const { network, ban } of this.#networks.values()) if (inForce(ban, wallNow) !== undefined && inNetwork(address, network)) return ban;
    return undefined;
  }

  #findPattern(clientId: string, username: string | undefined, wallNow: number): BanRow | undefined {
    for (const { pattern, ban } of this.#clientIdPatterns.values()) if (inForce(ban, wallNow) !== undefined && pattern.test(clientId)) return ban;
    if (username === undefined) return undefined;
    for (const { pattern, ban } of this.#usernamePatterns.values()) if (inForce(ban, wallNow) !== undefined && pattern.test(username)) return ban;
    return undefined;
  }

  #maps(): readonly Map<string, unknown>[] {
    return [this.#clientIds, this.#usernames, this.#hosts, this.#networks, this.#clientIdPatterns, this.#usernamePatterns];
  }
}

function inForce(ban: BanRow | undefined, wallNow: number): BanRow | undefined {
  return ban !== undefined && ban.untilMs > wallNow ? ban : undefined;
}

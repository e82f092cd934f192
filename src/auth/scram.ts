// SCRAM (RFC 5802, RFC 7677), the server's side: two messages of the client, two answers. A pure state
// machine; whoever drives it looks the user up in between. Channel binding is not offered. For a user
// that does not exist the conversation goes on with keys that no password has, so that it shows nowhere.
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { sameBytes } from './secret.js';

export type ScramHash = 'sha256' | 'sha512';

/** What the server keeps of a password; base64. */
export interface ScramKeys {
  readonly hash: ScramHash;
  readonly iterations: number;
  readonly salt: string;
  readonly storedKey: string;
  readonly serverKey: string;
}

/** Names of the mechanisms in MQTT's Authentication Method. */
export const scramMethods: Readonly<Record<ScramHash, string>> = { sha256: 'SCRAM-SHA-256', sha512: 'SCRAM-SHA-512' };

const iterationsMin = 4_096;
const lengths: Readonly<Record<ScramHash, number>> = { sha256: 32, sha512: 64 };
/** A client's message holds a name, a nonce and a proof. */
const messageLengthMax = 4_096;
const nonceBytes = 18;

/** For an account: slow by its iterations, so never during a login. */
export function makeScramKeys(password: string, hash: ScramHash, iterations: number, salt: Uint8Array = randomBytes(16)): ScramKeys {
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, Math.max(iterations, iterationsMin), lengths[hash], hash);
  const storedKey = createHash(hash)
    .update(hmac(hash, salted, 'Client Key'))
    .digest();
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  return {
    hash,
    iterations: Math.max(iterations, iterationsMin),
    salt: base64(salt),
    storedKey: base64(storedKey),
    serverKey: base64(hmac(hash, salted, 'Server Key')),
  };
}

/** `decoySecret` makes the salt of a name that has no account the same every time. */
function decoyKeys(username: string, hash: ScramHash, iterations: number, decoySecret: Uint8Array): ScramKeys {
  const piece = (label: string): Buffer => hmac(hash, decoySecret, `${label}:${username}`);
  const storedKey = randomBytes(lengths[hash]).toString('base64');
  return { hash, iterations, salt: piece('salt').subarray(0, 16).toString('base64'), storedKey, serverKey: piece('server').toString('base64') };
}

export type ScramStep =
  /** Send this and wait for the client's next message. */
  | { readonly kind: 'continue'; readonly message: string }
  /** Who it is; send this with the success. */
  | { readonly kind: 'success'; readonly username: string; readonly message: string }
  | { readonly kind: 'failed'; readonly reason: 'malformed' | 'not-supported' | 'wrong' };

export interface ScramSettings {
  readonly hash: ScramHash;
  /** What a name without an account pretends to have: the default of new accounts. */
  readonly iterations: number;
  readonly decoySecret: Uint8Array;
  readonly find: (username: string) => ScramKeys | undefined;
  /** For tests; otherwise random. */
  readonly nonce?: string;
}

export class ScramServer {
  readonly #settings: ScramSettings;
  #state: 'first' | 'final' | 'done' = 'first';
  #username = '';
  #header = '';
  #clientFirstBare = '';
  #serverFirst = '';
  #nonce = '';
  #known = false;
  #keys: ScramKeys | undefined;

  constructor(settings: ScramSettings) {
    this.#settings = settings;
  }

  /** The client's next message. After anything but `continue` the conversation is over. */
  step(message: string): ScramStep {
    if (message.length > messageLengthMax) return this.#fail('malformed');
    switch (this.#state) {
      case 'first':
        return this.#first(message);
      case 'final':
        return this.#final(message);
      case 'done':
        return this.#fail('malformed');
    }
  }

  #fail(reason: 'malformed' | 'not-supported' | 'wrong'): ScramStep {
    this.#state = 'done';
    return { kind: 'failed', reason };
  }

  /** `n,,n=user,r=nonce` */
  #first(message: string): ScramStep {
    const parts = /^([ny]|p=[^,]*),(a=[^,]*)?,((m=[^,]*,)?n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)$/.exec(message);
    if (parts === null) return this.#fail('malformed');
    const [, binding = '', authzid, bare = '', extension, name = '', nonce = ''] = parts;
    // `y` says: the client could bind channels and believes that we cannot, which is true.
    if (binding.startsWith('p=') || extension !== undefined) return this.#fail('not-supported');
    const username = decodeName(name);
    if (username === undefined || username === '') return this.#fail('malformed');
    if (authzid !== undefined && authzid !== `a=${name}`) return this.#fail('not-supported');
    const { hash, iterations, decoySecret, find } = this.#settings;
    const keys = find(username);
    this.#known = keys !== undefined && keys.hash === hash;
    this.#keys = this.#known ? keys : decoyKeys(username, hash, iterations, decoySecret);
    this.#username = username;
    this.#header = `${binding},${authzid ?? ''},`;
    this.#clientFirstBare = bare;
    this.#nonce = nonce + (this.#settings.nonce ?? randomBytes(nonceBytes).toString('base64'));
    this.#serverFirst = `r=${this.#nonce},s=${this.#keys?.salt ?? ''},i=${this.#keys?.iterations ?? 0}`;
    this.#state = 'final';
    return { kind: 'continue', message: this.#serverFirst };
  }

  /** `c=biws,r=nonce,p=proof` */
  #final(message: string): ScramStep {
    const parts = /^(c=([^,]*),r=([^,]*)(?:,[^,]+)*),p=([A-Za-z0-9+/=]+)$/.exec(message);
    const keys = this.#keys;
    if (parts === null || keys === undefined) return this.#fail('malformed');
    const [, withoutProof = '', header = '', nonce = '', proofText = ''] = parts;
    if (Buffer.from(header, 'base64').toString('utf8') !== this.#header || nonce !== this.#nonce) return this.#fail('wrong');
    const proof = Buffer.from(proofText, 'base64');
    if (proof.length !== lengths[keys.hash]) return this.#fail('wrong');
    const authMessage = `${this.#clientFirstBare},${this.#serverFirst},${withoutProof}`;
    const storedKey = Buffer.from(keys.storedKey, 'base64');
    const signature = hmac(keys.hash, storedKey, authMessage);
    const clientKey = Buffer.from(proof.map((byte, i) => byte ^ (signature[i] ?? 0)));
    const same = sameBytes(createHash(keys.hash).update(clientKey).digest(), storedKey);
    if (!same || !this.#known) return this.#fail('wrong');
    this.#state = 'done';
    const verifier = hmac(keys.hash, Buffer.from(keys.serverKey, 'base64'), authMessage).toString('base64');
    return { kind: 'success', username: this.#username, message: `v=${verifier}` };
  }
}

/** `=2C` is a comma, `=3D` an equals sign; nothing else may follow `=`. */
function decodeName(name: string): string | undefined {
  if (/=(?!2C|3D)/.test(name)) return undefined;
  return name.replaceAll('=2C', ',').replaceAll('=3D', '=').normalize('NFKC');
}

function hmac(hash: ScramHash, key: Uint8Array, text: string): Buffer {
  return createHmac(hash, key).update(text, 'utf8').digest();
}

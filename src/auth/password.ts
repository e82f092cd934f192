// Password hashes: making and checking them. Slow ones run off the event loop (scrypt and PBKDF2 on
// Node's thread pool, bcrypt on a worker thread), a bounded number at a time, so that a storm of logins
// starves neither MQTT nor the disk. Stored as plain data, so that rows of other systems can be imported.
import { createHash, pbkdf2, randomBytes, type ScryptOptions, scrypt } from 'node:crypto';
import { utf8Decode } from '#base/utf8.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { BcryptThread } from './bcrypt-thread.js';
import { sameBytes } from './secret.js';

export type SimpleHashName = 'plain' | 'md5' | 'sha' | 'sha256' | 'sha512';
export type SaltPosition = 'disable' | 'prefix' | 'suffix';

/** How new passwords are hashed: `password_hash_algorithm`. */
export type HashAlgorithm =
  | { readonly name: 'scrypt'; readonly n: number; readonly r: number; readonly p: number }
  | { readonly name: 'bcrypt'; readonly saltRounds: number }
  | { readonly name: 'pbkdf2'; readonly macFun: string; readonly iterations: number; readonly dkLength: number }
  | { readonly name: SimpleHashName; readonly saltPosition: SaltPosition };

/** As it is stored. Salts are texts whose UTF-8 is hashed; hashes are hexadecimal, except bcrypt's and plain texts. */
export type PasswordHash =
  | { readonly name: 'scrypt'; readonly n: number; readonly r: number; readonly p: number; readonly salt: string; readonly hash: string }
  | { readonly name: 'bcrypt'; readonly hash: string }
  | { readonly name: 'pbkdf2'; readonly macFun: string; readonly iterations: number; readonly salt: string; readonly hash: string }
  | { readonly name: SimpleHashName; readonly saltPosition: SaltPosition; readonly salt: string; readonly hash: string };

/** 16 MiB and about 50 ms of one thread. */
export const defaultAlgorithm: HashAlgorithm = { name: 'scrypt', n: 16_384, r: 8, p: 1 };

/** Node's thread pool has four; the rest is for files and names. */
const runningMax = 2;
/** At the default cost their wait is some ten seconds, after which clients have given up. */
const waitingMax = 500;
const scryptBytesMax = 256 * 1024 * 1024;
const derivedBytesMax = 128;

export type VerifyOutcome = 'match' | 'mismatch' | 'busy';

export class PasswordHasher {
  readonly #waiting: ((release: () => void) => void)[] = [];
  readonly #refused: Counter;
  #running = 0;
  #bcrypt: BcryptThread | undefined;

  constructor(metrics: Metrics) {
    this.#refused = metrics.counter('starmesh_auth_hashing_refused_total', 'logins refused because too many passwords waited to be checked');
    metrics.gaugeFn('starmesh_auth_hashing_waiting', 'passwords that wait to be checked', {}, () => this.#waiting.length);
  }

  /** Answers once, now or later. */
  verify(password: Uint8Array, stored: PasswordHash, done: (outcome: VerifyOutcome) => void): void {
    const answer = (same: boolean | undefined): void => done(same === undefined ? 'busy' : same ? 'match' : 'mismatch');
    switch (stored.name) {
      case 'scrypt':
      case 'pbkdf2': {
        const wanted = Buffer.from(stored.hash, 'hex');
        if (wanted.length === 0 || wanted.length > derivedBytesMax) return answer(false);
        const started = this.#start((release) => {
          derive(password, stored, wanted.length, (derived) => {
            release();
            answer(derived !== undefined && sameBytes(derived, wanted));
          });
        });
        if (!started) answer(undefined);
        return;
      }
      case 'bcrypt':
        if (utf8Decode(password) === undefined) return answer(false);
        if (!this.#start((release) => this.#compare(password, stored.hash, release, answer))) answer(undefined);
        return;
      default:
        answer(checkSimple(password, stored));
    }
  }

  /** Hashes a new password; undefined: too many wait, or the parameters cannot be. */
  make(password: Uint8Array, algorithm: HashAlgorithm, done: (hash: PasswordHash | undefined) => void): void {
    if (algorithm.name === 'scrypt' || algorithm.name === 'pbkdf2') {
      const salt = randomBytes(16).toString('hex');
      const length = algorithm.name === 'scrypt' ? 32 : algorithm.dkLength;
      const started = this.#start((release) => {
        derive(password, { ...algorithm, salt }, length, (derived) => {
          release();
          const hash = derived?.toString('hex');
          if (hash === undefined) done(undefined);
          else if (algorithm.name === 'scrypt') done({ ...algorithm, salt, hash });
          else done({ name: 'pbkdf2', macFun: algorithm.macFun, iterations: algorithm.iterations, salt, hash });
        });
      });
      if (!started) done(undefined);
      return;
    }
    if (algorithm.name === 'bcrypt') {
      const started = this.#start((release) => {
        this.#thread().request({ kind: 'hash', password: Buffer.from(password).toString('utf8'), rounds: algorithm.saltRounds }, (reply) => {
          release();
          done(typeof reply === 'string' ? { name: 'bcrypt', hash: reply } : undefined);
        });
      });
      if (!started) done(undefined);
      return;
    }
    const { name, saltPosition } = algorithm;
    const salt = saltPosition === 'disable' ? '' : randomBytes(16).toString('hex');
    done({ name, saltPosition, salt, hash: simple(password, { name, saltPosition, salt }).toString(name === 'plain' ? 'utf8' : 'hex') });
  }

  close(): void {
    this.#bcrypt?.close();
    this.#bcrypt = undefined;
  }

  #compare(password: Uint8Array, hash: string, release: () => void, answer: (same: boolean | undefined) => void): void {
    this.#thread().request({ kind: 'compare', password: Buffer.from(password).toString('utf8'), hash }, (reply) => {
      release();
      answer(typeof reply === 'boolean' ? reply : undefined);
    });
  }

  #thread(): BcryptThread {
    this.#bcrypt ??= new BcryptThread();
    return this.#bcrypt;
  }

  /** Runs the job now or when its turn comes; false: too many wait. */
  #start(job: (release: () => void) => void): boolean {
    if (this.#running >= runningMax) {
      if (this.#waiting.length >= waitingMax) {
        this.#refused.value++;
        return false;
      }
      this.#waiting.push(job);
      return true;
    }
    this.#run(job);
    return true;
  }

  #run(job: (release: () => void) => void): void {
    this.#running++;
    job(() => {
      this.#running--;
      const next = this.#waiting.shift();
      if (next !== undefined) this.#run(next);
    });
  }
}

type Derivation =
  | { readonly name: 'scrypt'; readonly n: number; readonly r: number; readonly p: number; readonly salt: string }
  | { readonly name: 'pbkdf2'; readonly macFun: string; readonly iterations: number; readonly salt: string };

/** undefined: these parameters cannot be (an imported row). */
function derive(password: Uint8Array, d: Derivation, length: number, done: (derived: Buffer | undefined) => void): void {
  const answer = (error: Error | null, derived: Buffer): void => done(error === null ? derived : undefined);
  try {
    if (d.name === 'pbkdf2') pbkdf2(password, d.salt, d.iterations, length, d.macFun, answer);
    else {
      const options: ScryptOptions = { N: d.n, r: d.r, p: d.p, maxmem: scryptBytesMax };
      scrypt(password, d.salt, length, options, answer);
    }
  } catch {
    setImmediate(() => done(undefined));
  }
}

function simple(password: Uint8Array, how: { readonly name: SimpleHashName; readonly saltPosition: SaltPosition; readonly salt: string }): Buffer {
  const salt = Buffer.from(how.salt, 'utf8');
  const parts = how.saltPosition === 'disable' ? [password] : how.saltPosition === 'prefix' ? [salt, password] : [password, salt];
  const input = Buffer.concat(parts);
  return how.name === 'plain'
    ? input
    : createHash(how.name === 'sha' ? 'sha1' : how.name)
        .update(input)
        .digest();
}

function checkSimple(password: Uint8Array, stored: Extract<PasswordHash, { name: SimpleHashName }>): boolean {
  // Of equal length, so that the time does not show how long a plain password is.
  const digest = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
  const wanted = stored.name === 'plain' ? Buffer.from(stored.hash, 'utf8') : Buffer.from(stored.hash, 'hex');
  return wanted.length > 0 && sameBytes(digest(simple(password, stored)), digest(wanted));
}

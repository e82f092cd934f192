// Asking the network where nodes are: names, and the API of what runs them. `os` implements it. Answers
// come later than the call, exactly one per question; an error is a sentence for the log.

export type RecordType = 'a' | 'aaaa' | 'srv';

export interface FoundHost {
  readonly host: string;
  /** Of SRV records. */
  readonly port: number | undefined;
}

export interface DnsQuestion {
  readonly name: string;
  readonly recordType: RecordType;
  /** `host` or `host:port`; none: those of the machine. */
  readonly servers: readonly string[];
  readonly timeoutMs: number;
}

export interface HttpsQuestion {
  /** Under `https:` only. */
  readonly url: string;
  /** File with the bearer token, read anew each time: such tokens expire. */
  readonly tokenfile: string;
  /** Who may have signed the server's certificate. */
  readonly cacertfile: string;
  readonly timeoutMs: number;
  /** A longer answer is an error. */
  readonly bytesMax: number;
}

export interface Lookups {
  /** A name without such records is answered with none, not with an error. */
  dns(question: DnsQuestion, done: (error: string | undefined, hosts: readonly FoundHost[]) => void): void;
  /** GET; every status but 200 is an error. */
  https(question: HttpsQuestion, done: (error: string | undefined, body: string) => void): void;
}

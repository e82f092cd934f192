// Asks HTTP services, a bounded number of questions at a time. The fetching itself is an interface, so
// that tests need no network; `fetchHttp` is Node's own.
import type { Counter, Metrics } from '#env/metrics.js';
import type { HttpCall } from './http-request.js';

export type HttpResult =
  | { readonly kind: 'answer'; readonly status: number; readonly contentType: string; readonly body: string }
  | { readonly kind: 'failed'; readonly reason: string };

export type Fetch = (call: HttpCall, timeoutMs: number) => Promise<HttpResult>;

/** Longer answers are refused: a verdict or a set of keys is small. */
const answerBytesMax = 1_048_576;

/** Node's fetch. Redirects are not followed: credentials go where the configuration says, nowhere else. */
export const fetchHttp: Fetch = async (call, timeoutMs) => {
  try {
    const { method, headers, body } = call;
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await fetch(call.url, { method, headers: { ...headers }, redirect: 'error', signal, ...(body === undefined ? {} : { body }) });
    const text = await readText(response);
    if (text === undefined) return { kind: 'failed', reason: `the answer is longer than ${answerBytesMax} bytes` };
    return { kind: 'answer', status: response.status, contentType: response.headers.get('content-type') ?? '', body: text };
  } catch (error) {
    return { kind: 'failed', reason: reasonOf(error) };
  }
};

async function readText(response: Response): Promise<string | undefined> {
  if (response.body === null) return '';
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > answerBytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Without the URL, which may hold what a client sent. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  const { cause } = error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
  return code ?? (error.name === 'TimeoutError' ? 'timeout' : error.name);
}

export interface HttpPoolOptions {
  /** Requests at a time. */
  readonly poolSize: number;
  readonly timeoutMs: number;
}

/** Requests that wait for their turn; more are refused. */
const waitingMax = 1_000;

interface Waiting {
  readonly call: HttpCall;
  readonly done: (result: HttpResult) => void;
}

export class HttpPool {
  readonly #fetch: Fetch;
  readonly #options: HttpPoolOptions;
  readonly #waiting: Waiting[] = [];
  readonly #full: Counter;
  readonly #failed: Counter;
  #running = 0;

  constructor(fetch: Fetch, options: HttpPoolOptions, metrics: Metrics, id: string) {
    this.#fetch = fetch;
    this.#options = options;
    this.#full = metrics.counter('starmesh_auth_http_refused_total', 'requests to access services refused because too many waited', { id });
    this.#failed = metrics.counter('starmesh_auth_http_failed_total', 'requests to access services that got no answer', { id });
  }

  /** Answers once, later than this call, except when too many wait. */
  request(call: HttpCall, done: (result: HttpResult) => void): void {
    if (this.#running < this.#options.poolSize) this.#run({ call, done });
    else if (this.#waiting.length < waitingMax) this.#waiting.push({ call, done });
    else {
      this.#full.value++;
      done({ kind: 'failed', reason: 'too many requests wait' });
    }
  }

  #run({ call, done }: Waiting): void {
    this.#running++;
    const finish = (result: HttpResult): void => {
      this.#running--;
      if (result.kind === 'failed') this.#failed.value++;
      const next = this.#waiting.shift();
      if (next !== undefined) this.#run(next);
      done(result);
    };
    void this.#fetch(call, this.#options.timeoutMs).then(finish, (error: unknown) => finish({ kind: 'failed', reason: reasonOf(error) }));
  }
}

// A process of register-node.ts: started (under another command where a test wants that), asked, paused,
// killed. Used by the suites of the library with real processes and by those of test/long.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Dump, NodeReport, RegisterReply, RegisterRequest, ShardReport } from './register-node.js';

const ownProgram = fileURLToPath(new URL('./register-node.js', import.meta.url));
const errorCharsKept = 8_000;

/** A request without its number. */
export type Asked = RegisterRequest extends infer R ? (R extends RegisterRequest ? Omit<R, 'id'> : never) : never;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class RegisterProcess {
  readonly name: string;
  readonly options: object;
  #child: ChildProcess | undefined;
  #ended: Promise<Ended> | undefined;
  #nextId = 1;
  readonly #asked: Map<number, (reply: RegisterReply | undefined) => void> = new Map();
  #errors = '';
  /** Processes started so far. */
  starts = 0;
  /** What the next start runs; undefined: register-node.ts of this build. */
  program: string | undefined;

  constructor(name: string, options: object) {
    this.name = name;
    this.options = options;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Of the node itself, when the command before it runs it in its own place. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} does not run`);
    return pid;
  }

  /** What it wrote to its standard error, the end of it. */
  get errors(): string {
    return this.#errors;
  }

  /** Resolves when the process is gone and all its answers are in. */
  get ended(): Promise<Ended> {
    if (this.#ended === undefined) throw new Error(`${this.name} was never started`);
    return this.#ended;
  }

  /** Resolves when the node is in service, rejects when it ends before. `under`: a command that runs it. */
  async start(under: readonly string[] = []): Promise<void> {
    const [command, ...args] = [...under, process.execPath, this.program ?? ownProgram, JSON.stringify(this.options)];
    const child = spawn(command ?? '', args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    this.#errors = '';
    this.starts++;
    this.#ended = once(child, 'close').then(() => {
      // What was asked of a process that was dead already.
      this.#unanswered();
      return { code: child.exitCode, signal: child.signalCode };
    });
    child.stdin.on('error', () => {});
    child.stderr.on('data', (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-errorCharsKept);
    });
    const serving = new Promise<void>((done, reject) => {
      this.#asked.set(0, (reply) => (reply === undefined ? reject(new Error(`${this.name} ended: ${this.#errors}`)) : done()));
    });
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => {
      const reply = JSON.parse(line) as RegisterReply;
      const asked = this.#asked.get(reply.id);
      this.#asked.delete(reply.id);
      asked?.(reply);
    });
    lines.on('close', () => this.#unanswered());
    await serving;
  }

  #unanswered(): void {
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const done of asked) done(undefined);
  }

  /** Undefined: the process ended without an answer. */
  ask(request: Asked): Promise<RegisterReply | undefined> {
    if (!this.running) return Promise.resolve(undefined);
    const id = this.#nextId++;
    return new Promise((done) => {
      this.#asked.set(id, done);
      this.#child?.stdin?.write(`${JSON.stringify({ ...request, id })}\n`);
    });
  }

  async #value(request: Asked): Promise<number | string | undefined> {
    const reply = await this.ask(request);
    return reply !== undefined && 'value' in reply ? reply.value : undefined;
  }

  async #json<T>(request: Asked): Promise<T | undefined> {
    const value = await this.#value(request);
    return typeof value === 'string' ? (JSON.parse(value) as T) : undefined;
  }

  report(): Promise<NodeReport | undefined> {
    return this.#json({ op: 'status' });
  }

  async shard(name: string): Promise<ShardReport | undefined> {
    return (await this.report())?.shards.find((s) => s.shard === name);
  }

  dump(prefix: string = ''): Promise<Dump | undefined> {
    return this.#json({ op: 'dump', prefix });
  }

  asJson<T>(request: Asked): Promise<T | undefined> {
    return this.#json(request);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** `kill -9`, and the end of all its answers. */
  async kill(): Promise<void> {
    if (this.running) this.#child?.kill('SIGKILL');
    await this.#ended;
  }

  /** The orderly end. */
  async stop(): Promise<Ended | undefined> {
    this.#child?.stdin?.end();
    return this.#ended;
  }
}

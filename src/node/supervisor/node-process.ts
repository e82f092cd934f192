// One node of the local cluster as a process: started, watched, started again, stopped. Its output
// goes straight to `node.log` in its folder, so it can outlive us for the moment that it needs to notice.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, copyFileSync, fstatSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { configPath } from './folders.js';
import { type Health, healthOf } from './health.js';
import type { PlannedNode } from './plan.js';

const restartMs = 3000;
/** A node that dies this often without ever having run is not started again. */
const failuresMax = 3;
const logBytesMax = 64 * 1_048_576;
const tailLines = 5;

export type ProcessState = 'running' | 'waiting' | 'dead' | 'stopped';

export interface NodeEvents {
  /** One sentence about this node. */
  say(node: PlannedNode, text: string): void;
  /** Something to show has changed. */
  changed(): void;
}

export interface NodeProcessOptions {
  /** The script that is started as `SCRIPT start -c FILE --supervised`. */
  readonly program: string;
  readonly restart: boolean;
  readonly environment: NodeJS.ProcessEnv;
}

export class NodeProcess {
  readonly plan: PlannedNode;
  readonly #options: NodeProcessOptions;
  readonly #events: NodeEvents;
  #child: ChildProcess | undefined;
  #state: ProcessState = 'stopped';
  #health: Health = healthOf(undefined, false);
  #stopping = false;
  #answered = false;
  #failures = 0;
  /** Where this run's output begins in the log. */
  #logFrom = 0;
  #timer: NodeJS.Timeout | undefined;
  #whenGone: (() => void)[] = [];

  constructor(plan: PlannedNode, options: NodeProcessOptions, events: NodeEvents) {
    this.plan = plan;
    this.#options = options;
    this.#events = events;
  }

  get state(): ProcessState {
    return this.#state;
  }

  get health(): Health {
    return this.#health;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** For the table. */
  get shown(): string {
    if (this.#stopping && this.#state === 'running') return 'stopping';
    if (this.#state === 'running') return this.#health.state;
    if (this.#state === 'waiting') return 'starts again';
    return this.#state;
  }

  start(): void {
    this.#health = healthOf(undefined, false);
    this.#answered = false;
    const log = openLog(this.logPath);
    this.#logFrom = fstatSync(log).size;
    const child = spawn(process.execPath, [this.#options.program, 'start', '-c', configPath(this.plan), '--supervised'], {
      stdio: ['pipe', log, log],
      env: this.#options.environment,
    });
    closeSync(log);
    this.#child = child;
    this.#state = 'running';
    child.stdin?.on('error', () => {});
    child.on('error', (error) => this.#events.say(this.plan, `cannot be started: ${error.message}`));
    child.on('close', (code, signal) => this.#closed(child, code, signal));
  }

  get logPath(): string {
    return join(this.plan.dataDir, 'node.log');
  }

  /** What the node answered when it was asked; undefined: it did not. `serving`: its listeners are open. */
  heard(data: unknown, serving: boolean): void {
    if (this.#state !== 'running') return;
    this.#answered ||= data !== undefined;
    if (data !== undefined) this.#failures = 0;
    const health = healthOf(data, serving);
    if (health.state === this.#health.state && health.shards === this.#health.shards) return;
    this.#health = health;
    this.#events.changed();
  }

  /** Keeps the log bounded while the node runs. */
  trimLog(): void {
    try {
      if (statSync(this.logPath).size <= logBytesMax) return;
      copyFileSync(this.logPath, `${this.logPath}.1`);
      truncateSync(this.logPath);
    } catch {
      // The log is a convenience; a full disk is told by the node itself.
    }
  }

  /** From now on an end is the wanted one: a signal to the whole process group reaches the node before we ask. */
  expectEnd(): void {
    this.#stopping = true;
  }

  /** Asks the node to leave; resolves when its process is gone. */
  stop(): Promise<void> {
    this.expectEnd();
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    if (this.#state !== 'running') {
      this.#state = 'stopped';
      return Promise.resolve();
    }
    const gone = new Promise<void>((resolve) => this.#whenGone.push(resolve));
    this.#child?.kill('SIGTERM');
    this.#events.changed();
    return gone;
  }

  kill(): void {
    if (this.#state === 'running') this.#child?.kill('SIGKILL');
  }

  #closed(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    if (child !== this.#child) return;
    this.#child = undefined;
    this.#health = healthOf(undefined, false);
    if (this.#stopping) this.#state = 'stopped';
    else this.#died(signal ?? `status ${code}`);
    for (const resolve of this.#whenGone.splice(0)) resolve();
    this.#events.changed();
  }

  #died(how: string): void {
    if (!this.#answered) this.#failures++;
    const hopeless = this.#failures >= failuresMax;
    if (this.#options.restart && !hopeless) {
      this.#state = 'waiting';
      this.#events.say(this.plan, `ended (${how}) and is started again in ${restartMs / 1000} s${this.#answered ? '' : this.#lastWords()}`);
      this.#timer = setTimeout(() => {
        this.start();
        this.#events.changed();
      }, restartMs);
      return;
    }
    this.#state = 'dead';
    const why = hopeless && this.#options.restart ? `ended ${failuresMax} times without having run and is given up` : `ended (${how})`;
    this.#events.say(this.plan, `${why}${this.#answered ? '' : this.#lastWords()}`);
  }

  // A node that never ran said why in its log.
  #lastWords(): string {
    try {
      const lines = readFileSync(this.logPath).subarray(this.#logFrom).toString('utf8').trimEnd().split('\n').slice(-tailLines);
      return lines.join('') === '' ? '' : `; its last words:\n  ${lines.join('\n  ')}`;
    } catch {
      return '';
    }
  }
}

function openLog(path: string): number {
  try {
    if (statSync(path).size > logBytesMax) truncateSync(path);
  } catch {
    // Not there yet.
  }
  return openSync(path, 'a', 0o600);
}

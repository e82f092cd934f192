// strace as a means of harm: kills a process with SIGKILL right before its N-th call of a kind, makes a
// call fail, or slows it. Counts are per thread, as strace counts. The call that kills is not executed.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface Harm {
  /** One of strace's sets: `fdatasync`, `write,writev`, … */
  readonly calls: string;
  /** `signal=SIGKILL`, `error=EIO`, `delay_enter=300000`. */
  readonly what: string;
  /** `5`: the fifth; `5+`: from the fifth on. */
  readonly when: string;
  /** Only calls on this file. */
  readonly path?: string;
}

function words(h: Harm): string[] {
  const path = h.path === undefined ? [] : ['-P', h.path];
  return ['-f', '-o', '/dev/null', ...path, '-e', `trace=${h.calls}`, '-e', `inject=${h.calls}:${h.what}:when=${h.when}`];
}

/** A command that runs another one harmed from its start; the other one is its process. */
export function underHarm(h: Harm): string[] {
  return ['strace', '-D', '-qq', ...words(h)];
}

/** A harm to a process that runs. */
export class Tracer {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Resolves when all threads are traced; undefined when the process was gone before. */
  static async attach(pid: number, h: Harm): Promise<Tracer | undefined> {
    const child = spawn('strace', ['-p', String(pid), ...words(h)], { stdio: ['ignore', 'ignore', 'pipe'] });
    const attached = new Promise<boolean>((done) => {
      child.once('exit', () => done(false));
      createInterface({ input: child.stderr }).on('line', (line) => {
        if (line.includes('attached')) done(true);
      });
    });
    return (await attached) ? new Tracer(child) : undefined;
  }

  /** The process goes on without harm. */
  async detach(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGINT');
    await exited;
  }
}

// Programs that are not ours, for tests that try a node with them.
import { spawn } from 'node:child_process';
import { within } from './nodes.js';

export interface Ended {
  readonly status: number | null;
  readonly out: string;
}

/** Runs it to its end, or kills it after half a minute and throws. What it says on its error output is shown. */
export async function run(command: string, args: readonly string[]): Promise<Ended> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  try {
    const status = await within(60_000, `${command} ${args.join(' ')} ends`, new Promise<number | null>((done) => child.on('close', done)));
    return { status, out };
  } finally {
    child.kill('SIGKILL');
  }
}

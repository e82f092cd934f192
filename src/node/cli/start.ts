// `starmesh start`: one node in the foreground, until a signal or, under a supervisor, until the pipe
// to the supervisor closes.
import { rmSync } from 'node:fs';
import { join as path } from 'node:path';
import type { PeerTarget } from '#link/api.js';
import { collectAlone } from '#os/collector.js';
import type { RunningNode } from '../start-node.js';
import { readConfig } from './read-config.js';

/** A stop that takes longer is cut off. */
const stopMsMax = 15_000;

export interface StartFlags {
  readonly config?: string;
  readonly supervised?: boolean;
}

/** How long what is left of a stopped or failed node may hold the process. */
const leftoverMsMax = 1000;

/** Resolves with the exit status once the node has stopped; rejects when it cannot start. */
export async function start(flags: StartFlags): Promise<number> {
  try {
    return await run(flags);
  } finally {
    process.stdin.destroy();
    setTimeout(() => process.exit(), leftoverMsMax).unref();
  }
}

async function run(flags: StartFlags): Promise<number> {
  collectAlone();
  const { config, warnings } = readConfig(flags.config);
  const ending = endOfLife(flags.supervised === true);
  void ending.then(cutOff);
  // Everything a node needs is loaded here only: `ctl` must not pay for it.
  const { startNode } = await import('../start-node.js');
  let join: PeerTarget | undefined;
  do {
    const node: RunningNode = await startNode(config, { warnings, ...(join === undefined ? {} : { join }) });
    try {
      join = (await Promise.race([ending, node.failed, node.ended])) ?? undefined;
    } finally {
      await node.stop();
    }
    // It was a cluster of its own, and joins another one.
    if (join !== undefined) emptyDataDirectory(config.node.dataDir);
  } while (join !== undefined);
  return 0;
}

/** What a node of a cluster keeps there. */
function emptyDataDirectory(dataDir: string): void {
  for (const name of ['node.json', 'wal', 'tables', 'sessions']) rmSync(path(dataDir, name), { recursive: true, force: true });
}

// Unreferenced: it only fires when something still holds the process.
function cutOff(): void {
  const timer = setTimeout(() => {
    console.error(`The node did not stop within ${stopMsMax / 1000} s and is cut off.`);
    process.exit(1);
  }, stopMsMax);
  timer.unref();
}

/** Resolves at the first reason to stop; a second signal ends the process at once. */
function endOfLife(supervised: boolean): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (): void => {
      if (asked) process.exit(1);
      asked = true;
      resolve();
    };
    process.on('SIGTERM', onSignal);
    // Ctrl-C in a terminal reaches the whole group; under a supervisor it is the supervisor's to say when.
    // A closed terminal is the same, and without a handler it would be the end at once.
    for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, supervised ? () => {} : onSignal);
    if (!supervised) return;
    process.stdin.on('end', resolve).on('close', resolve).on('error', resolve).resume();
    // Nobody reads our output any more either: writing to a closed pipe must not be the end of us first.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  });
}

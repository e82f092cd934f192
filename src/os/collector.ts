// How V8 collects new objects in a process that is a node. Called by the command line before anything
// else; a program that embeds the database or the broker has flags of its own.
import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';

/** On more processors than these the collector's threads find one that is free. */
const busyProcessorsMax = 2;

/**
 * The collector shares the young generation out to threads and waits for all of them. With few processors
 * they wait for one themselves, and every client waits for them: half a millisecond of work took up to 12.
 * True: the main thread does it alone from now on.
 */
export function collectAlone(processors: number = availableParallelism()): boolean {
  if (processors > busyProcessorsMax) return false;
  setFlagsFromString('--no-parallel-scavenge');
  return true;
}

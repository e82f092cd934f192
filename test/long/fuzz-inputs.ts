// Bytes of strangers before the first MQTT packet: PROXY headers and WebSockets. Millions of inputs from one seed;
// nothing may throw, nothing may take long, and memory may not grow.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Prng } from '#base/prng.js';
import { newTally, type Tally } from './fuzz-bytes.js';
import { fuzzProxy } from './fuzz-proxy.js';
import { WebSocketFuzz } from './fuzz-web-socket.js';

export const fuzzKinds = ['PROXY protocol', 'WebSocket'] as const;
export type FuzzKind = (typeof fuzzKinds)[number];

export interface FuzzResult extends Tally {
  readonly kind: FuzzKind;
  /** From the end of the first tenth to the end of the last, after collections. */
  readonly grownBytes: number;
  readonly ms: number;
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

async function livingBytes(): Promise<number> {
  // What a turn holds is given back in the next ones.
  for (let i = 0; i < 3; i++) {
    await new Promise((done) => setImmediate(done));
    collect();
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Rejects with the first input (in hexadecimal) that does what it must not. */
export async function fuzzInputs(kind: FuzzKind, inputs: number, seed: number): Promise<FuzzResult> {
  const tally = newTally();
  const prng = new Prng(seed).fork(kind);
  const sockets = new WebSocketFuzz();
  const some = (n: number): Promise<void> => (kind === 'WebSocket' ? sockets.run(prng, n, tally) : fuzzProxy(prng, n, tally));
  const begun = performance.now();
  await some(Math.ceil(inputs / 10));
  const before = await livingBytes();
  await some(inputs - Math.ceil(inputs / 10));
  const grownBytes = (await livingBytes()) - before;
  return { ...tally, kind, grownBytes, ms: performance.now() - begun };
}

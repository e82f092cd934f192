// What the fuzzers of the bytes that come before MQTT share: damage, pieces, and the watch over each input.
import type { Prng } from '#base/prng.js';

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export function latin(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** Bytes that parsers look at. */
const telling = [0x00, 0x01, 0x0a, 0x0d, 0x20, 0x3a, 0x7e, 0x7f, 0x80, 0x88, 0x89, 0xfe, 0xff];

const damages: readonly ((bytes: Buffer, prng: Prng) => Uint8Array)[] = [
  (b, p) => changed(b, p, (byte) => byte ^ (1 << p.int(8))),
  (b, p) => changed(b, p, () => p.int(256)),
  (b, p) => changed(b, p, () => p.pick(telling)),
  (b, p) => b.subarray(0, p.int(b.length + 1)),
  (b, p) => {
    const at = p.int(b.length + 1);
    return Buffer.concat([b.subarray(0, at), p.bytes(p.range(1, 8)), b.subarray(at)]);
  },
  (b, p) => {
    const at = p.int(b.length + 1);
    return Buffer.concat([b.subarray(0, at), b.subarray(Math.min(b.length, at + p.range(1, 16)))]);
  },
  (b, p) => {
    const at = p.int(b.length + 1);
    const piece = b.subarray(at, at + p.range(1, 64));
    return Buffer.concat([b.subarray(0, at), ...new Array<Buffer>(p.range(1, 4)).fill(piece), b.subarray(at)]);
  },
];

function changed(bytes: Buffer, prng: Prng, to: (byte: number) => number): Uint8Array {
  const out = Buffer.from(bytes);
  if (out.length > 0) {
    const at = prng.int(out.length);
    out[at] = to(out[at] as number);
  }
  return out;
}

/** One to four kinds of damage. */
export function damaged(bytes: Uint8Array, prng: Prng): Buffer {
  let out = Buffer.from(bytes);
  for (let n = prng.range(1, 4); n > 0; n--) out = Buffer.from(prng.pick(damages)(out, prng));
  return out;
}

/** The same bytes as they may come: at once, one by one, or in pieces. */
export function pieces(bytes: Uint8Array, prng: Prng): Uint8Array[] {
  const kind = prng.int(4);
  if (kind < 2 || bytes.length === 0) return [bytes];
  const most = kind === 2 ? 64 : 3;
  const out: Uint8Array[] = [];
  // Beyond that many it is only more of the same.
  for (let at = 0; at < bytes.length; ) {
    const n = out.length > 200 ? bytes.length : prng.range(1, most);
    out.push(bytes.subarray(at, at + n));
    at += n;
  }
  return out;
}

/** An input that holds the event loop for so long is slow; it is tried again before that is believed: the machine has other things to do. */
export const slowMs = 10;
const triesMax = 5;

/** What a run has seen. */
export interface Tally {
  inputs: number;
  bytes: number;
  slowestMs: number;
  /** Inputs, in hexadecimal. */
  readonly slow: string[];
  readonly verdicts: Map<string, number>;
}

export function newTally(): Tally {
  return { inputs: 0, bytes: 0, slowestMs: 0, slow: [], verdicts: new Map() };
}

/** Of one input: a word for what became of it, and how long the event loop did nothing else. */
export interface Outcome {
  readonly verdict: string;
  readonly ms: number;
}

/** The outcome of `run`, which happens in this call. While another process had the processor, this one held nothing up. */
export function timed(run: () => string): Outcome {
  const begun = performance.now();
  const used = process.cpuUsage();
  const verdict = run();
  const { user, system } = process.cpuUsage(used);
  return { verdict, ms: Math.min(performance.now() - begun, (user + system) / 1_000) };
}

export async function watched(tally: Tally, input: Uint8Array, run: () => Promise<Outcome> | Outcome): Promise<void> {
  tally.inputs++;
  tally.bytes += input.length;
  let took = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < triesMax && took > slowMs; tries++) {
    const answer = run();
    const { verdict, ms } = answer instanceof Promise ? await answer : answer;
    took = Math.min(took, ms);
    if (tries === 0) tally.verdicts.set(verdict, (tally.verdicts.get(verdict) ?? 0) + 1);
  }
  tally.slowestMs = Math.max(tally.slowestMs, took);
  if (took > slowMs && tally.slow.length < 10) tally.slow.push(hex(input));
}

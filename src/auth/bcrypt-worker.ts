// The thread that computes bcrypt (`bcrypt-thread.ts`).
import { parentPort } from 'node:worker_threads';
import bcrypt from 'bcryptjs';
import type { BcryptJob, BcryptReply } from './bcrypt-thread.js';

parentPort?.on('message', (job: BcryptJob & { readonly id: number }) => {
  const reply: BcryptReply = { id: job.id, result: compute(job) };
  parentPort?.postMessage(reply);
});

function compute(job: BcryptJob): boolean | string | undefined {
  try {
    return job.kind === 'compare' ? bcrypt.compareSync(job.password, job.hash) : bcrypt.hashSync(job.password, job.rounds);
  } catch {
    // A hash that is none matches nothing.
    return job.kind === 'compare' ? false : undefined;
  }
}

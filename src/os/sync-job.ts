// What the main thread asks of the sync thread, and its answer. Absolute paths.
//
// Jobs are numbered from 1 on and run in that order. A job's number modulo `slots` is its place in the shared ring: there
// is the file to sync, or `inMessage`, and then the job is the next message of the worker's port. That most jobs, one
// for each round of the log, take neither a message nor a look at an event loop saves half of what they cost.

export type SyncJob =
  | { readonly kind: 'file'; readonly fd: number }
  | { readonly kind: 'dir'; readonly path: string }
  | {
      readonly kind: 'atomic';
      readonly path: string;
      readonly temporary: string;
      readonly dir: string;
      readonly bytes: Uint8Array;
    };

/** In the order of the jobs. A number: done. */
export type SyncReply = 0 | { readonly code: string; readonly message: string };

/** Jobs under way; a power of two. Whoever has more keeps them. */
export const slots = 64;
export const inMessage = -1;

/** Shared memory: how many jobs were given (it wraps around), and the ring. */
export const givenCell = 0;
const ringAt = 1;
export const sharedBytes: number = 4 * (ringAt + slots);

/** Where the job of this number is told. */
export function slotOf(job: number): number {
  return ringAt + (job & (slots - 1));
}

// Watches the room left on the disk of the data directory, and stops the node before there is none:
// what a full disk does to a write in the middle of the tables is nothing to rely on. Started by
// `start-node.ts`; the node starts again once there is room.
import { statfs } from 'node:fs/promises';
import type { Logger } from '#env/logger.js';
import type { Metrics } from '#env/metrics.js';

const MiB = 1_048_576;
/** Below, the node stops. */
const freeBytesMin: number = 32 * MiB;
/** Below, it warns, once until there is room again. */
const freeBytesWarn: number = 512 * MiB;
const lookEveryMs = 500;

export interface DiskWatch {
  stop(): void;
}

/** Rejects when there is too little room already. `onFull` runs at most once. */
export async function watchDisk(
  dir: string,
  env: { readonly log: Logger; readonly metrics: Metrics },
  onFull: (error: Error) => void,
): Promise<DiskWatch> {
  const free = env.metrics.gauge('starmesh_disk_free_bytes', 'Room left on the disk of the data directory');
  let warned = false;
  let over = false;
  const look = async (): Promise<Error | undefined> => {
    const { bavail, bsize } = await statfs(dir);
    free.value = bavail * bsize;
    if (free.value < freeBytesMin)
      return new Error(`the disk of ${dir} is full (${Math.floor(free.value / MiB)} MiB left); make room and start again`);
    if (free.value < freeBytesWarn !== warned) {
      warned = !warned;
      if (warned) env.log.warn('the disk is nearly full', { dir, freeMiB: Math.floor(free.value / MiB) });
    }
    return undefined;
  };
  const full = await look();
  if (full !== undefined) throw full;
  let busy = false;
  const timer = setInterval(() => {
    if (busy || over) return;
    busy = true;
    // A look that fails says nothing about the room; writes will tell.
    look().then(
      (error) => {
        busy = false;
        if (error === undefined || over) return;
        over = true;
        onFull(error);
      },
      () => {
        busy = false;
      },
    );
  }, lookEveryMs);
  timer.unref();
  return {
    stop: () => {
      over = true;
      clearInterval(timer);
    },
  };
}

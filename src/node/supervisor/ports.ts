// Whether the ports of a local cluster are free, told before anything is started.
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const host = '127.0.0.1';
/** Nodes of a supervisor that was just killed need a moment to notice. */
const graceMs = 3000;
const retryMs = 100;

export interface WantedPort {
  readonly port: number;
  readonly use: string;
}

/** The first port that stays taken, or undefined when all are free (now or within a moment). */
export async function takenPort(ports: readonly WantedPort[], waitMs: number = graceMs): Promise<WantedPort | undefined> {
  for (let waited = 0; ; waited += retryMs) {
    const free = await Promise.all(ports.map(({ port }) => isFree(port)));
    const taken = ports.find((_, i) => free[i] === false);
    if (taken === undefined || waited >= waitMs) return taken;
    await sleep(retryMs);
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

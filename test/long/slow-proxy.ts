// A way between nodes that a test can make slow, deaf or dead: connections to it go on to a node, every byte
// after a delay in each direction, or swallowed in one, or held. Order is kept; what is on its way is bounded.
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Beyond, the sender waits: far above what a node has on its way at 250 ms. */
const underWayBytesMax = 64 * 1024 * 1024;

export interface Way {
  /** Each direction. */
  delayMs: number;
  /** What the node sends to those who dialled it is lost. */
  swallowsFromNode: boolean;
  /** What they send to the node is lost. */
  swallowsToNode: boolean;
}

export class SlowProxy {
  readonly way: Way = { delayMs: 0, swallowsFromNode: false, swallowsToNode: false };
  readonly #server: Server;
  readonly #sockets: Set<Socket> = new Set();
  #held = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on `port` and dials `to`, both on loopback. */
  static async open(port: number, to: number): Promise<SlowProxy> {
    const host = '127.0.0.1';
    const server = createServer({ noDelay: true });
    const proxy = new SlowProxy(server);
    server.on('connection', (outside) => {
      const inside = connect({ host, port: to, noDelay: true });
      proxy.#pass(outside, inside, () => proxy.way.swallowsToNode);
      proxy.#pass(inside, outside, () => proxy.way.swallowsFromNode);
    });
    await new Promise<void>((done, reject) => {
      server.once('error', reject);
      server.listen(port, host, done);
    });
    return proxy;
  }

  #pass(from: Socket, to: Socket, swallows: () => boolean): void {
    this.#sockets.add(from);
    if (this.#held) from.pause();
    let underWay = 0;
    from.on('data', (chunk: Buffer) => {
      if (swallows()) return;
      underWay += chunk.length;
      if (underWay > underWayBytesMax) from.pause();
      this.#later(() => {
        underWay -= chunk.length;
        if (from.isPaused() && !this.#held) from.resume();
        if (to.writable) to.write(chunk);
      });
    });
    from.on('error', () => {});
    from.on('close', () => {
      this.#sockets.delete(from);
      this.#later(() => to.destroy());
    });
  }

  #later(then: () => void): void {
    const { delayMs } = this.way;
    // Equal delays fire in the order they were set; a change of the delay comes with new connections.
    if (delayMs === 0) then();
    else setTimeout(then, delayMs);
  }

  /** Nothing goes on in either direction, and no connection ends: as when packets are lost, until `release`. */
  hold(): void {
    this.#held = true;
    for (const s of this.#sockets) s.pause();
  }

  /** What was held goes on, in order. */
  release(): void {
    this.#held = false;
    for (const s of this.#sockets) s.resume();
  }

  /** All connections end now; new ones are taken. */
  reset(): void {
    for (const s of this.#sockets) s.destroy();
  }

  async close(): Promise<void> {
    this.reset();
    await new Promise((done) => this.#server.close(done));
  }
}

// One simulated TCP connection: two endpoints and a pipe in each direction. Made by sim-net.ts.
// A pipe takes bytes from its endpoint up to a window (the buffers of both operating systems),
// carries them as segments with a delay each, and hands them over in order. A cut stalls it; a
// stall that lasts too long resets the endpoint that waits. The death of one end reaches the other
// only through the network: an endpoint whose peer is gone stays half-open while the way is cut.
import { assert } from '#base/assert.js';
import { crc32c } from '#base/crc32c.js';
import { Deque } from '#base/deque.js';
import type { Prng } from '#base/prng.js';
import { type Connection, type ConnectionHandler, type NetAddress, NetError } from '#env/net.js';
import { eventKinds, type Scheduled, type Scope, type World } from './scheduler.js';

type Segment =
  | { readonly kind: 'data'; readonly bytes: Uint8Array; readonly crc: number; arriveAt: number }
  | { readonly kind: 'fin'; arriveAt: number };

const windowBytes = 256 * 1024;
const highWatermarkBytes = 64 * 1024;
/** Lent bytes lie there in memory that is filled with the other afterwards. */
const lentFrom = 5;
const overwritten = 0xee;
export interface NetFaults {
  /** Chance that a written piece travels as two segments. */
  splitChance: number;
  /** Chance that segments which are due together come as one chunk. */
  mergeChance: number;
  /** Chance, per delivered segment, that the connection breaks instead. */
  resetChance: number;
  /** How long an end waits for acknowledgements across a cut before it gives up: from, to. */
  stallResetMs: readonly [number, number];
  /** After a heal, held segments come within this. */
  retransmitMs: number;
}

/** What a connection asks of the network that it belongs to (sim-net.ts). */
export interface Fabric {
  readonly world: World;
  readonly prng: Prng;
  readonly faults: NetFaults;
  readonly checkOwnership: boolean;
  readonly stalledPipes: Set<SimPipe>;
  bytesDelivered: number;
  /** A number for a node's name: what happens per segment compares numbers. */
  idOf(nodeName: string): number;
  isCut(from: number, to: number): boolean;
  arrivalTime(from: number, to: number, size: number): number;
  /** A reset packet: lost when the way is cut. */
  sendReset(from: SimConnection, to: SimConnection): void;
  resetBoth(end: SimConnection): void;
  /** The end is closed. */
  forget(end: SimConnection): void;
}

/** The bytes on their way from `from` to `to`. */
export class SimPipe {
  readonly net: Fabric;
  readonly from: SimConnection;
  readonly to: SimConnection;
  /** Written, not yet taken by the operating system. */
  readonly pending: Deque<{ readonly bytes: Uint8Array; readonly crc: number; at: number }> = new Deque<{
    readonly bytes: Uint8Array;
    readonly crc: number;
    at: number;
  }>();
  readonly #flight = new Deque<Segment>();
  pendingBytes = 0;
  #windowUsed = 0;
  /** Consumed by the receiver while its acknowledgements could not come back. */
  #unacknowledged = 0;
  #lastArrival: number;
  #finQueued = false;
  #arrival: Scheduled | undefined;
  #stallTimer: Scheduled | undefined;
  stalled = false;
  readonly #onArrival = (): void => {
    this.#arrival = undefined;
    this.arrive();
  };

  /** `notBefore`: when the receiver hears of the connection. */
  constructor(net: Fabric, from: SimConnection, to: SimConnection, notBefore: number) {
    this.net = net;
    this.from = from;
    this.to = to;
    this.#lastArrival = notBefore;
  }

  write(bytes: Uint8Array): void {
    const { net } = this;
    // The usual case: nothing waits, and all of it fits.
    if (!net.checkOwnership && this.pending.length === 0 && bytes.length <= windowBytes - this.#windowUsed) return this.#send(bytes);
    this.pending.push({ bytes, crc: net.checkOwnership ? crc32c(bytes) : 0, at: 0 });
    this.pendingBytes += bytes.length;
    this.take();
  }

  /** The operating system has it: it travels as one segment or two. */
  #send(piece: Uint8Array): void {
    const { net } = this;
    const size = piece.length;
    this.#windowUsed += size;
    const cut = size > 1 && net.prng.chance(net.faults.splitChance) ? 1 + net.prng.int(size - 1) : size;
    this.#depart(cut === size ? piece : piece.subarray(0, cut));
    if (cut < size) this.#depart(piece.subarray(cut));
  }

  /** Takes what fits into the window. */
  take(): void {
    const { net } = this;
    for (let next = this.pending.peek(); next !== undefined && this.#windowUsed < windowBytes; next = this.pending.peek()) {
      if (net.checkOwnership && next.at === 0) assert(crc32c(next.bytes) === next.crc, 'bytes were changed after they were handed to a connection');
      const size = Math.min(next.bytes.length - next.at, windowBytes - this.#windowUsed);
      const piece = size === next.bytes.length ? next.bytes : next.bytes.subarray(next.at, next.at + size);
      next.at += size;
      if (next.at === next.bytes.length) this.pending.shift();
      this.pendingBytes -= size;
      this.#send(piece);
    }
    if (this.from.ending && this.pending.length === 0 && !this.#finQueued) {
      this.#finQueued = true;
      this.#enqueue({ kind: 'fin', arriveAt: this.#arriveAt(0) });
    }
  }

  #depart(bytes: Uint8Array): void {
    const { net } = this;
    this.#enqueue({ kind: 'data', bytes, crc: net.checkOwnership ? crc32c(bytes) : 0, arriveAt: this.#arriveAt(bytes.length) });
  }

  #arriveAt(size: number): number {
    const at = this.net.arrivalTime(this.from.nodeId, this.to.nodeId, size);
    this.#lastArrival = Math.max(this.#lastArrival, at);
    return this.#lastArrival;
  }

  #enqueue(segment: Segment): void {
    this.#flight.push(segment);
    if (this.#flight.length === 1) this.#schedule();
  }

  #schedule(): void {
    const head = this.#flight.peek();
    if (head === undefined || this.stalled || this.#arrival !== undefined) return;
    // The receiving process's scope: a paused process reads nothing, and its buffers fill.
    this.#arrival = this.net.world.at(head.arriveAt, this.#onArrival, this.to.closed ? undefined : this.to.scope, eventKinds.data);
  }

  /** The receiver reads again: in an event of its own what is there by now. */
  resumed(): void {
    if (this.#flight.length > 0) this.net.world.after(0, () => this.arrive(), this.to.scope, eventKinds.data);
  }

  /** Hands over what has arrived; called when the head is due, after a heal and when the receiver resumes. */
  arrive(): void {
    const { net, to } = this;
    if (this.#flight.length === 0 || this.#arrival !== undefined) return;
    if (net.isCut(this.from.nodeId, to.nodeId)) {
      this.#stall();
      return;
    }
    if (to.closed) {
      // Nobody is there any more: the host answers with a reset.
      this.#flight.clear();
      net.sendReset(to, this.from);
      return;
    }
    if (to.paused) return;
    const head = this.#flight.peek() as Segment;
    if (head.arriveAt > net.world.now) {
      this.#schedule();
      return;
    }
    if (head.kind === 'data' && net.prng.chance(net.faults.resetChance)) {
      net.resetBoth(this.from);
      return;
    }
    this.#flight.shift();
    if (head.kind === 'fin') {
      to.finished();
      return;
    }
    this.#deliver(this.#merged(head));
    if (!to.paused) this.#schedule();
  }

  /** Segments that lie behind the first and are due too may come as one chunk; where ownership is checked a Buffer, as from a real socket. */
  #merged(head: Segment & { readonly kind: 'data' }): Uint8Array {
    const { net } = this;
    const behind = this.#flight.peek();
    // The usual case. Whoever wrote the bytes gave them away, so the receiver may have them as they are.
    if (!net.checkOwnership && (behind?.kind !== 'data' || behind.arriveAt > net.world.now)) return head.bytes;
    const parts: Uint8Array[] = [];
    let segment: (Segment & { readonly kind: 'data' }) | undefined = head;
    while (segment !== undefined) {
      if (net.checkOwnership) assert(crc32c(segment.bytes) === segment.crc, 'bytes were changed after they were handed to a connection');
      parts.push(segment.bytes);
      const next = this.#flight.peek();
      if (next?.kind !== 'data' || next.arriveAt > net.world.now || !net.prng.chance(net.faults.mergeChance)) break;
      this.#flight.shift();
      segment = next;
    }
    return Buffer.concat(parts);
  }

  #deliver(chunk: Uint8Array): void {
    const { net } = this;
    if (net.isCut(this.to.nodeId, this.from.nodeId)) {
      this.#unacknowledged += chunk.length;
      this.#armStallTimer();
      net.stalledPipes.add(this);
    } else this.#free(chunk.length);
    net.world.trace(chunk.length);
    net.bytesDelivered += chunk.length;
    this.to.deliver(chunk);
  }

  #free(bytes: number): void {
    this.#windowUsed -= bytes;
    if (this.pending.length > 0) this.take();
    if (this.from.wantsDrain && this.pending.length === 0) this.from.drained();
  }

  #stall(): void {
    if (this.stalled) return;
    this.stalled = true;
    this.net.stalledPipes.add(this);
    this.#armStallTimer();
  }

  #armStallTimer(): void {
    const { net, from } = this;
    if (this.#stallTimer !== undefined || from.closed) return;
    const [low, high] = net.faults.stallResetMs;
    this.#stallTimer = net.world.after(low + net.prng.next() * (high - low), () =>
      from.die(new NetError('ETIMEDOUT', 'no acknowledgement from the peer')),
    );
  }

  /** The way is open again: what was held is sent once more. */
  healed(): void {
    const { net } = this;
    if (net.isCut(this.from.nodeId, this.to.nodeId)) return;
    // Still one-way: bytes may pass, acknowledgements not.
    if (!net.isCut(this.to.nodeId, this.from.nodeId)) {
      net.stalledPipes.delete(this);
      this.#stallTimer?.cancel();
      this.#stallTimer = undefined;
      const freed = this.#unacknowledged;
      this.#unacknowledged = 0;
      if (freed > 0) this.#free(freed);
    }
    if (!this.stalled) return;
    this.stalled = false;
    const again = net.world.now + net.prng.next() * net.faults.retransmitMs;
    for (let i = 0; i < this.#flight.length; i++) {
      const segment = this.#flight.at(i) as Segment;
      if (segment.arriveAt < again) segment.arriveAt = again;
    }
    if (this.#lastArrival < again) this.#lastArrival = again;
    this.#schedule();
  }

  /** The sending end is gone; `abort` drops what is on its way too. */
  abandon(abort: boolean): void {
    this.pending.clear();
    this.pendingBytes = 0;
    this.#stallTimer?.cancel();
    this.#stallTimer = undefined;
    if (!abort) return;
    this.#flight.clear();
    this.#arrival?.cancel();
    this.#arrival = undefined;
    this.net.stalledPipes.delete(this);
  }

  /** The receiving process is gone: what arrives from now on is the host's business. */
  receiverGone(): void {
    this.#arrival?.cancel();
    this.#arrival = undefined;
    this.#schedule();
  }
}

/** One end of a connection, in the process `scope` of node `nodeName`. */
export class SimConnection implements Connection {
  readonly remote: NetAddress;
  readonly nodeName: string;
  readonly nodeId: number;
  readonly scope: Scope;
  handler: ConnectionHandler | undefined;
  out: SimPipe | undefined;
  in: SimPipe | undefined;
  paused = false;
  ending = false;
  /** No callbacks any more but the one `onClose` that may still be scheduled. */
  closed = false;
  wantsDrain = false;
  readonly #net: Fabric;
  #closeError: NetError | undefined;
  #closeHeard = false;

  constructor(net: Fabric, nodeName: string, scope: Scope, remote: NetAddress) {
    this.#net = net;
    this.nodeName = nodeName;
    this.nodeId = net.idOf(nodeName);
    this.scope = scope;
    this.remote = remote;
  }

  get bufferedBytes(): number {
    return this.out?.pendingBytes ?? 0;
  }

  write(bytes: Uint8Array): boolean {
    const pipe = this.out;
    if (this.closed || this.ending || pipe === undefined) return false;
    if (bytes.length > 0) {
      pipe.write(bytes);
    }
    if (pipe.pendingBytes <= highWatermarkBytes) return true;
    this.wantsDrain = true;
    return false;
  }

  /** All bytes were taken. Runs inside an event of the peer, so the drain is an event of its own. */
  drained(): void {
    this.wantsDrain = false;
    this.#net.world.after(
      0,
      () => {
        if (!this.closed) this.handler?.onDrain();
      },
      this.scope,
      eventKinds.data,
    );
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.in?.resumed();
  }

  end(): void {
    if (this.closed || this.ending) return;
    this.ending = true;
    this.out?.take();
  }

  destroy(): void {
    if (this.closed) return;
    this.#hangUp();
    this.#scheduleClose();
  }

  deliver(chunk: Uint8Array): void {
    if (this.closed) return;
    const { handler } = this;
    if (handler?.onLent === undefined) {
      handler?.onData(chunk);
      return;
    }
    // Somewhere in memory that is written over afterwards, as where a socket is read into.
    const lent = new Uint8Array(chunk.length + lentFrom);
    lent.set(chunk, lentFrom);
    handler.onLent(lent, lentFrom, lent.length);
    lent.fill(overwritten);
  }

  /** The peer's orderly end arrived after all its bytes. */
  finished(): void {
    if (this.closed) return;
    this.end();
    this.closed = true;
    this.#net.forget(this);
    this.tellClose();
  }

  /** The connection broke: `onClose` with the error, nothing is told to the peer. */
  die(error: NetError): void {
    if (this.closed) return;
    this.closed = true;
    this.#closeError = error;
    this.out?.abandon(true);
    this.#net.forget(this);
    this.#scheduleClose();
  }

  /** The process was killed: its kernel ends the connection. No callback. */
  killed(): void {
    if (this.closed) return;
    this.#hangUp();
    this.in?.receiverGone();
  }

  /** The host lost power: silence. No callback. */
  vanish(): void {
    if (this.closed) return;
    this.closed = true;
    this.out?.abandon(true);
    this.in?.receiverGone();
    this.#net.forget(this);
  }

  /** Closes this end; the peer hears of it by an end after the data or by a reset, as chance has it. */
  #hangUp(): void {
    const net = this.#net;
    const pipe = this.out;
    this.closed = true;
    net.forget(this);
    if (pipe === undefined) return;
    if (net.prng.chance(0.5)) {
      pipe.abandon(false);
      this.ending = true;
      pipe.take();
      return;
    }
    pipe.abandon(true);
    net.sendReset(this, pipe.to);
  }

  /** The one `onClose`. */
  tellClose(): void {
    if (this.#closeHeard || this.handler === undefined) return;
    this.#closeHeard = true;
    this.handler.onClose(this.#closeError);
  }

  #scheduleClose(): void {
    this.#net.world.after(0, () => this.tellClose(), this.scope, eventKinds.close);
  }
}

// One lane of a link that is up: an authenticated connection with frames on it. It gathers what a
// turn sends into one write, keeps its buffer within bounds, says something at least every
// `quietPingMs`, and notices when the peer is silent. Owned by link.ts.
import { assert } from '#base/assert.js';
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Connection, ConnectionHandler, NetError } from '#env/net.js';
import type { DownReason, Lane, SendResult } from './api.js';
import { FrameDecoder, FrameWriter, frameOverheadBytes, frameTypes } from './frame.js';
import type { ReadyLane } from './handshaking.js';
import type { LaneCounters } from './link-metrics.js';
import type { LinkLimits } from './options.js';

/** What a bye frame says. */
const byeReasons: readonly DownReason[] = ['closed', 'replaced', 'protocol'];

export interface LaneOwner {
  onLaneFrame(lane: LaneConnection, type: number, payload: Uint8Array): void;
  onLaneBroken(lane: LaneConnection, reason: DownReason, detail: string): void;
  onLaneDrained(lane: LaneConnection): void;
  onRoundTrip(ms: number): void;
}

export class LaneConnection implements ConnectionHandler {
  readonly lane: Lane;
  readonly #clock: Clock;
  readonly #limits: LinkLimits;
  readonly #bufferMax: number;
  readonly #connection: Connection;
  readonly #counters: LaneCounters;
  readonly #owner: LaneOwner;
  readonly #writer: FrameWriter;
  readonly #decoder: FrameDecoder;
  readonly #flush: () => void;
  #flushDue = false;
  #pongDue: Uint8Array | undefined;
  #wantsDrain = false;
  /** The transport took the last write and asked for no more. */
  #writable = true;
  #open = true;
  #started = false;
  #linger: Timer | undefined;
  #gone: (() => void) | undefined;
  paused = false;
  lastHeardAt: number;
  #lastSentAt: number;
  /** When something but signs of life was sent or heard. */
  #lastUsedAt: number = Number.NEGATIVE_INFINITY;
  #lastPingAt: number = Number.NEGATIVE_INFINITY;

  constructor(lane: Lane, ready: ReadyLane, clock: Clock, limits: LinkLimits, counters: LaneCounters, owner: LaneOwner) {
    this.lane = lane;
    this.#clock = clock;
    this.#limits = limits;
    this.#bufferMax = limits.laneBufferBytesMax[lane];
    this.#connection = ready.connection;
    this.#counters = counters;
    this.#owner = owner;
    this.#writer = new FrameWriter(ready.writeSeed);
    this.#decoder = new FrameDecoder(ready.readSeed, limits.frameBytesMax, (type, payload) => this.#onFrame(type, payload));
    this.#decoder.hold();
    this.#flush = () => this.#flushNow();
    this.lastHeardAt = this.#lastSentAt = clock.now();
    if (ready.rest.length > 0) this.#decoder.push(ready.rest);
    ready.handshaking.next = this;
  }

  /** Begins to read. Frames may come during this call. */
  start(): void {
    this.#started = true;
    if (this.paused || !this.#open) return;
    this.#connection.resume();
    this.#releaseDecoder();
  }

  /** Bytes that have not left this process. */
  get backlogBytes(): number {
    return this.#open ? this.#writer.length + this.#connection.bufferedBytes : 0;
  }

  /** A frame of type data; the bytes are copied. `shared`: see `Links.send`. */
  send(frame: Uint8Array, shared: Uint8Array = emptyBytes): SendResult {
    return this.sendAs(frameTypes.data, emptyBytes, frame, shared);
  }

  sendAs(type: number, head: Uint8Array, body: Uint8Array, shared: Uint8Array = emptyBytes): SendResult {
    if (!this.#open) return 'down';
    const bytes = head.length + body.length + shared.length;
    assert(bytes <= this.#limits.frameBytesMax, 'a frame is within the bound of its lane');
    const backlog = this.backlogBytes;
    if (backlog > 0 && backlog + bytes + frameOverheadBytes > this.#bufferMax) {
      this.#wantsDrain = true;
      this.#counters.framesRefused.value++;
      return 'full';
    }
    // Good enough, and no look at the clock.
    this.#lastUsedAt = this.#lastSentAt;
    this.control(type, head, body, shared);
    return 'sent';
  }

  /** A frame that the buffer's bound does not concern: small, or bounded by the caller. */
  control(type: number, head: Uint8Array, body: Uint8Array, shared: Uint8Array = emptyBytes): void {
    if (!this.#open) return;
    this.#writer.frame(type, head, body, shared);
    this.#counters.framesSent.value++;
    this.#scheduleFlush();
  }

  pause(): void {
    if (this.paused || !this.#open) return;
    this.paused = true;
    this.#decoder.hold();
    if (this.#started) this.#connection.pause();
  }

  resume(): void {
    if (!this.paused || !this.#open) return;
    this.paused = false;
    // What the peer sent meanwhile could not be heard.
    this.lastHeardAt = this.#clock.now();
    if (!this.#started) return;
    this.#connection.resume();
    // Not inside the caller: frames come in a turn of their own.
    this.#clock.endOfTurn(() => {
      if (!this.paused) this.#releaseDecoder();
    });
  }

  /**
   * Called every `pingIntervalMs`. `measure`: whether the round trip is wanted; where both ends want it seldom, either
   * end's pings are signs of life for the other. `times`: what the bounds of quiet and silence are multiplied by.
   */
  tick(now: number, measure: 'often' | 'seldom' | undefined, times: number): void {
    if (!this.#open) return;
    const { quietPingMs, pingIntervalMs, silenceMs } = this.#limits;
    // One that is in use and silent may be gone; it answers at once if it is not.
    const missed = measure === 'often' && this.inUse(now) && now - this.lastHeardAt >= pingIntervalMs / 2;
    const quietMs = quietPingMs * times * 0.9;
    const unmeasuredMs = measure === 'often' ? quietMs : measure === 'seldom' ? 2 * quietMs : Number.POSITIVE_INFINITY;
    if (missed || now - this.#lastSentAt >= quietMs || now - this.#lastPingAt >= unmeasuredMs) {
      this.#lastPingAt = now;
      const w = new ByteWriter(8);
      w.f64(now);
      this.control(frameTypes.ping, emptyBytes, w.view());
    }
    if (this.#wantsDrain) this.#tellDrain();
    if (!this.paused && now - this.lastHeardAt > silenceMs * times) this.#owner.onLaneBroken(this, 'silent', 'nothing was heard');
  }

  /** This process stood still: the peer is not to blame. */
  excuse(ms: number): void {
    this.lastHeardAt += ms;
  }

  /** Says why and closes, sending what is buffered first; `abort` drops it. Nothing is told to the owner. */
  /** Something but signs of life went either way not long ago. */
  inUse(now: number): boolean {
    return now - this.#lastUsedAt <= this.#limits.silenceMs;
  }

  close(reason: DownReason, abort: boolean, gone?: () => void): void {
    if (!this.#open) {
      if (gone !== undefined) this.#clock.endOfTurn(gone);
      return;
    }
    this.#gone = gone;
    if (!abort) {
      const said = reason === 'local' ? 'closed' : reason;
      this.control(frameTypes.bye, emptyBytes, Uint8Array.of(Math.max(0, byeReasons.indexOf(said))));
      this.#flushNow();
    }
    this.#open = false;
    this.#decoder.hold();
    if (abort) {
      this.#connection.destroy();
      return;
    }
    this.#connection.end();
    const connection = this.#connection;
    this.#linger = this.#clock.setTimer(this.#limits.lingerMs, () => {
      this.#counters.closesCut.value++;
      connection.destroy();
    });
  }

  onData(chunk: Uint8Array): void {
    if (!this.#open) return;
    this.lastHeardAt = this.#clock.now();
    this.#counters.bytesReceived.value += chunk.length;
    // A plain array, not Node's own kind: whoever takes frames apart sees one kind only, and views of it cost a fifth.
    const plain = Object.getPrototypeOf(chunk) === Uint8Array.prototype ? chunk : new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length);
    const fault = this.#decoder.push(plain);
    if (fault !== undefined) this.#owner.onLaneBroken(this, 'protocol', fault);
  }

  onDrain(): void {
    this.#writable = true;
    if (this.#open && this.#wantsDrain) this.#tellDrain();
  }

  onClose(error: NetError | undefined): void {
    this.#linger?.cancel();
    this.#gone?.();
    this.#gone = undefined;
    if (!this.#open) return;
    this.#open = false;
    this.#owner.onLaneBroken(this, error?.code === 'ETIMEDOUT' ? 'silent' : 'closed', error?.code ?? 'the peer closed the connection');
  }

  #releaseDecoder(): void {
    if (!this.#open) return;
    const fault = this.#decoder.release();
    if (fault !== undefined && this.#open) this.#owner.onLaneBroken(this, 'protocol', fault);
  }

  #onFrame(type: number, payload: Uint8Array): void {
    if (!this.#open) return;
    this.#counters.framesReceived.value++;
    if (type === frameTypes.data || type > frameTypes.bye) {
      this.#lastUsedAt = this.lastHeardAt;
      this.#owner.onLaneFrame(this, type, payload);
    } else if (type === frameTypes.ping && payload.length === 8) {
      // One answer a turn, whatever the number of pings.
      this.#pongDue = copyBytes(payload);
      this.#scheduleFlush();
    } else if (type === frameTypes.pong && payload.length === 8) {
      const ms = this.#clock.now() - new ByteReader(payload).f64();
      if (ms >= 0 && ms < 10 * this.#limits.silenceMs) this.#owner.onRoundTrip(ms);
    } else if (type === frameTypes.bye && payload.length === 1) {
      this.#owner.onLaneBroken(this, byeReasons[payload[0] as number] ?? 'closed', 'the peer said goodbye');
    } else {
      this.#owner.onLaneBroken(this, 'protocol', 'unknown frame');
    }
  }

  #scheduleFlush(): void {
    if (this.#flushDue) return;
    this.#flushDue = true;
    this.#clock.endOfTurn(this.#flush);
  }

  #flushNow(): void {
    this.#flushDue = false;
    if (!this.#open) return;
    if (this.#pongDue !== undefined) {
      this.#writer.frame(frameTypes.pong, emptyBytes, this.#pongDue);
      this.#counters.framesSent.value++;
      this.#pongDue = undefined;
    }
    if (this.#writer.length === 0) return;
    this.#counters.bytesSent.value += this.#writer.length;
    for (const part of this.#writer.take()) this.#writable = this.#connection.write(part);
    this.#lastSentAt = this.#clock.now();
    if (this.#wantsDrain && this.#writable) this.#tellDrain();
  }

  /** Half of the buffer is free again, or all of it left: the sender may go on. */
  #tellDrain(): void {
    if (this.backlogBytes > this.#bufferMax / 2) return;
    this.#wantsDrain = false;
    this.#owner.onLaneDrained(this);
  }
}

// Requests and replies on the rpc lanes. One object for all links of a node: it owns the methods we
// serve, the calls that wait for an answer, and their deadlines (one timer for all of them).
// Invariant: `done` of a call runs exactly once, never inside `call` itself.
import { assert } from '#base/assert.js';
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { Heap } from '#base/heap.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Clock, Timer } from '#env/clock.js';
import type { PeerHello, RpcFailure, RpcReply } from './api.js';
import { frameTypes } from './frame.js';
import type { LaneConnection } from './lane.js';
import type { LinkCounters } from './link-metrics.js';
import type { LinkLimits } from './options.js';

export type RpcHandler = (from: PeerHello, body: Uint8Array, reply: RpcReply) => void;
export type RpcDone = (failure: RpcFailure | undefined, body: Uint8Array) => void;

interface Call {
  readonly id: number;
  readonly peer: RpcPeer;
  readonly deadline: number;
  /** Undefined once it has run. */
  done: RpcDone | undefined;
}

/** What of a link is the business of calls. */
export class RpcPeer {
  readonly lane: LaneConnection;
  readonly hello: () => PeerHello;
  readonly calls: Map<number, Call> = new Map();
  nextId = 1;
  serving = 0;

  constructor(lane: LaneConnection, hello: () => PeerHello) {
    this.lane = lane;
    this.hello = hello;
  }
}

const statusOk = 0;
const statusRefused = 1;
const messageCharsMax = 1_000;

export class Rpc {
  readonly #clock: Clock;
  readonly #limits: LinkLimits;
  readonly #counters: LinkCounters;
  readonly #handlers = new Map<string, RpcHandler>();
  readonly #head = new ByteWriter(64);
  #deadlines = newHeap();
  #outstanding = 0;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, limits: LinkLimits, counters: LinkCounters) {
    this.#clock = clock;
    this.#limits = limits;
    this.#counters = counters;
  }

  handle(method: string, handler: RpcHandler): void {
    assert(!this.#handlers.has(method), `a method is served once: ${method}`);
    this.#handlers.set(method, handler);
  }

  /** `peer` undefined: no link is up. */
  call(peer: RpcPeer | undefined, method: string, body: Uint8Array, deadlineMs: number, done: RpcDone): void {
    if (peer === undefined) {
      this.#failLater(done, 'down');
      return;
    }
    if (peer.calls.size >= this.#limits.rpcOutstandingMax) {
      this.#counters.rpcFull.value++;
      this.#failLater(done, 'full');
      return;
    }
    const deadline = this.#clock.now() + Math.min(deadlineMs, this.#limits.rpcAnswerMsMax);
    const call: Call = { id: peer.nextId, peer, deadline, done };
    const head = this.#head;
    head.reset();
    head.varint(call.id);
    head.string(method);
    const sent = peer.lane.sendAs(frameTypes.request, head.view(), body);
    if (sent !== 'sent') {
      if (sent === 'full') this.#counters.rpcFull.value++;
      this.#failLater(done, sent);
      return;
    }
    peer.nextId++;
    peer.calls.set(call.id, call);
    this.#outstanding++;
    this.#deadlines.push(call);
    this.#arm();
  }

  /** False when the frame is malformed. */
  onFrame(peer: RpcPeer, type: number, payload: Uint8Array): boolean {
    try {
      const r = new ByteReader(payload);
      const id = r.varint();
      if (type === frameTypes.request) this.#onRequest(peer, id, r.string(), r.raw(r.remaining));
      else this.#onReply(peer, id, r.u8(), r.raw(r.remaining));
      return true;
    } catch (error) {
      if (error instanceof MalformedError) return false;
      throw error;
    }
  }

  /** The link is down: every call to it fails. */
  onDown(peer: RpcPeer): void {
    for (const call of [...peer.calls.values()]) this.#finish(call, { kind: 'down' }, emptyBytes);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #failLater(done: RpcDone, kind: 'down' | 'full'): void {
    this.#clock.endOfTurn(() => done({ kind }, emptyBytes));
  }

  #onRequest(peer: RpcPeer, id: number, method: string, body: Uint8Array): void {
    const handler = this.#handlers.get(method);
    if (handler === undefined) {
      this.#reply(peer, id, `unknown method ${method}`, emptyBytes);
      return;
    }
    if (peer.serving >= this.#limits.rpcOutstandingMax) {
      this.#counters.rpcRefused.value++;
      this.#reply(peer, id, 'too many requests at once', emptyBytes);
      return;
    }
    peer.serving++;
    let replied = false;
    const reply: RpcReply = (error, result) => {
      assert(!replied, 'a request is answered once');
      replied = true;
      peer.serving--;
      this.#reply(peer, id, error, result ?? emptyBytes);
    };
    try {
      handler(peer.hello(), body, reply);
    } catch (error) {
      // A body that the method cannot read concerns this request alone.
      if (!(error instanceof MalformedError) || replied) throw error;
      reply(`malformed request: ${error.message}`);
    }
  }

  #reply(peer: RpcPeer, id: number, error: string | undefined, body: Uint8Array): void {
    // A reply that does not fit would leave the caller waiting, so replies may take twice the buffer.
    if (peer.lane.backlogBytes > 2 * this.#limits.laneBufferBytesMax.rpc) {
      this.#counters.rpcRepliesDropped.value++;
      return;
    }
    assert(body.length < this.#limits.frameBytesMax - 16, 'a reply is within the bound of a frame');
    const head = this.#head;
    head.reset();
    head.varint(id);
    head.u8(error === undefined ? statusOk : statusRefused);
    peer.lane.control(frameTypes.reply, head.view(), error === undefined ? body : utf8Encode(error.slice(0, messageCharsMax)));
  }

  #onReply(peer: RpcPeer, id: number, status: number, body: Uint8Array): void {
    const call = peer.calls.get(id);
    // It was given up at its deadline.
    if (call === undefined) return;
    if (status === statusOk) this.#finish(call, undefined, body);
    else if (status === statusRefused) this.#finish(call, { kind: 'refused', message: utf8Decode(body) ?? '' }, emptyBytes);
    else throw new MalformedError('unknown status of a reply');
  }

  #finish(call: Call, failure: RpcFailure | undefined, body: Uint8Array): void {
    const { done } = call;
    if (done === undefined) return;
    call.done = undefined;
    call.peer.calls.delete(call.id);
    this.#outstanding--;
    // Answered calls stay in the heap until their deadline; not too many of them.
    if (this.#deadlines.length > 2 * this.#outstanding + 1_024) this.#compact();
    done(failure, body);
  }

  #compact(): void {
    const live = newHeap();
    for (let call = this.#deadlines.pop(); call !== undefined; call = this.#deadlines.pop()) if (call.done !== undefined) live.push(call);
    this.#deadlines = live;
  }

  #arm(): void {
    const next = this.#deadlines.peek();
    if (next === undefined || next.deadline >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = next.deadline;
    this.#timer = this.#clock.setTimer(Math.max(0, next.deadline - this.#clock.now()), () => this.#onTimer());
  }

  #onTimer(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    for (let call = this.#deadlines.peek(); call !== undefined; call = this.#deadlines.peek()) {
      if (call.done !== undefined) {
        if (call.deadline > now) break;
        this.#deadlines.pop();
        this.#counters.rpcTimeouts.value++;
        this.#finish(call, { kind: 'timeout' }, emptyBytes);
      } else this.#deadlines.pop();
    }
    this.#arm();
  }
}

function newHeap(): Heap<Call> {
  return new Heap<Call>((a, b) => a.deadline < b.deadline);
}

// The receiving end of the forward lane: reads the frames of other nodes, hands each message to the
// broker at most once, and acknowledges what was taken. forward.ts owns it and hears the answers to
// its own frames from it.
//
// Bytes that are no frame silence their peer until its link is new. An acknowledgement that the lane
// does not take is owed, and sent when the lane drains.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Clock } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Links, PeerHello } from '#link/api.js';
import type { Message } from '#session/message.js';
import { type AddressRead, frameKind, readMessage, readNumber } from './forward-frame.js';
import { ReceiveState } from './forward-window.js';
import type { Keeping, SharedAddress } from './ports.js';

const none: readonly number[] = [];

/** Streams of one node that are remembered: its current run, and one before that may still be on its way. */
const streamsMax = 2;

interface Source {
  ignored: boolean;
  readonly streams: Map<number, ReceiveState>;
  /** A stream whose acknowledgement the lane did not take. */
  owed: number | undefined;
  /** Acknowledgements that wait for the disk: later ones wait behind them. */
  waiting: number;
}

export class ForwardReceiver {
  keeping: Keeping | undefined = undefined;
  receive: (message: Message, to?: SharedAddress) => boolean = () => false;
  readonly #address: AddressRead = { to: undefined };
  readonly #clock: Clock;
  readonly #links: Links;
  readonly #onAnswer: (from: PeerHello, kind: number, r: ByteReader) => void;
  readonly #sources: Map<string, Source> = new Map();
  readonly #ackWriter: ByteWriter = new ByteWriter(64);
  readonly #received: Counter;
  readonly #duplicates: Counter;
  readonly #malformed: Counter;

  /** `onAnswer` reads the rest of a frame that is not a message; it may throw MalformedError. */
  constructor(clock: Clock, metrics: Metrics, links: Links, onAnswer: (from: PeerHello, kind: number, r: ByteReader) => void) {
    this.#clock = clock;
    this.#links = links;
    this.#onAnswer = onAnswer;
    this.#received = metrics.counter('starmesh_forward_received_total', 'Messages taken from other nodes');
    this.#duplicates = metrics.counter('starmesh_forward_duplicates_total', 'Messages that were sent again and had been taken before');
    this.#malformed = metrics.counter('starmesh_forward_malformed_total', 'Frames of other nodes that could not be read');
  }

  connected(peer: PeerHello): void {
    const source = this.#sources.get(peer.nodeId);
    if (source === undefined) return;
    source.ignored = false;
    source.owed = undefined;
    for (const stream of source.streams.values()) stream.reconnected();
  }

  drained(peer: PeerHello): void {
    const source = this.#sources.get(peer.nodeId);
    if (source?.owed === undefined) return;
    const stream = source.owed;
    source.owed = undefined;
    const confirmed = source.streams.get(stream)?.confirmed ?? 0;
    this.#acknowledge(peer, source, stream, confirmed, confirmed, []);
  }

  read(from: PeerHello, frame: Uint8Array): void {
    let source = this.#sources.get(from.nodeId);
    if (source === undefined) {
      source = { ignored: false, streams: new Map(), owed: undefined, waiting: 0 };
      this.#sources.set(from.nodeId, source);
    }
    if (source.ignored) return;
    try {
      this.#read(from, source, new ByteReader(frame));
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#malformed.value++;
      source.ignored = true;
    }
  }

  #read(from: PeerHello, source: Source, r: ByteReader): void {
    const kind = r.u8();
    if (kind === frameKind.loose) {
      const now = this.#clock.now();
      while (r.remaining > 0) {
        const message = readMessage(r, now, this.#address);
        this.#received.value++;
        this.receive(message, this.#address.to);
      }
    } else if (kind === frameKind.reliable) this.#readReliable(from, source, r);
    else this.#onAnswer(from, kind, r);
  }

  #readReliable(from: PeerHello, source: Source, r: ByteReader): void {
    const stream = readNumber(r);
    const state = streamOf(source, stream);
    state.begin(readNumber(r));
    const first = readNumber(r);
    const count = r.u32();
    const now = this.#clock.now();
    const bits: boolean[] = [];
    const { keeping } = this;
    /** Of those that a persistent session has got: they are answered for when they are on disk. */
    let written: number[] | undefined;
    for (let i = 0; i < count; i++) {
      const message = readMessage(r, now, this.#address);
      const { to } = this.#address;
      const verdict = state.take(first + i);
      if (verdict === 'gap') {
        if (state.reportGap()) this.#reportGap(from, stream, state.next);
        break;
      }
      if (verdict === 'old') this.#duplicates.value++;
      else this.#received.value++;
      const before = keeping?.position ?? 0;
      // Whether a duplicate had a receiver the first time is not remembered, but for those of groups: assume so.
      const taken = verdict === 'old' ? !state.wasRefused(first + i) : this.receive(message, to);
      if (!taken && to !== undefined && verdict === 'new') state.refuse(first + i, 'no receiver');
      if (keeping === undefined || keeping.position === before) bits.push(taken);
      else if (keeping.refusedSince(before)) {
        // This one alone: who has got the others of the frame keeps them.
        state.refuse(first + i, 'unkept');
        bits.push(false);
      } else {
        bits.push(taken);
        written ??= [];
        written.push(first + i);
      }
    }
    const { next } = state;
    if (keeping === undefined || (written === undefined && source.waiting === 0)) {
      state.confirmed = next;
      this.#acknowledge(from, source, stream, next, first, bits);
      return;
    }
    source.waiting++;
    // Also a frame of which everything was refused waits for those before it: its acknowledgement stands for theirs.
    keeping.kept(keeping.position, (kept) => {
      source.waiting--;
      if (!kept) for (const number of written ?? none) this.#unkept(state, number, first, bits);
      state.confirmed = Math.max(state.confirmed, next);
      this.#acknowledge(from, source, stream, next, first, bits);
    });
  }

  #unkept(state: ReceiveState, number: number, first: number, bits: boolean[]): void {
    state.refuse(number, 'unkept');
    bits[number - first] = false;
  }

  #acknowledge(to: PeerHello, source: Source, stream: number, next: number, first: number, bits: readonly boolean[]): void {
    const state = source.streams.get(stream);
    const refused = state?.firstRefused;
    if (state !== undefined && refused !== undefined && refused < first) {
      // An earlier acknowledgement may not have left: this one stands for it.
      const before: boolean[] = [];
      for (let number = refused; number < first; number++) before.push(!state.wasRefused(number));
      bits = [...before, ...bits];
      first = refused;
    }
    const w = this.#ackWriter;
    w.reset();
    w.u8(frameKind.ack);
    w.f64(stream);
    w.f64(next);
    w.f64(first);
    w.u32(bits.length);
    for (let i = 0; i < bits.length; i += 8) {
      let byte = 0;
      for (let k = 0; k < 8; k++) if (bits[i + k] === true) byte |= 1 << k;
      w.u8(byte);
    }
    if (state !== undefined && refused !== undefined) writeUnkept(w, state, first, bits.length);
    if (this.#links.send(to.nodeId, 'forward', w.view()) === 'full') source.owed = stream;
  }

  #reportGap(to: PeerHello, stream: number, next: number): void {
    const w = new ByteWriter(32);
    w.u8(frameKind.gap);
    w.f64(stream);
    w.f64(next);
    this.#links.send(to.nodeId, 'forward', w.view());
  }
}

/** Which of the numbers could not be kept. Nothing when there are none. */
function writeUnkept(w: ByteWriter, state: ReceiveState, first: number, count: number): void {
  let any = false;
  for (let i = 0; i < count && !any; i++) any = state.isUnkept(first + i);
  if (!any) return;
  w.u8(1);
  for (let i = 0; i < count; i += 8) {
    let byte = 0;
    for (let k = 0; k < 8; k++) if (state.isUnkept(first + i + k)) byte |= 1 << k;
    w.u8(byte);
  }
}

function streamOf(source: Source, stream: number): ReceiveState {
  let state = source.streams.get(stream);
  if (state !== undefined) return state;
  if (source.streams.size >= streamsMax) {
    const oldest = source.streams.keys().next();
    if (oldest.done !== true) source.streams.delete(oldest.value);
  }
  state = new ReceiveState();
  source.streams.set(stream, state);
  return state;
}

// Messages to and from the other nodes (broker.md, Forwarding): implements Forwarder over the links'
// lane `forward`. Per destination and turn one frame for QoS 0 and one for QoS 1/2. The receiving
// side (forward-receiver.ts) hands messages to the broker, which delivers locally and never routes again.
//
// QoS 0: dropped and counted when the lane is down or full. QoS 1/2: kept in a SendWindow until the
// destination took them or is lost: its process is dead, it was fenced, it has a new incarnation, or
// `ackDeadlineMs` passed. A stream is one run of this process (a random number, so that a restart can
// never look like the old run), which holds across renewals of the incarnation.
import { type ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Database } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Metrics } from '#env/metrics.js';
import type { Random } from '#env/random.js';
import type { Links, PeerHello } from '#link/api.js';
import type { Message } from '#session/message.js';
import { Destination, type Totals } from './forward-destination.js';
import { frameKind, patchFloor, readNumber, writeMessage, writeReliableHeader } from './forward-frame.js';
import { ForwardProbes } from './forward-probes.js';
import { ForwardReceiver } from './forward-receiver.js';
import type { PendingForward } from './forward-window.js';
import { NodeOutcomes } from './outcomes.js';
import type { Forwarder, ForwardOutcome, Keeping, RemoteTarget, SharedAddress } from './ports.js';
import { routeTable } from './schema.js';

export interface ForwardOptions {
  /** Window per destination; beyond it publishers are not read. */
  readonly windowBytesMax: number;
  readonly windowMessagesMax: number;
  /** What comes in spite of that is kept up to so many windows, then lost and counted. */
  readonly overshoot: number;
  /** The window must fall to this share before publishers are read again. */
  readonly relief: number;
  readonly ackDeadlineMs: number;
  /** A frame is sent before the turn ends when it has grown to this. */
  readonly frameBytesMax: number;
  /** Longer messages are not forwarded: the links refuse frames above 16 MiB. */
  readonly messageBytesMax: number;
  readonly tickMs: number;
}

const MiB = 1024 * 1024;

export const forwardDefaults: ForwardOptions = {
  windowBytesMax: 16 * MiB,
  windowMessagesMax: 100_000,
  overshoot: 4,
  relief: 0.75,
  ackDeadlineMs: 5_000,
  frameBytesMax: MiB / 4,
  messageBytesMax: 15 * MiB,
  tickMs: 250,
};

/** Writers that grew beyond are not kept. */
const idleWriterBytesMax = MiB;
const countAt = 25;

export interface ForwardEnv {
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
}

class Publish implements PendingForward {
  #open: number;
  #matched = false;
  #lost = false;
  #unkept = false;
  readonly #done: ((outcome: ForwardOutcome, matched: boolean) => void) | undefined;

  constructor(open: number, done: ((outcome: ForwardOutcome, matched: boolean) => void) | undefined) {
    this.#open = open;
    this.#done = done;
  }

  settle(matched: boolean, lost: boolean, unkept: boolean): void {
    if (matched) this.#matched = true;
    if (lost) this.#lost = true;
    if (unkept) this.#unkept = true;
    if (--this.#open === 0) this.#done?.(this.#unkept ? 'refused' : this.#lost ? 'lost' : 'accepted', this.#matched);
  }
}

export class NodeForwarder implements Forwarder {
  readonly #clock: Clock;
  readonly #links: Links;
  readonly #db: Database;
  readonly #options: ForwardOptions;
  readonly #stream: number;
  readonly outcomes: NodeOutcomes;
  readonly #destinations: Map<string, Destination> = new Map();
  readonly #receiver: ForwardReceiver;
  readonly #probes: ForwardProbes;
  #dirty: Destination[] = [];
  #scheduled = false;
  #congested = 0;
  readonly #relief: (() => void)[] = [];
  #timer: Timer | undefined;
  readonly #metrics: Metrics;
  readonly #totals: Totals;

  constructor(env: ForwardEnv, links: Links, db: Database, options: Partial<ForwardOptions> = {}) {
    this.#clock = env.clock;
    this.#links = links;
    this.#db = db;
    this.#options = { ...forwardDefaults, ...options };
    this.#stream = 1 + env.random.int(2 ** 25) * 2 ** 26 + env.random.int(2 ** 26);
    this.outcomes = new NodeOutcomes(env.clock, links, db.nodeId, this.#stream);
    const { metrics } = env;
    this.#metrics = metrics;
    this.#totals = {
      sent: metrics.counter('starmesh_forward_sent_total', 'Messages handed to the links for other nodes'),
      dropped: metrics.counter('starmesh_forward_dropped_total', 'QoS 0 messages dropped because a node was out of reach or its lane full'),
      lost: metrics.counter('starmesh_forward_lost_total', 'QoS 1 and 2 messages given up because their destination was lost'),
    };
    this.#receiver = new ForwardReceiver(env.clock, metrics, links, (from, kind, r) => this.#onAnswer(from, kind, r));
    this.#probes = new ForwardProbes(env.clock, metrics, links);
    links.onFrame('forward', (from, frame) => this.#receiver.read(from, frame));
    links.listen({
      onUp: (peer) => this.#onUp(peer),
      onDown: (peer) => this.#onDown(peer),
      onDead: (peer) => this.#onDead(peer),
      onChange: (peer) => this.#onChange(peer),
      onDrain: (peer, lane) => {
        if (lane === 'forward') this.#onDrain(peer);
      },
    });
  }

  get congested(): boolean {
    return this.#congested > 0;
  }

  onRelief(listener: () => void): void {
    this.#relief.push(listener);
  }

  onMessage(receive: (message: Message, to?: SharedAddress) => boolean): void {
    this.#receiver.receive = receive;
  }

  forward(message: Message, targets: readonly RemoteTarget[], done?: (outcome: ForwardOutcome, matched: boolean) => void): void {
    if (message.qos === 0) this.#forwardLoose(message, targets);
    else if (targets.length > 0) this.#forwardReliable(message, targets, new Publish(targets.length, done));
    else done?.('accepted', false);
  }

  forwardTo(message: Message, target: RemoteTarget, to: SharedAddress, done?: (outcome: ForwardOutcome, matched: boolean) => void): void {
    if (message.qos === 0) this.#forwardLoose(message, [target], to);
    else this.#forwardReliable(message, [target], new Publish(1, done), to);
  }

  reachable(target: RemoteTarget): boolean {
    return this.#destination(target.nodeId).up;
  }

  /** What other nodes' messages have to wait for before they are acknowledged. */
  set keeping(keeping: Keeping) {
    this.#receiver.keeping = keeping;
  }

  /** `done`: all that other nodes had forwarded here before this call was taken (bounded). */
  arrived(done: () => void): void {
    this.#probes.arrived(done);
  }

  arrivedOf(origins: ReadonlySet<number>, done: () => void): void {
    const live = new Set<number>();
    for (const origin of origins) if (origin !== this.#db.incarnation && this.#db.isLive(routeTable.shard, origin)) live.add(origin);
    this.#probes.arrivedOf(live, done);
  }

  /** The incarnation was fenced: what is on its way to it is lost. */
  purged(nodeId: string, incarnation: number): void {
    this.#probes.gone(incarnation);
    const d = this.#destinations.get(nodeId);
    if (d === undefined || (d.incarnation !== incarnation && d.incarnation !== 0)) return;
    this.#lose(d);
    // One that was ever sent to is kept for its numbers: if it lives, it would take those of a new count for duplicates.
    if (!d.up && !d.dirty && d.window.next === 1) this.#destinations.delete(nodeId);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.outcomes.close();
  }

  // ---- sending ----

  #forwardLoose(message: Message, targets: readonly RemoteTarget[], to?: SharedAddress): void {
    let encoded: Uint8Array | undefined;
    for (let i = 0; i < targets.length; i++) {
      const d = this.#destination((targets[i] as RemoteTarget).nodeId);
      if (!d.up || d.full || message.payload.length > this.#options.messageBytesMax) {
        d.dropped.add(1);
        continue;
      }
      if (d.loose.length >= this.#options.frameBytesMax) this.#flushLoose(d);
      if (d.loose.length === 0) d.loose.u8(frameKind.loose);
      encoded = this.#append(d.loose, message, encoded, to);
      d.looseMessages++;
      this.#markDirty(d);
    }
  }

  #forwardReliable(message: Message, targets: readonly RemoteTarget[], publish: Publish, to?: SharedAddress): void {
    let encoded: Uint8Array | undefined;
    for (let i = 0; i < targets.length; i++) {
      const d = this.#destination((targets[i] as RemoteTarget).nodeId);
      if (d.dead || this.#overflows(d) || message.payload.length > this.#options.messageBytesMax) {
        d.lost.add(1);
        publish.settle(false, true, false);
        continue;
      }
      if (d.reliable.length >= this.#options.frameBytesMax) this.#flushReliable(d);
      if (d.reliable.length === 0) writeReliableHeader(d.reliable, this.#stream, 0, d.window.next, 0);
      encoded = this.#append(d.reliable, message, encoded, to);
      d.pending.push(publish);
      this.#markDirty(d);
    }
  }

  /** Encodes for the first destination, copies for the others. The result is valid until `w` is written again. */
  #append(w: ByteWriter, message: Message, encoded: Uint8Array | undefined, to: SharedAddress | undefined): Uint8Array {
    if (encoded !== undefined) {
      w.raw(encoded);
      return encoded;
    }
    const start = w.length;
    writeMessage(w, message, this.#clock.now(), to);
    return w.bytes.subarray(start, w.length);
  }

  #overflows(d: Destination): boolean {
    const { windowBytesMax, windowMessagesMax, overshoot } = this.#options;
    return d.window.bytes + d.reliable.length >= overshoot * windowBytesMax || d.window.messages + d.pending.length >= overshoot * windowMessagesMax;
  }

  #markDirty(d: Destination): void {
    if (!d.dirty) {
      d.dirty = true;
      this.#dirty.push(d);
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.endOfTurn(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const d of dirty) {
      d.dirty = false;
      this.#flushLoose(d);
      this.#flushReliable(d);
    }
  }

  #flushLoose(d: Destination): void {
    if (d.looseMessages === 0) return;
    const result = d.up ? this.#links.send(d.nodeId, 'forward', d.loose.view()) : 'down';
    if (result === 'sent') d.sent.add(d.looseMessages);
    else d.dropped.add(d.looseMessages);
    if (result === 'full') d.full = true;
    d.looseMessages = 0;
    d.loose = recycled(d.loose);
  }

  #flushReliable(d: Destination): void {
    if (d.pending.length === 0) return;
    d.reliable.patchU32(countAt, d.pending.length);
    d.sent.add(d.pending.length);
    d.window.push(d.reliable.finish(), d.pending, this.#clock.now());
    d.pending = [];
    d.reliable = recycled(d.reliable);
    this.#measure(d);
    this.#pump(d);
    this.#timer ??= this.#clock.setTimer(this.#options.tickMs, () => this.#tick());
  }

  #pump(d: Destination): void {
    while (d.up && !d.full) {
      const frame = d.window.unsent();
      if (frame === undefined) {
        this.#answerProbe(d);
        return;
      }
      patchFloor(frame, d.window.floor);
      const result = this.#links.send(d.nodeId, 'forward', frame);
      if (result === 'sent') d.window.markSent();
      else if (result === 'full') d.full = true;
      else return;
    }
  }

  #answerProbe(d: Destination): void {
    if (d.probe === 0) return;
    const w = new ByteWriter(16);
    w.u8(frameKind.probed);
    w.f64(d.probe);
    const result = this.#links.send(d.nodeId, 'forward', w.view());
    if (result === 'sent') d.probe = 0;
    else if (result === 'full') d.full = true;
  }

  #measure(d: Destination): void {
    const { windowBytesMax, windowMessagesMax, relief } = this.#options;
    const share = Math.max(d.window.bytes / windowBytesMax, d.window.messages / windowMessagesMax);
    if (!d.congested && share >= 1) {
      d.congested = true;
      this.#congested++;
    } else if (d.congested && share <= relief) {
      d.congested = false;
      if (--this.#congested === 0) for (const listener of this.#relief) listener();
    }
  }

  #lose(d: Destination, since: number = Number.POSITIVE_INFINITY): void {
    if (since === Number.POSITIVE_INFINITY) this.#flushReliable(d);
    d.lost.add(d.window.giveUp(since));
    this.#measure(d);
  }

  #tick(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    let open = false;
    for (const d of this.#destinations.values()) {
      if (d.window.empty) continue;
      const hello = this.#links.peer(d.nodeId);
      const renewed = hello !== undefined && d.incarnation !== 0 && hello.incarnation !== d.incarnation;
      if (renewed) d.incarnation = hello.incarnation;
      const fenced = d.incarnation !== 0 && !this.#db.isLive(routeTable.shard, d.incarnation);
      if (renewed || fenced) this.#lose(d);
      else this.#lose(d, now - this.#options.ackDeadlineMs);
      if (!d.window.empty) open = true;
    }
    if (open) this.#timer ??= this.#clock.setTimer(this.#options.tickMs, () => this.#tick());
  }

  #destination(nodeId: string): Destination {
    let d = this.#destinations.get(nodeId);
    if (d === undefined) {
      const hello = this.#links.peer(nodeId);
      d = new Destination(nodeId, hello?.name ?? nodeId, this.#metrics, this.#totals);
      d.up = hello !== undefined;
      d.incarnation = hello?.incarnation ?? 0;
      this.#destinations.set(nodeId, d);
    }
    return d;
  }

  // ---- links ----

  #onUp(peer: PeerHello): void {
    this.#receiver.connected(peer);
    const d = this.#destination(peer.nodeId);
    if (d.incarnation !== 0 && peer.incarnation !== d.incarnation) this.#lose(d);
    d.incarnation = peer.incarnation;
    d.up = true;
    d.dead = false;
    d.full = false;
    d.probe = 0;
    d.window.rewind();
    this.#pump(d);
    this.#probes.connected(peer);
  }

  #onDown(peer: PeerHello): void {
    const d = this.#destinations.get(peer.nodeId);
    if (d === undefined) return;
    d.up = false;
    d.full = false;
    d.window.rewind();
  }

  #onDead(peer: PeerHello): void {
    const d = this.#destination(peer.nodeId);
    d.up = false;
    d.dead = true;
    this.#lose(d);
  }

  /** What waits was meant for the old incarnation; what comes from now on must not be given up for that. */
  #onChange(peer: PeerHello): void {
    const d = this.#destinations.get(peer.nodeId);
    if (d === undefined || peer.incarnation === d.incarnation) return;
    if (d.incarnation !== 0) this.#lose(d);
    d.incarnation = peer.incarnation;
  }

  #onDrain(peer: PeerHello): void {
    this.#receiver.drained(peer);
    const d = this.#destinations.get(peer.nodeId);
    if (d === undefined) return;
    d.full = false;
    this.#pump(d);
  }

  // ---- answers ----

  #onAnswer(from: PeerHello, kind: number, r: ByteReader): void {
    if (kind === frameKind.ack) this.#readAck(from, r);
    else if (kind === frameKind.gap) this.#readGap(from, r);
    else if (kind === frameKind.probe) this.#readProbe(from, r);
    else if (kind === frameKind.probed) this.#probes.answered(from, readNumber(r));
    else throw new MalformedError('kind of a forward frame');
  }

  #readProbe(from: PeerHello, r: ByteReader): void {
    const token = readNumber(r);
    const d = this.#destination(from.nodeId);
    this.#flushLoose(d);
    this.#flushReliable(d);
    d.probe = Math.max(d.probe, token);
    this.#pump(d);
  }

  #readGap(from: PeerHello, r: ByteReader): void {
    const d = this.#destinations.get(from.nodeId);
    const stream = readNumber(r);
    const next = readNumber(r);
    if (d === undefined || stream !== this.#stream) return;
    d.window.rewind(next);
    this.#pump(d);
  }

  #readAck(from: PeerHello, r: ByteReader): void {
    const stream = readNumber(r);
    const next = readNumber(r);
    const first = readNumber(r);
    const count = r.u32();
    const bits = r.raw(Math.ceil(count / 8));
    const d = this.#destinations.get(from.nodeId);
    // An answer to an earlier run of this node says nothing about this one.
    if (d === undefined || stream !== this.#stream) return;
    if (next > d.window.next) throw new MalformedError('acknowledgement of what was not sent');
    // An older node has no second list, and keeps nothing on disk.
    const unkept = r.remaining > 0 && r.u8() === 1 ? r.raw(bits.length) : undefined;
    const inside = (number: number): boolean => number >= first && number < first + count;
    d.window.acknowledge(
      next,
      (number) => !inside(number) || bitOf(bits, number - first),
      (number) => unkept !== undefined && inside(number) && bitOf(unkept, number - first),
    );
    this.#measure(d);
  }
}

function bitOf(bits: Uint8Array, i: number): boolean {
  return (((bits[i >> 3] as number) >> (i & 7)) & 1) === 1;
}

function recycled(w: ByteWriter): ByteWriter {
  if (w.bytes.length > idleWriterBytesMax) return new ByteWriter(4096);
  w.reset();
  return w;
}

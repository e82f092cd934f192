// The lane `raft`: messages of all shards' Raft machines, how far each core's (and its replicants')
// feeds have come, for the leader to know what is effective, and the leases of all nodes. Signs of life of
// all shards that are due together are one frame per pair of nodes, and so are their answers (`gather`).
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Links, PeerHello } from '#link/api.js';
import { decodeMessage, encodeMessage, endingData } from '#raft/codec.js';
import type { RaftMessage } from '#raft/types.js';
import { leaseCodes } from './lease-codec.js';

export interface RaftReceiver {
  raftMessage(from: string, message: RaftMessage): void;
  /** A core reports: everything up to `index` is seen on it and on its normal replicants. */
  visibleReport(from: string, index: number): void;
  /** The leader has somebody who waits until everything up to `index` is seen. */
  reportWanted(from: string, index: number): void;
}

const codes = { raft: 1, visible: 2, beats: 5, wanted: 6 } as const;

/** Heartbeats gathered for one node: the frame so far. A bound of its size is the number of shards. */
interface Beats {
  readonly w: ByteWriter;
  count: number;
}

export class RaftTransport {
  readonly #links: Links;
  readonly #receivers: Map<string, RaftReceiver> = new Map();
  readonly #w: ByteWriter = new ByteWriter(4096);
  readonly #message: ByteWriter = new ByteWriter(64);
  readonly #beats: Map<string, Beats> = new Map();
  #gathering = false;
  readonly #malformed: Counter;
  /** A frame of the leases, after its code. */
  onLeases: (from: string, code: number, frame: ByteReader) => void = () => {};

  constructor(links: Links, metrics: Metrics) {
    this.#links = links;
    this.#malformed = metrics.counter(
      'starmesh_raft_malformed_frames_total',
      'Frames of Raft that did not parse, or that the version agreed on does not have',
    );
    links.onFrame('raft', (from, frame) => this.#receive(from, frame));
  }

  register(shard: string, receiver: RaftReceiver): void {
    this.#receivers.set(shard, receiver);
  }

  /** Heartbeats and their answers that `work` sends go as one frame to each node when it is done. */
  gather(work: () => void): void {
    if (this.#gathering) return work();
    this.#gathering = true;
    work();
    this.#gathering = false;
    for (const [to, beats] of this.#beats) {
      if (beats.count > 0) this.#links.send(to, 'raft', beats.w.view());
      // Nobody had a sign of life for it this time: it may be gone for good.
      else this.#beats.delete(to);
      beats.count = 0;
    }
  }

  #gathered(to: string, shard: string, message: RaftMessage): void {
    let beats = this.#beats.get(to);
    if (beats === undefined) {
      beats = { w: new ByteWriter(256), count: 0 };
      this.#beats.set(to, beats);
    }
    if (beats.count++ === 0) {
      beats.w.reset();
      beats.w.u8(codes.beats);
    }
    this.#message.reset();
    encodeMessage(this.#message, message);
    beats.w.string(shard);
    beats.w.blob(this.#message.view());
  }

  send(to: string, shard: string, message: RaftMessage): void {
    const beat = message.type === 'heartbeat' || message.type === 'heartbeatResponse';
    if (this.#gathering && beat && this.#links.speaks(to, 'gatheredBeats')) return this.#gathered(to, shard, message);
    const w = this.#w;
    w.reset();
    w.u8(codes.raft);
    w.string(shard);
    const data = endingData(message);
    encodeMessage(w, message, data);
    // A full or closed lane loses the message, which Raft expects.
    this.#links.send(to, 'raft', w.view(), data);
  }

  sendVisible(to: string, shard: string, index: number): void {
    this.#sendIndex(codes.visible, to, shard, index);
  }

  /** To one who speaks `wantedReports`. */
  sendWanted(to: string, shard: string, index: number): void {
    this.#sendIndex(codes.wanted, to, shard, index);
  }

  #sendIndex(code: number, to: string, shard: string, index: number): void {
    const w = this.#w;
    w.reset();
    w.u8(code);
    w.string(shard);
    w.varint(index);
    this.#links.send(to, 'raft', w.view());
  }

  #receive(from: PeerHello, frame: Uint8Array): void {
    try {
      const r = new ByteReader(frame);
      const code = r.u8();
      if (code === leaseCodes.request || code === leaseCodes.grant) return this.onLeases(from.nodeId, code, r);
      if (code === codes.beats && this.#links.speaks(from.nodeId, 'gatheredBeats')) return this.gather(() => this.#receiveBeats(from.nodeId, r));
      const receiver = this.#receivers.get(r.string());
      if (receiver === undefined) return;
      if (code === codes.raft) receiver.raftMessage(from.nodeId, decodeMessage(r));
      else if (code === codes.visible) receiver.visibleReport(from.nodeId, r.varint());
      else if (code === codes.wanted) receiver.reportWanted(from.nodeId, r.varint());
      else this.#malformed.value++;
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#malformed.value++;
    }
  }

  #receiveBeats(from: string, r: ByteReader): void {
    try {
      while (r.remaining > 0) {
        const receiver = this.#receivers.get(r.string());
        const message = r.blob();
        receiver?.raftMessage(from, decodeMessage(new ByteReader(message)));
      }
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#malformed.value++;
    }
  }
}

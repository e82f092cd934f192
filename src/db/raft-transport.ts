// The lane `raft`: messages of all shards' Raft machines, how far each core's (and its replicants')
// feeds have come, for the leader to know what is effective, and the leases of all nodes.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Links, PeerHello } from '#link/api.js';
import { decodeMessage, encodeMessage } from '#raft/codec.js';
import type { RaftMessage } from '#raft/types.js';
import { leaseCodes } from './lease-codec.js';

export interface RaftReceiver {
  raftMessage(from: string, message: RaftMessage): void;
  /** A core reports: everything up to `index` is seen on it and on its normal replicants. */
  visibleReport(from: string, index: number): void;
}

const codes = { raft: 1, visible: 2 } as const;

export class RaftTransport {
  readonly #links: Links;
  readonly #receivers: Map<string, RaftReceiver> = new Map();
  readonly #w: ByteWriter = new ByteWriter(4096);
  /** Frames of shards this node does not know, or that did not parse. */
  malformed = 0;
  /** A frame of the leases, after its code. */
  onLeases: (from: string, code: number, frame: ByteReader) => void = () => {};

  constructor(links: Links) {
    this.#links = links;
    links.onFrame('raft', (from, frame) => this.#receive(from, frame));
  }

  register(shard: string, receiver: RaftReceiver): void {
    this.#receivers.set(shard, receiver);
  }

  send(to: string, shard: string, message: RaftMessage): void {
    const w = this.#w;
    w.reset();
    w.u8(codes.raft);
    w.string(shard);
    encodeMessage(w, message);
    // A full or closed lane loses the message, which Raft expects.
    this.#links.send(to, 'raft', w.view());
  }

  sendVisible(to: string, shard: string, index: number): void {
    const w = this.#w;
    w.reset();
    w.u8(codes.visible);
    w.string(shard);
    w.varint(index);
    this.#links.send(to, 'raft', w.view());
  }

  #receive(from: PeerHello, frame: Uint8Array): void {
    try {
      const r = new ByteReader(frame);
      const code = r.u8();
      if (code === leaseCodes.request || code === leaseCodes.grant) return this.onLeases(from.nodeId, code, r);
      const receiver = this.#receivers.get(r.string());
      if (receiver === undefined) return;
      if (code === codes.raft) receiver.raftMessage(from.nodeId, decodeMessage(r));
      else if (code === codes.visible) receiver.visibleReport(from.nodeId, r.varint());
      else this.malformed++;
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.malformed++;
    }
  }
}

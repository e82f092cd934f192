// The watch over the node's memory with all that it moves: a broker, its clients, and memory that is what they
// take up. Time and memory are the test's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Memory, MemorySample } from '#env/memory.js';
import { relieve } from '#listener/relief.js';
import { MemoryWatch, type MemoryWatchOptions } from '#node/memory-watch.js';
import { MqttBench } from './mqtt-bench.js';

const MiB = 1_048_576;

/** What clients take up, as much as is said beside it, and garbage that a collection takes away. */
class ClientMemory implements Memory {
  readonly availableBytes: number = 100 * MiB;
  readonly heapLimitBytes: number = 4_000 * MiB;
  readonly #bench: MqttBench;
  restBytes = 20 * MiB;
  garbageBytes = 0;
  collections = 0;

  constructor(bench: MqttBench) {
    this.#bench = bench;
  }

  sample(): MemorySample {
    let bytes = this.restBytes + this.garbageBytes;
    for (const connection of this.#bench.listener.connections) bytes += connection.held(false);
    return { residentBytes: bytes, heapBytes: 10 * MiB, bufferBytes: bytes - 10 * MiB };
  }

  collect(): void {
    this.collections++;
    this.garbageBytes = 0;
  }
}

class Watched {
  readonly bench: MqttBench;
  readonly memory: ClientMemory;
  readonly watch: MemoryWatch;
  readonly levels: string[] = [];

  constructor(options: Partial<MemoryWatchOptions> = {}) {
    this.bench = new MqttBench({ listener: { outputBytesMax: 64 * MiB, sendTimeoutMs: 600_000 } });
    this.memory = new ClientMemory(this.bench);
    const { broker, listener } = this.bench;
    const listeners = {
      shortMemory: (short: boolean, refuseNew: boolean) => listener.shortMemory(short, refuseNew),
      readSlow: (count: number) => listener.readSlow(count),
      relieve: (bytes: number, patient: boolean) => relieve([...listener.connections], bytes, patient),
      lookAfter: (bytes: number, look: () => void) => {
        listener.lookAtBytes = listener.metrics.bytesReceived.value + bytes;
        listener.look = look;
      },
    };
    this.watch = new MemoryWatch(broker.env, this.memory, { broker, listeners }, { watermark: { part: 0.5 }, refuseNew: true, ...options });
    this.watch.onLevel = (status, before) => void this.levels.push(`${before} > ${status.level}`);
    this.watch.start();
  }
}

test('clients that do not read take up memory until the watermark says no; others notice nothing', () => {
  const { bench, memory, watch, levels } = new Watched();
  const mutes = Array.from({ length: 10 }, () => bench.connect());
  for (const mute of mutes) {
    mute.subscribe('flood');
    mute.net.taking = false;
  }
  const readers = [bench.connect(), bench.connect()];
  for (const reader of readers) reader.subscribe('flood');
  const publisher = bench.connect();
  const text = '.'.repeat(100_000);
  let most = 0;
  for (let i = 0; i < 300; i++) {
    publisher.publish('flood', text);
    bench.clock.advance(10);
    most = Math.max(most, memory.sample().residentBytes);
  }
  assert.equal(watch.watermarkBytes, 50 * MiB);
  assert.ok(most > 38 * MiB && most < 50 * MiB, `${most / MiB} MiB`);
  assert.deepEqual(levels.slice(0, 1), ['normal > high']);
  for (const reader of readers) assert.equal(reader.take().length, 300);
  // As they are held to 64 KB each there is nobody to be cut off; the rest of the node takes what is left.
  memory.restBytes = 30 * MiB;
  bench.clock.advance(1_000);
  assert.ok(mutes.some((m) => m.net.closed));
  assert.ok(memory.sample().residentBytes < 45 * MiB);
  assert.deepEqual(
    [...readers, publisher].map((c) => c.net.closed),
    [false, false, false],
  );
  assert.equal(bench.metrics.read('starmesh_overload_cut_clients_total'), mutes.filter((m) => m.net.closed).length);
  memory.restBytes = 10 * MiB;
  for (const mute of mutes) mute.drop();
  bench.clock.advance(20_000);
  assert.equal(watch.status.level, 'normal');
  assert.deepEqual(levels.slice(-2), ['critical > high', 'high > normal']);
  assert.equal(bench.connect().connack?.reasonCode, 0);
});

test('garbage is collected before anybody has to suffer', () => {
  const { bench, memory, watch, levels } = new Watched();
  bench.clock.advance(1_000);
  memory.garbageBytes = 29 * MiB;
  bench.clock.advance(1_000);
  assert.equal(memory.collections, 1);
  assert.equal(watch.status.level, 'normal');
  assert.deepEqual(levels, []);
  assert.equal(bench.metrics.read('emqx_overload_protection_gc'), 1);
});

test('memory is looked at by the bytes that come, too: a turn of the event loop may bring very many', () => {
  const { bench, memory, watch } = new Watched();
  bench.clock.advance(1_000);
  const client = bench.connect();
  memory.restBytes = 45 * MiB;
  client.publish('nobody', '.'.repeat(700_000));
  client.publish('nobody', '.'.repeat(700_000));
  assert.equal(watch.status.level, 'normal', 'no time has passed, and little has come');
  for (let i = 0; i < 3; i++) client.publish('nobody', '.'.repeat(700_000));
  assert.equal(watch.status.level, 'critical');
});

test('what it does is over with the watch', () => {
  const { bench, memory, watch } = new Watched();
  watch.stop();
  memory.restBytes = 49 * MiB;
  bench.clock.advance(10_000);
  assert.equal(watch.status.level, 'normal');
});

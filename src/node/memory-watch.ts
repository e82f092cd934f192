// Looks at the memory of this process some times a second and does what `broker/overload.ts` decides: tells the
// broker and the listeners how short memory is, collects garbage, has clients cut off. Made by
// `create-node.ts` where the world can say how much memory there is; runs while clients are served.
import type { Broker } from '#broker/broker.js';
import { MemoryUse } from '#broker/memory-use.js';
import { levelNames, Overload, type OverloadEffect, type OverloadOptions, overloadDefaults } from '#broker/overload.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Memory } from '#env/memory.js';
import type { Counter } from '#env/metrics.js';
import type { Listeners } from '#listener/listeners.js';

export interface MemoryWatchOptions extends Partial<OverloadOptions> {
  readonly watermark: Watermark;
  /** `overload_protection.backoff_new_conn`. */
  readonly refuseNew: boolean;
}

/** What is asked of the listeners. */
export type WatchedListeners = Pick<Listeners, 'shortMemory' | 'lookAfter' | 'readSlow' | 'relieve'>;

/** A part of what the process may use, or bytes. */
export type Watermark = { readonly part: number } | { readonly bytes: number };

export interface OverloadStatus {
  /** `normal`, `high`, `critical`, `full`. */
  readonly level: string;
  readonly usedBytes: number;
  readonly watermarkBytes: number;
}

const MiB = 1_048_576;
/** So many of those that are read slowly are read so often: some 20 MiB a second. */
const readSlowMax = 64;
const readEveryMs = 200;

export class MemoryWatch {
  /** Told of every change of the level. */
  onLevel: ((status: OverloadStatus, before: string) => void) | undefined = undefined;
  readonly watermarkBytes: number;
  readonly #env: Env;
  readonly #memory: Memory;
  readonly #broker: Broker;
  readonly #listeners: WatchedListeners;
  readonly #refuseNew: boolean;
  readonly #use = new MemoryUse();
  readonly #overload: Overload;
  readonly #raised: readonly Counter[];
  readonly #collections: Counter;
  readonly #cutClients: Counter;
  readonly #cutStrangers: Counter;
  #usedBytes = 0;
  #readAt = 0;
  #timer: Timer | undefined;

  constructor(env: Env, memory: Memory, parts: { readonly broker: Broker; readonly listeners: WatchedListeners }, options: MemoryWatchOptions) {
    const { watermark, refuseNew, ...rest } = options;
    this.watermarkBytes = 'bytes' in watermark ? watermark.bytes : Math.floor(memory.availableBytes * watermark.part);
    this.#env = env;
    this.#memory = memory;
    this.#broker = parts.broker;
    this.#listeners = parts.listeners;
    this.#refuseNew = refuseNew;
    this.#overload = new Overload({ ...overloadDefaults, ...rest, watermarkBytes: this.watermarkBytes });
    const { metrics } = env;
    const raisedHelp = 'times that memory became so short';
    this.#raised = levelNames.map((level) => metrics.counter('starmesh_overload_raised_total', raisedHelp, { level }));
    this.#collections = metrics.counter('emqx_overload_protection_gc', 'garbage collections asked for because memory is short');
    this.#cutClients = metrics.counter('starmesh_overload_cut_clients_total', 'clients cut off because they took up most of a memory that is short');
    this.#cutStrangers = metrics.counter('starmesh_overload_cut_strangers_total', 'connections closed before CONNECT because memory is short');
    metrics.gaugeFn('starmesh_overload_level', 'how short memory is: 0 normal, 1 high, 2 critical, 3 full', {}, () => this.#overload.level);
    metrics.gaugeFn('starmesh_overload_memory_bytes', 'memory in use, as the watermark counts it', {}, () => this.#usedBytes);
    metrics.gaugeFn('starmesh_overload_watermark_bytes', 'what the memory in use is to stay below', {}, () => this.watermarkBytes);
  }

  get status(): OverloadStatus {
    return { level: levelNames[this.#overload.level], usedBytes: this.#usedBytes, watermarkBytes: this.watermarkBytes };
  }

  start(): void {
    this.#timer ??= this.#env.clock.setTimer(0, () => this.#run());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#listeners.lookAfter(Number.POSITIVE_INFINITY, () => {});
  }

  #run(): void {
    const now = this.#env.clock.now();
    if (now - this.#readAt >= readEveryMs) {
      this.#readAt = now;
      this.#broker.pressTick();
      this.#listeners.readSlow(readSlowMax);
    }
    let effects = this.#look();
    if (effects.some((e) => e.kind === 'collect')) {
      const began = this.#env.clock.now();
      this.#memory.collect();
      this.#collections.value++;
      const ended = this.#env.clock.now();
      this.#overload.collected(ended - began, ended);
      effects = this.#look();
    }
    for (const effect of effects) this.#do(effect);
    this.#next();
  }

  #next(): void {
    this.#timer?.cancel();
    this.#timer = this.#env.clock.setTimer(this.#overload.nextMs, () => this.#run());
    this.#listeners.lookAfter(this.#overload.nextBytes, () => this.#run());
  }

  #look(): OverloadEffect[] {
    const sample = this.#memory.sample();
    const now = this.#env.clock.now();
    this.#usedBytes = this.#use.of(sample, now);
    const { heapBytes } = sample;
    return this.#overload.step({ usedBytes: this.#usedBytes, heapBytes, heapLimitBytes: this.#memory.heapLimitBytes }, now);
  }

  #do(effect: OverloadEffect): void {
    if (effect.kind === 'level') {
      this.#broker.press(effect.level, this.#refuseNew);
      this.#listeners.shortMemory(effect.level > 0, this.#refuseNew);
      this.#tell(effect.level, effect.before);
    } else if (effect.kind === 'cut') {
      this.#cut(effect.bytes, effect.patient);
    }
  }

  #cut(bytes: number, patient: boolean): void {
    const dropped = this.#broker.dropQueuedQos0();
    const { clients, strangers, bytes: freed } = this.#listeners.relieve(Math.max(0, bytes - dropped), patient);
    this.#cutClients.value += clients;
    this.#cutStrangers.value += strangers;
    this.#overload.cut(bytes, dropped + freed, this.#env.clock.now());
    const fields = {
      wantedMiB: inMiB(bytes),
      queuedQos0MiB: inMiB(dropped),
      clients,
      clientsMiB: inMiB(freed),
      beforeConnect: strangers,
    };
    if (dropped + clients > 0) this.#env.log.warn('memory is critical: what takes up most was let go', fields);
    else this.#env.log.debug('memory is critical, and no client takes up much', fields);
  }

  #tell(level: 0 | 1 | 2 | 3, before: 0 | 1 | 2 | 3): void {
    const { status } = this;
    const fields = { level: status.level, before: levelNames[before], usedMiB: inMiB(status.usedBytes), watermarkMiB: inMiB(status.watermarkBytes) };
    if (level > before) {
      for (let raised = before + 1; raised <= level; raised++) (this.#raised[raised] as Counter).value++;
      this.#env.log.warn('memory gets short', fields);
    } else this.#env.log.info('memory is less short', fields);
    this.onLevel?.(status, levelNames[before]);
  }
}

function inMiB(bytes: number): number {
  return Math.round(bytes / MiB);
}

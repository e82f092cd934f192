// Configurations: one server at a time, in force as soon as the entry is in the log (dissertation
// 4.1), and only after the leader has committed an entry of its own term (erratum of 2015).
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { Progress } from './progress.js';
import { becomeFollower } from './role.js';
import type { RaftState } from './state.js';
import type { Entry, RaftConfig } from './types.js';

export function encodeConfig(config: RaftConfig): Uint8Array {
  const w = new ByteWriter(64);
  for (const list of [config.voters, config.learners]) {
    w.varint(list.length);
    for (const id of list) w.string(id);
  }
  return w.finish();
}

/** Throws MalformedError. Empty bytes: the empty configuration (before formation). */
export function decodeConfig(bytes: Uint8Array): RaftConfig {
  if (bytes.length === 0) return { voters: [], learners: [] };
  const r = new ByteReader(bytes);
  const list = (): string[] => Array.from({ length: r.varint() }, () => r.string());
  const voters = list();
  return { voters, learners: list() };
}

/** New entries are in the log: the last configuration among them is in force. */
export function noteConfigs(s: RaftState, entries: readonly Entry[]): void {
  let changed = false;
  for (const e of entries) {
    if (e.kind !== 'config') continue;
    s.configs.push({ index: e.index, config: decodeConfig(e.data) });
    changed = true;
  }
  if (changed) useLast(s);
}

export function forgetConfigsFrom(s: RaftState, index: number): void {
  const before = s.configs.length;
  s.configs = s.configs.filter((c) => c.index < index);
  if (s.configs.length !== before) useLast(s);
}

function useLast(s: RaftState): void {
  s.config = s.configs[s.configs.length - 1]?.config ?? s.baseConfig;
  if (s.role !== 'leader') return;
  const members = new Set([...s.config.voters, ...s.config.learners]);
  for (const id of s.progress.keys()) if (!members.has(id)) s.progress.delete(id);
  for (const id of members) if (id !== s.id && !s.progress.has(id)) s.progress.set(id, new Progress(s.log.lastIndex + 1));
}

/** Whether the leader may append a new configuration now. */
export function mayChangeConfig(s: RaftState): boolean {
  const last = s.configs[s.configs.length - 1];
  return s.commitIndex >= s.termStartIndex && (last === undefined || last.index <= s.commitIndex);
}

/** At most one voter added or removed; learners are free. */
export function isSingleChange(from: RaftConfig, to: RaftConfig): boolean {
  const added = to.voters.filter((v) => !from.voters.includes(v)).length;
  const removed = from.voters.filter((v) => !to.voters.includes(v)).length;
  return added + removed <= 1 && to.voters.length > 0;
}

/** A leader that is no voter any more hands over once that is committed. */
export function onConfigCommitted(s: RaftState, index: number): void {
  const last = s.configs[s.configs.length - 1];
  if (s.role === 'leader' && last !== undefined && last.index <= index && !s.config.voters.includes(s.id)) becomeFollower(s, s.term, undefined);
}

// Single-server membership changes (dissertation chapter 4): a config entry is in force from the
// moment it is in the log, so an overwritten one is taken back. Called by sending, replication,
// snapshot and raft.
//
// Invariants: at most one uncommitted change; none before the leader has committed an entry of its
// own term (erratum of July 2015); consecutive configurations differ by one node.
import { decodeConfig } from './codec.js';
import { Progress } from './progress.js';
import { becomeFollower } from './roles.js';
import type { RaftState } from './state.js';
import type { ConfigChange, Entry, NodeId, RaftConfig } from './types.js';

/** Looks for config entries among those just appended. */
export function noteConfigs(s: RaftState, entries: readonly Entry[]): void {
  let found = false;
  for (const e of entries) {
    if (e.kind !== 'config') continue;
    s.configs.push({ index: e.index, config: decodeConfig(e.data) });
    found = true;
  }
  if (found) useLatest(s);
}

/** Entries from `index` on are gone. */
export function forgetConfigs(s: RaftState, index: number): void {
  let changed = false;
  while (s.configs.length > 0 && (s.configs[s.configs.length - 1] as { index: number }).index >= index) {
    s.configs.pop();
    changed = true;
  }
  if (changed) useLatest(s);
}

/** The log begins after `index` now. */
export function compactConfigs(s: RaftState, index: number): void {
  while (s.configs.length > 0 && (s.configs[0] as { index: number }).index <= index) {
    s.baseConfig = (s.configs.shift() as { config: RaftConfig }).config;
  }
}

/** After a snapshot: nothing but its configuration is known. */
export function replaceConfigs(s: RaftState, config: RaftConfig): void {
  s.baseConfig = config;
  s.configs = [];
  useLatest(s);
}

/** Reads config entries from the log, above the base. Once, at start or after a snapshot with a log. */
export function loadConfigs(s: RaftState): void {
  s.configs = [];
  let next = s.log.baseIndex + 1;
  while (next <= s.log.lastIndex) {
    const entries = s.log.entries(next, s.log.lastIndex + 1, s.settings.messageBytesMax, s.settings.messageEntriesMax);
    if (entries === undefined) break;
    for (const e of entries) if (e.kind === 'config') s.configs.push({ index: e.index, config: decodeConfig(e.data) });
    next += entries.length;
  }
}

/** Index of the configuration in force; the base's when it is at or below it. */
export function configIndex(s: RaftState): number {
  return s.configs[s.configs.length - 1]?.index ?? s.log.baseIndex;
}

/** The configuration in force at `index`, which the log reaches back to. */
export function configAt(s: RaftState, index: number): RaftConfig {
  let config = s.baseConfig;
  for (const one of s.configs) {
    if (one.index > index) break;
    config = one.config;
  }
  return config;
}

function useLatest(s: RaftState): void {
  s.config = s.configs[s.configs.length - 1]?.config ?? s.baseConfig;
  s.effects.push({ type: 'config', index: configIndex(s), config: s.config });
  if (s.role === 'leader') trackMembers(s);
}

/** Leader: one Progress per other member. */
export function trackMembers(s: RaftState): void {
  const members = [...s.config.voters, ...s.config.learners];
  for (const id of s.progress.keys()) if (!members.includes(id)) s.progress.delete(id);
  for (const id of members) if (id !== s.id && !s.progress.has(id)) s.progress.set(id, new Progress(s.log.lastIndex + 1, s.now));
  if (s.transferee !== '' && !s.config.voters.includes(s.transferee)) s.transferee = '';
}

/** A leader that is no voter any more leads until that is committed (dissertation 4.2.2). */
export function stepDownIfRemoved(s: RaftState): void {
  if (s.role === 'leader' && !s.isVoter && configIndex(s) <= s.commitIndex) becomeFollower(s, s.term, '');
}

/** The configuration after the change, undefined when it makes no sense. */
export function changedConfig(config: RaftConfig, change: ConfigChange): RaftConfig | undefined {
  const node = change.node;
  const voter = config.voters.includes(node);
  const learner = config.learners.includes(node);
  const without = (list: readonly NodeId[]): readonly NodeId[] => list.filter((id) => id !== node);
  switch (change.kind) {
    case 'addLearner':
      return node === '' || voter || learner ? undefined : { voters: config.voters, learners: [...config.learners, node] };
    case 'promote':
      return learner ? { voters: [...config.voters, node], learners: without(config.learners) } : undefined;
    case 'demote':
      return voter && config.voters.length > 1 ? { voters: without(config.voters), learners: [...config.learners, node] } : undefined;
    case 'remove':
      if (voter && config.voters.length === 1) return undefined;
      return voter || learner ? { voters: without(config.voters), learners: without(config.learners) } : undefined;
  }
}

// The scopes by name. Loaded when asked for, so that one can be run while another does not build.
import type { Scope } from './scope.js';

export const scopes: Readonly<Record<string, () => Promise<Scope>>> = {
  raft: async () => (await import('./raft/scope.js')).raftScope,
  db: async () => (await import('./db/scope.js')).dbScope,
  broker: async () => (await import('./broker/scope.js')).brokerScope,
};

// Scope `raft`: the machine with a durable log and a tiny state, message by message.
import type { Scope } from '../scope.js';
import { RaftWorld } from './world.js';

export const raftScope: Scope = {
  name: 'raft',
  defaultSeconds: 8,
  run: (seed, seconds, options) => new RaftWorld(seed, options.trace).run(seconds),
};

// Builds one node from its configuration and runs it: the only place where all rooms meet.
import type { StarmeshConfig } from './config/config.js';

export interface StartOptions {
  /** Sentences to log once the logger is there: what the configuration was warned about. */
  readonly warnings?: readonly string[];
}

export interface RunningNode {
  /** Leaves in order: clients told, leadership handed on, files synced. */
  stop(): Promise<void>;
}

/** Resolves when the node runs (not yet: when its shards are in sync). Rejects with one sentence. */
export function startNode(config: StarmeshConfig, _options: StartOptions = {}): Promise<RunningNode> {
  return Promise.reject(new Error(`${config.node.name} cannot start: this version has no node yet`));
}

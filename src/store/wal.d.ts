import type { Env } from '#env/env.js';
import { type Files } from '#env/files.js';
import { type OpenedWal, type WalOptions } from './types.js';
/** What the log asks of the world. */
export type WalEnv = Pick<Env, 'files' | 'clock' | 'metrics' | 'log'>;
/**
 * Reads what is there and begins a new segment; what that writes becomes durable with the first
 * batch. Throws {@link WalError}: 'version', 'foreign' (the log of another node), or 'failed'
 * when files cannot be read. Damage is no error: see {@link OpenedWal} and `WalShard.damage`.
 */
export declare function openWal(env: WalEnv, options: WalOptions): OpenedWal;
/** Whose log it is, for a node that lost its `node.json`. Undefined when there is no log. */
export declare function readWalNodeId(files: Files, dir?: string): string | undefined;

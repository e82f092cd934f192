// The files of a local cluster: one folder per node with its configuration, the cookie beside them.
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sentence } from '../cli/sentence.js';
import { nodeConfig, type PlannedNode } from './plan.js';

/** The configuration file of a node. */
export function configPath(node: PlannedNode): string {
  return join(node.dataDir, 'starmesh.conf');
}

/** Makes or empties the folders. Throws an Error with one sentence for what the user can mend. */
export function prepareFolders(folder: string, nodes: readonly PlannedNode[], fresh: boolean): void {
  try {
    if (fresh) rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeCookie(join(folder, 'cookie.conf'));
    for (const node of nodes) {
      mkdirSync(node.dataDir, { recursive: true, mode: 0o700 });
      writeFileSync(configPath(node), nodeConfig(node, nodes), { mode: 0o600 });
    }
  } catch (error) {
    throw new Error(`the data of the local cluster cannot be written: ${sentence(error).replace(' or choose another with node.data_dir', '')}`);
  }
}

// Kept: nodes with data know each other by it.
function writeCookie(path: string): void {
  if (!existsSync(path)) writeFileSync(path, `node.cookie = "${randomBytes(24).toString('hex')}"\n`, { mode: 0o600 });
  chmodSync(path, 0o600);
}

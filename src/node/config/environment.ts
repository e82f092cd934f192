// Settings from environment variables: `STARMESH_NODE__ROLE=replicant` is `node.role = replicant`
// over the file. `EMQX_` works as well and yields to `STARMESH_`. Only names with `__` count, because
// container platforms put variables of their own (`STARMESH_SERVICE_HOST`) into every process.
import type { Overlay } from '../hocon/hocon.js';
import { environmentMark } from './shape.js';

const prefixes = ['EMQX_', 'STARMESH_'] as const;

/** Variables as overlays, later ones winning; in an order that depends on the names alone. */
export function environmentOverlays(environment: Readonly<Record<string, string | undefined>>): Overlay[] {
  const overlays: Overlay[] = [];
  for (const prefix of prefixes) {
    const names = Object.keys(environment)
      .filter((name) => name.startsWith(prefix) && name.includes('__', prefix.length))
      .sort();
    for (const name of names) {
      const text = environment[name];
      const path = name.slice(prefix.length).toLowerCase().split('__');
      if (text === undefined || path.some((part) => part === '')) continue;
      overlays.push({ path: canonical(path), text, source: `${environmentMark}${name}` });
    }
  }
  return overlays;
}

// `db_role` under `EMQX_` and `role` under `STARMESH_` are one setting, of which the latter wins;
// left apart they would look like a contradiction.
function canonical(path: readonly string[]): readonly string[] {
  return path.length === 2 && path[0] === 'node' && path[1] === 'db_role' ? ['node', 'role'] : path;
}

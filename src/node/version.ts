// The version of this package, from its package.json.
import { readFileSync } from 'node:fs';

/** `0.1.0`. The file stands two folders above, in `src/node` as in `dist/node`. */
export function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const value: unknown = JSON.parse(text);
  return typeof value === 'object' && value !== null && 'version' in value && typeof value.version === 'string' ? value.version : 'unknown';
}

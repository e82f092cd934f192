// A table of routes as the matcher reads it. Used by route-sync.ts and shared-routes.ts.
import { copyBytes } from '#base/bytes.js';
import type { Database, Table } from '#db/api.js';
import { endOfLevels } from '#router/route-key.js';
import type { RouteRows } from '#router/route-match.js';

/** `plain`: a key is a filter and a node. */
export function tableRows(db: Database, table: Table, plain: boolean): RouteRows {
  return {
    ...(plain ? { has: (key: Uint8Array): boolean => db.get(table, key) !== undefined } : {}),
    prefix(prefix, visit) {
      // Prefixes end with the end mark: the first key beyond has the next byte there.
      const end = copyBytes(prefix);
      end[end.length - 1] = endOfLevels + 1;
      db.range(table, prefix, end, visit);
    },
    seek(key) {
      return db.seek(table, key)?.key;
    },
  };
}

// A program for tests: one node of the library with a shard of registers, driven by lines of JSON on
// its standard input, answering on its standard output. Ends with its standard input.
import { createInterface } from 'node:readline';
import { type DatabaseOptions, defineShard, openDatabase, WriteFailure } from '#node/open-database.js';

export type RegisterRequest =
  | { readonly id: number; readonly op: 'read'; readonly key: string }
  | { readonly id: number; readonly op: 'write'; readonly key: string; readonly value: number; readonly until: 'committed' | 'applied' | 'effective' }
  | { readonly id: number; readonly op: 'swap'; readonly key: string; readonly value: number }
  /** By a command, judged by the leader; or by a transaction on this node's copy. */
  | { readonly id: number; readonly op: 'cas' | 'transaction'; readonly key: string; readonly expect: number; readonly value: number }
  /** Answers this node's name for the leader. */
  | { readonly id: number; readonly op: 'leader' };

/** `id` 0: the node is in service. */
export type RegisterReply =
  | { readonly id: number; readonly value: number | string }
  /** Did not and will not take effect. */
  | { readonly id: number; readonly failed: string }
  /** May have taken effect, or may yet. */
  | { readonly id: number; readonly unknown: string };

const deadlineMs = 3_000;

const registers = defineShard('registers');
const cells = registers.table<string, number>({ id: 1, name: 'cells' });
const swap = registers.command('swap', (tx, input: { key: string; value: number }) => {
  const before = tx.get(cells, input.key) ?? 0;
  tx.put(cells, input.key, input.value);
  return before;
});
const cas = registers.command('cas', (tx, input: { key: string; expect: number; value: number }) => {
  const before = tx.get(cells, input.key) ?? 0;
  if (before === input.expect) tx.put(cells, input.key, input.value);
  return before;
});

const db = await openDatabase({ ...(JSON.parse(process.argv[2] ?? '{}') as Omit<DatabaseOptions, 'shards'>), shards: [registers] });

async function execute(r: RegisterRequest): Promise<number | string> {
  switch (r.op) {
    case 'read':
      return db.readonly(registers, (view) => view.get(cells, r.key) ?? 0, { linearizable: true, deadlineMs });
    case 'write':
      await db.put(cells, r.key, r.value, { until: r.until, deadlineMs });
      return 0;
    case 'swap':
      return db.command(swap, r, { deadlineMs });
    case 'cas':
      return db.command(cas, r, { deadlineMs });
    case 'transaction':
      return db.transaction(
        registers,
        (tx) => {
          const before = tx.get(cells, r.key) ?? 0;
          if (before === r.expect) tx.put(cells, r.key, r.value);
          return before;
        },
        { deadlineMs },
      );
    case 'leader': {
      const s = db.status().shards.find((x) => x.shard === registers.name);
      return s !== undefined && 'core' in s ? (s.core.leader ?? '') : '';
    }
  }
}

function answer(reply: RegisterReply): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const r = JSON.parse(line) as RegisterRequest;
  execute(r).then(
    (value) => answer({ id: r.id, value }),
    (error: unknown) => {
      if (!(error instanceof WriteFailure)) throw error;
      answer(error.mayHappen ? { id: r.id, unknown: error.kind } : { id: r.id, failed: error.kind });
    },
  );
});
lines.on('close', () => void db.close());
answer({ id: 0, value: 'in service' });

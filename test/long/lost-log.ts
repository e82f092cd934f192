// A member that lost its log must not help to lose what it had vouched for. A and B have an entry on their
// disks, which made it committed; C was away and never had it. A's log is damaged or gone, B dies, C comes
// back: A and C together are a majority, and must elect nobody. Once B is back everything is there.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RegisterProcess } from '../library/register-process.js';
import { Lab } from './lab.js';
import { pause } from './load.js';

/** Several election timeouts. */
const watchedMs = 5_000;
const rows = 50;
/** More than a record, of several entries too: nothing behind it can be relied on, in no shard. */
const stretchBytes = 2_048;

export const losses = ['a flipped byte in the log', 'a spoilt stretch of the log', 'the log cut', 'all of its data'] as const;
export type Loss = (typeof losses)[number];

/** What A did then: refused to start, or ran without leading anybody. */
export type Behaviour = 'did not start' | 'started, and elected nobody' | 'went on with the shards that were whole';

export async function loseLog(loss: Loss): Promise<Behaviour> {
  const lab = await Lab.start({ cores: 3, replicants: 0 });
  try {
    const c = await lab.follower();
    const [a, b] = lab.cores.filter((n) => n !== c);
    assert.ok(a !== undefined && b !== undefined);
    await c.kill();
    await lab.leader();
    for (let i = 0; i < rows; i++) assert.deepEqual(answerOf(await a.ask({ op: 'write', key: `row/${i}`, value: i, until: 'applied' })), 0);
    await Promise.all([a.kill(), b.kill()]);
    lose(lab.dataDir(a), loss);
    // Neither can be in service without B: what counts is what they do meanwhile.
    const back = Promise.all([settled(lab.startNode(c)), settled(lab.startNode(a))]);
    await pause(watchedMs);
    // A byte hurts one record, and so one shard: the members' shard may be whole on A, and then it has all that B has; C may see that first.
    const oneShard = loss === 'a flipped byte in the log' && [a, c].some((n) => /joined the cluster/.test(lab.said(n)));
    const behaviour = oneShard ? 'went on with the shards that were whole' : a.running ? 'started, and elected nobody' : 'did not start';
    assert.ok(c.running, 'C waits for a majority');
    if (!oneShard) {
      nothingHappens(c, lab);
      if (a.running) nothingHappens(a, lab);
    }
    await lab.startNode(b);
    if (!a.running) {
      // Its own advice: it is taken in again as a new one.
      lab.wipe(a);
      await lab.startNode(a);
    }
    await back;
    await lab.caughtUp();
    const copy = await lab.equal();
    const found = new Map(copy.rows);
    for (let i = 0; i < rows; i++) assert.equal(found.get(`row/${i}`), i, `row/${i} was acknowledged`);
    return behaviour;
  } finally {
    await lab.close();
  }
}

function lose(dataDir: string, loss: Loss): void {
  if (loss === 'all of its data') {
    rmSync(dataDir, { recursive: true });
    return;
  }
  const wal = join(dataDir, 'wal');
  for (const file of readdirSync(wal).filter((f) => f.endsWith('.log'))) {
    const bytes = readFileSync(join(wal, file));
    const middle = bytes.length >> 1;
    const length = loss === 'a flipped byte in the log' ? 1 : stretchBytes;
    if (loss === 'the log cut') writeFileSync(join(wal, file), bytes.subarray(0, middle));
    else {
      for (let at = middle; at < middle + length; at++) bytes[at] = (bytes[at] ?? 0) ^ 1;
      writeFileSync(join(wal, file), bytes);
    }
  }
}

/** Nobody was elected: a core that is not in service yet has nothing to say but its log of events. */
function nothingHappens(node: RegisterProcess, lab: Lab): void {
  assert.doesNotMatch(lab.said(node), /joined the cluster/, `${node.name} has no leader to join`);
}

function settled(start: Promise<void>): Promise<void> {
  return start.catch(() => undefined);
}

function answerOf(reply: Awaited<ReturnType<RegisterProcess['ask']>>): unknown {
  return reply !== undefined && 'value' in reply ? reply.value : reply;
}

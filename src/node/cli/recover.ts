// `starmesh ctl cluster recover --force --data-dir DIR`: the order to a stopped core, the chosen survivor of a
// lost majority, to go on alone. It is only written down here (node.json, in one step); the node carries it out
// when it starts (db/recover-log.ts), with the same code that reads its disk at every start.
//
// Of a stopped node on purpose: nothing votes or writes meanwhile, the lock of the data directory proves it, and
// an operator who must stop a node first does not recover one of a cluster that still works by accident.
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { utf8Encode } from '#base/utf8.js';
import type { Formed } from '#cluster/formation.js';
import { OsFiles } from '#os/files.js';
import { LockedError, takeLock } from '#os/lock.js';

export interface RecoverFlags {
  readonly dataDir?: string;
  readonly force?: boolean;
}

interface Identity {
  readonly nodeId?: string;
  readonly role?: string;
  readonly formed?: Formed;
  readonly left?: boolean;
  readonly superseded?: boolean;
  readonly recover?: boolean;
}

const identityFile = 'node.json';

/** Resolves with what to do next. Rejects with one sentence. */
export async function recover(flags: RecoverFlags): Promise<string> {
  if (flags.dataDir === undefined) throw new Error('say which stopped core is to go on alone: --data-dir DIR');
  const dir = resolve(flags.dataDir);
  if (!existsSync(join(dir, identityFile))) throw new Error(`${dir} is no data directory of a node: it has no ${identityFile}`);
  const lock = takenLock(dir);
  try {
    const identity = JSON.parse(readFileSync(join(dir, identityFile), 'utf8')) as Identity;
    const formed = recoverable(identity);
    if (identity.recover === true) return 'the order is given already; start the node';
    if (flags.force !== true) {
      throw new Error(
        'this makes this core the only one of its cluster, and what the others acknowledged without it is lost for ever; if a majority of the cores can still be started, start them instead; else repeat with --force',
      );
    }
    const recovery = { count: (formed.recovery?.count ?? 0) + 1, tag: randomBytes(8).toString('hex') };
    const recovered = { ...identity, formed: { clusterId: formed.clusterId, voters: [identity.nodeId], recovery }, recover: true };
    await write(dir, recovered);
    return 'this core goes on alone from its next start: start it, then start the others with empty data directories, and they join as new cores';
  } finally {
    lock.release();
  }
}

function takenLock(dir: string): ReturnType<typeof takeLock> {
  try {
    return takeLock(dir);
  } catch (error) {
    if (error instanceof LockedError) throw new Error(`the node runs (process ${error.pid}); stop it first, recovery is for a stopped core`);
    throw error;
  }
}

function recoverable(identity: Identity): Formed {
  if (identity.role !== 'core') throw new Error('this is the data directory of a replicant; a core has the log that is needed');
  if (identity.left === true || identity.superseded === true)
    throw new Error('this core has left its cluster; its data are not the cluster’s any more');
  if (identity.formed === undefined || identity.nodeId === undefined)
    throw new Error('this core has never been in a cluster; it has nothing to recover');
  return identity.formed;
}

function write(dir: string, identity: object): Promise<void> {
  const files = new OsFiles(dir);
  return new Promise<void>((done, reject) => {
    files.writeAtomic(identityFile, utf8Encode(`${JSON.stringify(identity, undefined, 2)}\n`), (error) =>
      error === undefined ? done() : reject(error),
    );
  }).finally(() => new Promise<void>((closed) => files.close(closed)));
}

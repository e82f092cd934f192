// Which of the nodes on this machine a command is for.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ask, NotRunning } from '../ctl/client.js';
import { announced, ctlSocketPath, forget, type LocalNode } from '../ctl/sockets.js';

export interface NodeChoice {
  readonly node?: string;
  readonly dataDir?: string;
}

/** Where `npm start` keeps the nodes of its local cluster. */
const localData: string = fileURLToPath(new URL('../../../data/local/', import.meta.url));

/** How long a node may take to say that it is there. */
const helloMsMax = 2000;

/** The socket to ask. Throws an Error whose message says what to do. */
export async function findSocket(choice: NodeChoice): Promise<string> {
  if (choice.dataDir !== undefined) {
    const path = ctlSocketPath(choice.dataDir);
    if (!existsSync(path)) throw new Error(`no node runs on the data directory ${resolve(choice.dataDir)}`);
    return path;
  }
  const running = await runningNodes();
  const fitting = choice.node === undefined ? running : running.filter((n) => n.name === choice.node || shortName(n) === choice.node);
  const [only] = fitting;
  if (fitting.length === 1 && only !== undefined) return only.socketPath;
  const names = running.map((n) => n.name).join(', ');
  if (fitting.length === 0) {
    if (choice.node === undefined) throw new Error('no node runs on this machine; start one with npm start or starmesh start');
    throw new Error(`no node ${choice.node} runs on this machine${names === '' ? '' : `; there are ${names}`}`);
  }
  // Other clusters may run here as well: the one that this checkout's `npm start` runs is meant.
  const own = fitting.filter((n) => n.dataDir.startsWith(localData));
  for (const some of [own, fitting]) {
    const first = choice.node === undefined && some.length > 1 ? some.filter((n) => shortName(n) === 'core1') : some;
    if (first.length === 1 && first[0] !== undefined) return first[0].socketPath;
  }
  throw new Error(`several nodes run here; say which with --node or --data-dir: ${fitting.map((n) => `${n.name} (${n.dataDir})`).join(', ')}`);
}

/** Nodes that answer; notes of dead ones are taken back. */
async function runningNodes(): Promise<LocalNode[]> {
  const candidates = announced();
  const alive = await Promise.all(candidates.map((node) => answers(node)));
  return candidates.filter((_, i) => alive[i]);
}

async function answers(node: LocalNode): Promise<boolean> {
  try {
    await ask(node.socketPath, ['status'], helloMsMax);
    return true;
  } catch (error) {
    if (error instanceof NotRunning) forget(node);
    return !(error instanceof NotRunning);
  }
}

function shortName(node: LocalNode): string {
  return node.name.slice(0, node.name.indexOf('@'));
}

// The commands of `starmesh ctl` and the getters of `starmesh eval`, run inside the node. Names
// are those people know from EMQX; what the answers look like stands in replies.ts.
import { authCommands } from './auth-commands.js';
import { authzCommands } from './authz-commands.js';
import { clusterCommands } from './cluster-commands.js';
import { engineCommands } from './engine-commands.js';
import { evaluate } from './eval.js';
import type { CtlHandlers, ListenerAction } from './handlers.js';
import { rebalanceCommands } from './rebalance-commands.js';
import {
  type CtlReply,
  clientReply,
  clientsReply,
  clusterReply,
  kickReply,
  listenersReply,
  listRowsMax,
  rlogReply,
  statusReply,
  topicsReply,
} from './replies.js';
import { topicCommands } from './topic-commands.js';

type Command = (args: readonly string[], node: CtlHandlers) => CtlReply | Promise<CtlReply>;

const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['status', (_args, node) => statusReply(node.status())],
  ['cluster status', async (_args, node) => clusterReply(await node.clusterStatus())],
  ['rlog status', (_args, node) => rlogReply(node.rlogStatus())],
  ['clients list', async (_args, node) => clientsReply(await node.clientsList(listRowsMax))],
  ['clients show', async ([id], node) => (id === undefined ? usage('clients show CLIENTID') : clientReply(id, await node.clientsShow(id)))],
  ['clients kick', async ([id], node) => (id === undefined ? usage('clients kick CLIENTID') : kickReply(id, await node.clientsKick(id)))],
  ['listeners', (args, node) => listenersCommand(args, node)],
  ['pem_cache clean', async (_args, node) => node.reloadCertificates()],
  ['topics list', async (_args, node) => topicsReply(await node.topicsList(listRowsMax))],
  ...clusterCommands,
  ...rebalanceCommands,
  [
    'cluster recover',
    () => ({ ok: false, text: 'recovery is for a core that is stopped: stop it, then starmesh ctl cluster recover --force --data-dir DIR' }),
  ],
  ...authCommands,
  ...authzCommands,
  ...topicCommands,
  ...engineCommands,
  ['eval', (args, node) => evaluate(args.join(' '), node)],
]);

// Commands that will come under these names; they say so instead of being unknown.
const planned: ReadonlySet<string> = new Set('admins,rules,conf,data,topics show'.split(','));

/** Runs one command line; never throws: a failing handler is a reply that is not ok. */
export async function runCtl(argv: readonly string[], node: CtlHandlers): Promise<CtlReply> {
  const one = argv[0] ?? '';
  const two = `${one} ${argv[1] ?? ''}`;
  try {
    const short = commands.get(one);
    if (short !== undefined) return await short(argv.slice(1), node);
    const long = commands.get(two);
    if (long !== undefined) return await long(argv.slice(2), node);
  } catch (error) {
    return { ok: false, text: `${two.trim()} failed: ${error instanceof Error ? error.message : String(error)}` };
  }
  if (planned.has(one) || planned.has(two)) return { ok: false, text: `ctl ${planned.has(two) ? two : one} is not available yet in this version` };
  const known = [...commands.keys()].filter((c) => c !== 'eval').join(', ');
  return { ok: false, text: one === '' ? `say what: ${known}` : `there is no command ctl ${argv.join(' ')}; there are ${known}` };
}

const listenerActions: ReadonlySet<string> = new Set<ListenerAction>(['start', 'stop', 'restart', 'reload']);

async function listenersCommand([action = 'list', id]: readonly string[], node: CtlHandlers): Promise<CtlReply> {
  if (action === 'list') return listenersReply(node.listeners());
  if (!listenerActions.has(action) || id === undefined) return usage('listeners [list | start ID | stop ID | restart ID | reload ID]');
  const done = await node.listenerAction(action as ListenerAction, id);
  if (done !== undefined) return done.ok ? { ...done, data: { id, action } } : done;
  const known = node.listeners().map((l) => l.id);
  return { ok: false, text: `there is no listener ${id}; there ${known.length === 1 ? 'is' : 'are'} ${known.join(', ') || 'none'}` };
}

function usage(form: string): CtlReply {
  return { ok: false, text: `usage: starmesh ctl ${form}` };
}

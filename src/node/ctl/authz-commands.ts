// `ctl authz cache-clean all|node [NODE]|CLIENTID`: cached verdicts are forgotten, and what was granted is judged again.
// Each node has its own cache; the others are asked over the links.
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { StarmeshNode } from '../create-node.js';
import type { AuthzActions, CtlHandlers } from './handlers.js';
import type { CtlReply } from './replies.js';

const cleanMethod = 'ctl.authz.clean';
const cleanMsMax = 3_000;

export function authzActions(node: StarmeshNode): AuthzActions {
  const { links } = node.core;
  // Empty: of all clients.
  links.handle(cleanMethod, (_from, body, reply) => {
    const clientId = utf8Decode(body) ?? '';
    node.access.forgetVerdicts(clientId === '' ? undefined : clientId);
    reply(undefined, Uint8Array.of(1));
  });
  const cleanThere = (nodeId: string, name: string, body: Uint8Array): Promise<string | undefined> =>
    new Promise((done) => links.call(nodeId, cleanMethod, body, cleanMsMax, (failure) => done(failure === undefined ? undefined : name)));
  return {
    clean: async (where, clientId) => {
      node.access.forgetVerdicts(clientId);
      if (where === 'here') return [];
      const body = utf8Encode(clientId ?? '');
      const silent = await Promise.all(links.peers().map((p) => cleanThere(p.nodeId, p.name, body)));
      return silent.filter((name) => name !== undefined);
    },
  };
}

const usage = 'usage: starmesh ctl authz cache-clean all | node | CLIENTID';

async function cacheClean(args: readonly string[], { authz, status }: CtlHandlers): Promise<CtlReply> {
  const [whose, name] = args;
  if (authz === undefined) return { ok: false, text: 'the node has no access control' };
  if (whose === undefined || args.length > (whose === 'node' ? 2 : 1)) return { ok: false, text: usage };
  if (whose === 'node' && name !== undefined && name !== status().node)
    return { ok: false, text: `this is ${status().node}: ask ${name} itself, with --node` };
  const silent = await authz.clean(whose === 'node' ? 'here' : 'everywhere', whose === 'node' || whose === 'all' ? undefined : whose);
  const what = whose === 'all' || whose === 'node' ? 'the cached verdicts' : `the cached verdicts on ${whose}`;
  if (silent.length > 0) return { ok: false, text: `${silent.join(', ')} did not answer; ${what} are forgotten on the others` };
  return { ok: true, text: `${what} are forgotten${whose === 'node' ? ' on this node' : ''}`, data: { cleaned: whose } };
}

export const authzCommands: readonly (readonly [string, (args: readonly string[], node: CtlHandlers) => Promise<CtlReply>])[] = [
  ['authz cache-clean', cacheClean],
];

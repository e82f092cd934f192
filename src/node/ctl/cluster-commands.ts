// `ctl cluster join|leave|force-leave|promote`: what changes which nodes make up the cluster. The
// commands of commands.ts come here; what they do is behind ClusterActions (cluster-actions.ts).
import type { ClusterActions, CtlHandlers } from './handlers.js';
import type { CtlReply } from './replies.js';

type Command = (args: readonly string[], node: CtlHandlers) => Promise<CtlReply>;

function command(form: string, done: (word: string) => string, run: (actions: ClusterActions, word: string) => Promise<string | undefined>): Command {
  return async ([word, ...more], node) => {
    if (more.length > 0 || (word === undefined) !== !form.includes(' ')) return { ok: false, text: `usage: starmesh ctl cluster ${form}` };
    if (node.cluster === undefined) return { ok: false, text: 'this node cannot change its cluster' };
    const refused = await run(node.cluster, word ?? '');
    if (refused !== undefined) return { ok: false, text: refused };
    const text = done(word ?? '');
    return { ok: true, text, data: { result: text } };
  };
}

export const clusterCommands: readonly (readonly [string, Command])[] = [
  [
    'cluster join',
    command(
      'join NODE',
      () => 'Join the cluster successfully.',
      (a, node) => a.join(node),
    ),
  ],
  [
    'cluster leave',
    command(
      'leave',
      () => 'Leave the cluster successfully. The node stops; its data directory belongs to no node any more.',
      (a) => a.leave(),
    ),
  ],
  [
    'cluster force-leave',
    command(
      'force-leave NODE',
      (name) => `Remove the node from cluster successfully: ${name}`,
      (a, name) => a.forceLeave(name),
    ),
  ],
  [
    'cluster promote',
    command(
      'promote NODE',
      (name) => `${name} is a core now, as soon as it has caught up.`,
      (a, name) => a.promote(name),
    ),
  ],
];

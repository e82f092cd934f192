// `ctl listeners start|stop|restart|reload ID` and `ctl pem_cache clean`: what was done, or why it could not be, in a sentence.
import type { NetError } from '#env/net.js';
import type { Listener } from '#listener/listener.js';
import type { StarmeshNode } from '../create-node.js';
import { cannotListen } from '../ports.js';
import type { ListenerAction } from './handlers.js';

export interface ActionResult {
  readonly ok: boolean;
  readonly text: string;
}

/** undefined: there is no such listener. */
export async function listenerAction(node: StarmeshNode, action: ListenerAction, id: string): Promise<ActionResult | undefined> {
  const listener = node.listeners.get(id);
  if (listener === undefined) return undefined;
  if (node.state !== 'running') return { ok: false, text: `the node is ${node.state}: its listeners are as they are until it runs` };
  switch (action) {
    case 'start':
      if (listener.running) return { ok: true, text: `${id} runs already` };
      return answer(listener, `${id} started`, await ended((done) => listener.start(done)));
    case 'stop':
      await new Promise<void>((done) => listener.stop(done));
      return { ok: true, text: `${id} stopped; ${staying(listener)}` };
    case 'restart':
      return answer(listener, `${id} restarted; ${staying(listener)}`, await ended((done) => node.listeners.restart(listener, done)));
    case 'reload':
      return reload(listener);
  }
}

function reload(listener: Listener): ActionResult {
  const { id } = listener;
  if (listener.options.tls === undefined) return { ok: false, text: `${id} has no certificates to read again` };
  if (!listener.running) return { ok: false, text: `${id} does not run; it reads its certificates when it starts` };
  const error = listener.reload();
  if (error !== undefined) return { ok: false, text: `${id} keeps its old certificates: ${error.message}` };
  return { ok: true, text: `${id} has read its certificates again, for connections from now on` };
}

/** `ctl pem_cache clean`: the certificates of every running listener with TLS, and of the links between nodes. */
export function reloadCertificates(node: StarmeshNode): ActionResult {
  const { links, secured } = node.core;
  const parts: { readonly id: string; readonly error: NetError | undefined }[] = [];
  for (const l of node.listeners.all) if (l.running && l.options.tls !== undefined) parts.push({ id: l.id, error: l.reload() });
  if (secured) parts.push({ id: 'the cluster port', error: links.reloadCertificates() });
  if (parts.length === 0) return { ok: true, text: 'nothing here uses certificates' };
  const text = parts.map(({ id, error }) =>
    error === undefined ? `${id} has read its certificates again` : `${id} keeps its old ones: ${error.message}`,
  );
  return { ok: parts.every((p) => p.error === undefined), text: text.join('; ') };
}

function ended(run: (done: (error: NetError | undefined) => void) => void): Promise<NetError | undefined> {
  return new Promise(run);
}

function answer(listener: Listener, text: string, error: NetError | undefined): ActionResult {
  return error === undefined ? { ok: true, text } : { ok: false, text: cannotListen(listener.id, listener.options, error).message };
}

function staying(listener: Listener): string {
  const n = listener.connectionCount;
  return n === 1 ? '1 connection stays' : `${n} connections stay`;
}

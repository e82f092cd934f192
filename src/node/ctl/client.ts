// Asks a running node over its control socket. Used by `starmesh ctl`, `starmesh eval` and the supervisor.
import { connect } from 'node:net';
import { Lines, replyBytesMax } from './protocol.js';
import type { CtlReply } from './replies.js';

/** Nobody answers at the socket: no such file, or nobody behind it. */
export class NotRunning extends Error {
  override readonly name = 'NotRunning';
}

const answerMsMax = 15_000;

/** One request. Throws {@link NotRunning}, or an Error whose message is one sentence. */
export function ask(socketPath: string, cmd: readonly string[], timeoutMs: number = answerMsMax): Promise<CtlReply> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    const lines = new Lines(replyBytesMax);
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    const timer = setTimeout(() => end(() => reject(new Error(`the node did not answer within ${timeoutMs / 1000} s`))), timeoutMs);
    socket.on('connect', () => socket.write(`${JSON.stringify({ cmd })}\n`));
    socket.on('data', (chunk) => {
      const [line] = lines.push(chunk);
      if (line !== undefined) end(() => resolve(readReply(line)));
      else if (lines.tooLong) end(() => reject(new Error('the answer is too long')));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => end(() => reject(explain(error))));
    socket.on('close', () => end(() => reject(new NotRunning('the node closed the connection without an answer'))));
  });
}

function explain(error: NodeJS.ErrnoException): Error {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET') return new NotRunning('no node answers there');
  if (error.code === 'EACCES') return new Error('the node belongs to another user: run this as that user');
  return error;
}

function readReply(line: string): CtlReply {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  if (typeof value === 'object' && value !== null && 'ok' in value && 'text' in value && typeof value.text === 'string') {
    return { ok: value.ok === true, text: value.text, data: 'data' in value ? value.data : undefined };
  }
  return { ok: false, text: 'the node gave an answer that this version does not understand' };
}

// The `text` formatter: pino's JSON lines as lines for people,
// `2026-01-31T12:00:00.000Z [warning] sentence, node: core1, count: 3`.
// It stands behind pino, so that what pino replaces (secrets) never reaches it.
import type { DestinationStream } from 'pino';

/** Names as EMQX's text log has them. */
const levelNames: Readonly<Record<string, string>> = { warn: 'warning' };

export class TextStream implements DestinationStream {
  readonly #to: DestinationStream;

  constructor(to: DestinationStream) {
    this.#to = to;
  }

  write(line: string): void {
    this.#to.write(textOf(line));
  }
}

/** `line`: one JSON object of pino's, with its line feed. What is not one is passed through as it is. */
export function textOf(line: string): string {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return line;
  }
  if (typeof entry !== 'object' || entry === null) return line;
  const { time, level, msg, pid: _pid, ...fields } = entry as Readonly<Record<string, unknown>>;
  const at = typeof time === 'number' ? new Date(time).toISOString() : '-';
  const name = String(level);
  let text = `${at} [${levelNames[name] ?? name}] ${oneLine(String(msg))}`;
  for (const [key, value] of Object.entries(fields)) text += `, ${key}: ${typeof value === 'string' ? oneLine(value) : JSON.stringify(value)}`;
  return `${text}\n`;
}

/** Control characters (of a client id, say) must not forge lines or steer a terminal. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

// env's logger over pino: one JSON object per line. Fields whose name says that they are
// secret are replaced, as a second line of defence: callers must not pass them at all.
import { type DestinationStream, type Logger as PinoLogger, pino, destination as pinoDestination } from 'pino';
import type { LogFields, Logger } from '#env/logger.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LoggerOptions {
  readonly level: LogLevel;
  /** In every line, e.g. the node's name. */
  readonly bindings?: LogFields;
  /** A path, or a stream (tests). Standard output when absent. */
  readonly to?: string | DestinationStream;
}

const secretNames = ['password', 'passwd', 'secret', 'cookie', 'token', 'authorization', 'payload'];

export class OsLogger implements Logger {
  readonly #pino: PinoLogger;

  constructor(options: LoggerOptions) {
    const to = options.to;
    const stream = typeof to === 'object' ? to : pinoDestination({ dest: to ?? 1, sync: true, mkdir: true });
    this.#pino = pino(
      {
        level: options.level,
        base: { pid: process.pid, ...options.bindings },
        redact: { paths: secretNames, censor: '[redacted]' },
        formatters: { level: (label) => ({ level: label }) },
      },
      stream,
    );
  }

  get level(): string {
    return this.#pino.level;
  }

  /** May be changed while the node runs. */
  set level(level: string) {
    this.#pino.level = level;
  }

  debug(message: string, fields?: LogFields): void {
    this.#pino.debug(fields ?? {}, message);
  }

  info(message: string, fields?: LogFields): void {
    this.#pino.info(fields ?? {}, message);
  }

  warn(message: string, fields?: LogFields): void {
    this.#pino.warn(fields ?? {}, message);
  }

  error(message: string, fields?: LogFields): void {
    this.#pino.error(fields ?? {}, message);
  }
}

// env's logger over pino: one JSON object per line. Fields whose name says that they are
// secret are replaced, as a second line of defence: callers must not pass them at all.
import { type DestinationStream, multistream, type Logger as PinoLogger, pino, destination as pinoDestination } from 'pino';
import type { LogFields, Logger } from '#env/logger.js';
import { TextStream } from './log-text.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LogTarget {
  readonly level: LogLevel;
  /** A path, or a stream (tests). Standard output when absent. */
  readonly to?: string | DestinationStream;
  /** Default `json`: one object per line. */
  readonly formatter?: 'text' | 'json';
}

export interface LoggerOptions {
  /** In every line, e.g. the node's name. */
  readonly bindings?: LogFields;
  /** None: silence. */
  readonly targets: readonly LogTarget[];
}

const secretNames = ['password', 'passwd', 'secret', 'cookie', 'token', 'authorization', 'payload'];

export class OsLogger implements Logger {
  readonly #pino: PinoLogger;

  constructor(options: LoggerOptions) {
    const streams = options.targets.map((t) => ({ level: t.level, stream: streamOf(t) }));
    this.#pino = pino(
      {
        level: lowest(options.targets),
        base: { pid: process.pid, ...options.bindings },
        redact: { paths: secretNames, censor: '[redacted]' },
        formatters: { level: (label) => ({ level: label }) },
      },
      multistream(streams),
    );
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

const order: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent'];

function lowest(targets: readonly LogTarget[]): LogLevel {
  return order.find((level) => targets.some((t) => t.level === level)) ?? 'silent';
}

function streamOf(target: LogTarget): DestinationStream {
  const { to } = target;
  const stream = typeof to === 'object' ? to : pinoDestination({ dest: to ?? 1, sync: true, mkdir: true });
  return target.formatter === 'text' ? new TextStream(stream) : stream;
}

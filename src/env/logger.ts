// Structured logging. The message is a constant sentence; what varies goes into `fields`.
// Secrets (passwords, cookies, tokens, payloads) never go in.

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

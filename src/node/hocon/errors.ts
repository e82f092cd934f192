// Where something stands in a configuration text, and the one error that the HOCON reader throws.

export interface Position {
  /** As given to the reader: a path, or `environment STARMESH_NODE__NAME`. */
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  /** 1-based, in UTF-16 units. */
  readonly column: number;
}

/** The text is not HOCON, or refers to something that is not there. */
export class HoconError extends Error {
  override readonly name = 'HoconError';
  readonly at: Position;
  /** Without the position. */
  readonly reason: string;

  constructor(at: Position, reason: string) {
    super(`${showPosition(at)}: ${reason}`);
    this.at = at;
    this.reason = reason;
  }
}

/** `starmesh.conf:12:3`, as editors and terminals make links of. */
export function showPosition(at: Position): string {
  return `${at.file}:${at.line}:${at.column}`;
}

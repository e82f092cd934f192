// What the long suites share: the options of their command, and results as a table that can be pasted into
// docs/long-suites.md.
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** What the command line said. */
export interface LongOptions {
  /** Only what has this text in its name. */
  readonly only: string;
  readonly points: number | undefined;
  readonly seed: number;
}

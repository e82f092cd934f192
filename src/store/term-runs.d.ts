export declare class TermRuns {
  #private;
  /** Term of the newest run; 0 when there is none. */
  last(): number;
  /** Term of the run that holds `index`; undefined before the first. */
  at(index: number): number | undefined;
  push(index: number, term: number): void;
  truncate(index: number): void;
  dropBelow(index: number): void;
  clear(): void;
}

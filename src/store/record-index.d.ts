export interface RecordPlace {
  readonly firstIndex: number;
  readonly segment: number;
  /** Of the record's header in the segment. */
  readonly offset: number;
  /** Of the payload. */
  readonly length: number;
  readonly crc: number;
}
export declare class RecordIndex {
  #private;
  get length(): number;
  /** Payload bytes of all items. */
  bytes(): number;
  at(i: number): RecordPlace | undefined;
  firstSegment(): number | undefined;
  /** The number of the item that covers `index`, -1 when it lies before all items. */
  find(index: number): number;
  push(p: RecordPlace): void;
  /** Forgets items that begin at `index` or later. */
  truncate(index: number): void;
  /** Forgets items of which no entry at `index` or later is left. */
  dropBelow(index: number): void;
  clear(): void;
}

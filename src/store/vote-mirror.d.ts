import { ByteWriter } from '#base/byte-writer.js';
import type { HardState } from './types.js';
export interface Mark {
  readonly segment: number;
  readonly offset: number;
}
export interface MirrorContent {
  readonly hardStates: ReadonlyMap<string, HardState>;
  readonly mark: Mark | undefined;
  /** Where the first record lies that is not as it was written; an incomplete last one is none. */
  readonly damagedAt: number | undefined;
}
export declare function mirrorName(segment: number): string;
export declare function mirrorNumber(name: string): number | undefined;
export declare function mirrorHardState(w: ByteWriter, name: string, state: HardState): void;
export declare function mirrorMark(w: ByteWriter, mark: Mark): void;
export declare function readMirror(bytes: Uint8Array): MirrorContent;

// What the main thread asks of the sync thread, and its answer. Absolute paths.

export type SyncJob =
  | { readonly id: number; readonly kind: 'file'; readonly fd: number }
  | { readonly id: number; readonly kind: 'dir'; readonly path: string }
  | {
      readonly id: number;
      readonly kind: 'atomic';
      readonly path: string;
      readonly temporary: string;
      readonly dir: string;
      readonly bytes: Uint8Array;
    };

/** `code` undefined: done. */
export interface SyncReply {
  readonly id: number;
  readonly code: string | undefined;
  readonly message: string;
}

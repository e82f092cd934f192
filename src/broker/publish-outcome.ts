// How a message of the broker's own ended, for `publish.ts` and whoever had it published.

/** What became of one of the broker's own messages. `matched`: it had a receiver somewhere. */
export type PublishOutcome =
  | { readonly kind: 'accepted'; readonly matched: boolean }
  | { readonly kind: 'failed'; readonly message: string; readonly reasonCode?: number };

// What the HTTP server is given of its node: `node` hands it in.
import type { ShardStatus } from '#db/api.js';
import type { MetricFamily } from '#env/metric-family.js';

export interface AdminNode {
  /** `core1@127.0.0.1`. */
  readonly name: string;
  readonly version: string;
  /** `starting` until clients can be served; `why`: what it waits for, empty when there is nothing to say. */
  state(): { readonly state: 'starting' | 'running' | 'stopping'; readonly why: string };
  /** It gives its clients away. */
  evacuating(): boolean;
  /** How short its memory is, `normal` to `full`; absent: nobody looks. */
  overload?(): { readonly level: string; readonly usedBytes: number; readonly watermarkBytes: number } | undefined;
  shards(): readonly ShardStatus[];
  /** Counts of this process that the status does not carry; undefined where this node holds no core copy. */
  elections(shard: string): { readonly elections: number; readonly leaderChanges: number } | undefined;
  /** Everything that the parts of the node count, as of now. */
  collect(): readonly MetricFamily[];
  /** The families of every other node that answers, by its name. */
  collectOthers(): Promise<readonly { readonly node: string; readonly families: readonly MetricFamily[] }[]>;
  /** JSON of `rlog status`. */
  rlogStatus(): unknown;
}

// The section `rpc`: bounds of the links between nodes, and EMQX's names for their TLS. What it means is in
// link/options.ts; the defaults are the same.
import type { RpcConfig } from './config.js';
import { field, mapped, type ObjectShape, object } from './shape.js';
import { choice, duration, integer, size } from './shapes.js';
import { file, type RpcTls } from './tls.js';

/** As written. */
interface RpcFields extends RpcConfig, RpcTls {}

export interface RawRpc extends RpcTls {
  readonly settings: RpcConfig;
}

const KiB = 1024;
const MiB = 1024 * KiB;

const fields: ObjectShape<RpcFields> = object<RpcFields>({
  connectTimeoutMs: field('connect_timeout', duration(1), 5000),
  // Below, nodes that are far or busy would be taken for silent ones.
  callReceiveTimeoutMs: field('call_receive_timeout', duration(1_000), 15_000),
  authenticationTimeoutMs: field('authentication_timeout', duration(1), 5000),
  raftBufferSize: field('raft_buffer_size', size(64 * KiB), 16 * MiB),
  rlogBufferSize: field('rlog_buffer_size', size(64 * KiB), 16 * MiB),
  callBufferSize: field('call_buffer_size', size(64 * KiB), 8 * MiB),
  forwardBufferSize: field('forward_buffer_size', size(64 * KiB), 32 * MiB),
  // What the database and the broker put into one frame is less, whatever else is set.
  maxFrameSize: field('max_frame_size', size(16 * MiB), 16 * MiB),
  maxOutstandingCalls: field('max_outstanding_calls', integer(16), 10_000),
  pingIntervalMs: field('ping_interval', duration(10), 500),
  quietPingIntervalMs: field('quiet_ping_interval', duration(10), 1500),
  silenceTimeoutMs: field('silence_timeout', duration(100), 5000),
  redialMinMs: field('redial_min', duration(1), 50),
  redialMaxMs: field('redial_max', duration(1), 2000),
  lingerMs: field('linger', duration(0), 500),
  maxUnauthenticated: field('max_unauthenticated', integer(1), 512),
  maxAssembling: field('max_assembling', integer(1), 512),
  certificateCheckIntervalMs: field('certificate_check_interval', duration(100), 60_000),
  protocol: field('protocol', choice('tcp', 'ssl'), 'tcp'),
  cacertfile: file('cacertfile'),
  certfile: file('certfile'),
  keyfile: file('keyfile'),
});

export const rpc: ObjectShape<RawRpc> = { ...mapped(fields, split), defaults: () => split(fields.defaults()) };

function split({ protocol, cacertfile, certfile, keyfile, ...settings }: RpcFields): RawRpc {
  return { protocol, cacertfile, certfile, keyfile, settings };
}

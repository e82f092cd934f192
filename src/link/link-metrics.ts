// The counters of the links. Per peer and lane they are made when a link comes up and kept for the
// next one; the hot paths touch plain objects.
import type { Counter, Metrics } from '#env/metrics.js';
import type { Lane } from './api.js';

export interface LaneCounters {
  readonly framesSent: Counter;
  readonly bytesSent: Counter;
  readonly framesReceived: Counter;
  readonly bytesReceived: Counter;
  /** Frames that were not taken because the lane's buffer was full. */
  readonly framesRefused: Counter;
  /** Closed with frames that did not leave in time. */
  readonly closesCut: Counter;
}

export interface LinkCounters {
  readonly authFailures: Counter;
  readonly handshakeFailures: Counter;
  readonly unauthenticatedDropped: Counter;
  readonly dials: Counter;
  readonly rpcTimeouts: Counter;
  readonly rpcFull: Counter;
  readonly rpcRepliesDropped: Counter;
  readonly rpcRefused: Counter;
  readonly assembliesDropped: Counter;
}

export function linkCounters(metrics: Metrics): LinkCounters {
  const counter = (name: string, help: string): Counter => metrics.counter(`starmesh_link_${name}_total`, help);
  return {
    authFailures: counter('auth_failures', 'Peers that did not know the cookie, or whose certificate was not accepted'),
    handshakeFailures: counter('handshake_failures', 'Connections that ended before they were part of a link'),
    unauthenticatedDropped: counter('unauthenticated_dropped', 'Connections dropped because too many had not proved themselves'),
    dials: counter('dials', 'Attempts to set up a link'),
    rpcTimeouts: counter('rpc_timeouts', 'Calls without an answer before their deadline'),
    rpcFull: counter('rpc_full', 'Calls not made because too many were outstanding or the lane was full'),
    rpcRefused: counter('rpc_refused', 'Calls of peers that were refused because too many of the same peer were being served'),
    assembliesDropped: counter('assemblies_dropped', 'Links dropped of which some connections had come, because there were too many such'),
    rpcRepliesDropped: counter('rpc_replies_dropped', 'Replies not sent because the lane was full'),
  };
}

export function laneCounters(metrics: Metrics, peer: string, lane: Lane): LaneCounters {
  const counter = (name: string, help: string): Counter => metrics.counter(`starmesh_link_${name}_total`, help, { peer, lane });
  return {
    framesSent: counter('frames_sent', 'Frames sent'),
    bytesSent: counter('bytes_sent', 'Bytes sent, headers included'),
    framesReceived: counter('frames_received', 'Frames received'),
    bytesReceived: counter('bytes_received', 'Bytes received, headers included'),
    closesCut: counter('closes_cut', 'Closed connections that had not sent everything in time'),
    framesRefused: counter('frames_refused', 'Frames not taken because the buffer was full'),
  };
}

/** Links that came up with this peer; the first is one, every further one a reconnect. */
export function upsCounter(metrics: Metrics, peer: string): Counter {
  return metrics.counter('starmesh_link_ups_total', 'Links that came up', { peer });
}

export function downsCounter(metrics: Metrics, peer: string, reason: string): Counter {
  return metrics.counter('starmesh_link_downs_total', 'Links that went down', { peer, reason });
}

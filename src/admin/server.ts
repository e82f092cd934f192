// The node's own HTTP port: health for load balancers, metrics for Prometheus, the state of the
// replicated database as JSON. Bound to loopback unless configured otherwise; nothing here changes anything.
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { MetricFamily } from '#env/metric-family.js';
import type { AdminNode } from './admin-node.js';
import { labelled, nodeFamilies, summed } from './everywhere.js';
import { prometheusContentType, prometheusText } from './prometheus.js';

export interface AdminServer {
  readonly address: { readonly host: string; readonly port: number };
  close(): Promise<void>;
}

/** No request that is served has a body. */
const bodyBytesMax = 64 * 1024;
const requestMsMax = 30_000;
/** What a load balancer is told while the node cannot serve, in seconds. */
const retryAfterS = '15';

/** Rejects with the system's error when it cannot listen. */
export async function startAdmin(node: AdminNode, at: { readonly host: string; readonly port: number }): Promise<AdminServer> {
  const server = fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: requestMsMax,
    connectionTimeout: requestMsMax,
    forceCloseConnections: true,
    exposeHeadRoutes: true,
  });
  routes(server, node);
  await server.listen({ host: at.host, port: at.port });
  const address = server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : at.port;
  return { address: { host: at.host, port }, close: () => server.close() };
}

function routes(server: FastifyInstance, node: AdminNode): void {
  const metrics = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { mode } = request.query as { readonly mode?: unknown };
    const families = mode === 'all_nodes_unaggregated' || mode === 'all_nodes_aggregated' ? await everywhere(node) : nodeFamilies(node);
    if (mode === 'all_nodes_aggregated') return reply.header('content-type', prometheusContentType).send(prometheusText(summed(families)));
    return reply.header('content-type', prometheusContentType).send(prometheusText(families));
  };
  for (const path of ['/status', '/api/v5/status']) server.get(path, (request, reply) => status(node, request, reply));
  for (const path of ['/metrics', '/api/v5/prometheus/stats']) server.get(path, metrics);
  server.get('/api/v5/load_rebalance/availability_check', (_request, reply) => availability(node, reply));
  server.get('/api/v5/rlog/status', (_request, reply) => reply.send(node.rlogStatus()));
  server.setNotFoundHandler((_request, reply) => reply.code(404).send({ code: 'NOT_FOUND', message: 'there is nothing here' }));
  server.setErrorHandler((error: { readonly statusCode?: number; readonly message: string }, _request, reply) => {
    const code = error.statusCode ?? 500;
    return reply.code(code).send({ code: code < 500 ? 'BAD_REQUEST' : 'INTERNAL_ERROR', message: code < 500 ? error.message : 'the request failed' });
  });
}

async function everywhere(node: AdminNode): Promise<MetricFamily[]> {
  const others = await node.collectOthers();
  return [labelled(node.name, nodeFamilies(node)), ...others.map((o) => labelled(o.node, o.families))].flat();
}

/** For load balancers and readiness gates: whether new clients should be sent here. */
function availability(node: AdminNode, reply: FastifyReply): FastifyReply {
  const { state } = node.state();
  if (node.evacuating()) return reply.code(503).send({ code: 'NODE_EVACUATING', message: 'the node gives its clients away' });
  if (state !== 'running') return reply.code(503).send({ code: 'SERVICE_UNAVAILABLE', message: `the node is ${state}` });
  const { level = 'normal' } = node.overload?.() ?? {};
  if (level !== 'normal') return reply.code(503).send({ code: 'OVERLOADED', message: `the node's memory is short (${level})` });
  return reply.send({});
}

/** 200 once clients can be served, 503 before and while stopping. */
function status(node: AdminNode, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { state, why } = node.state();
  const running = state === 'running';
  reply.code(running ? 200 : 503);
  if (!running) reply.header('retry-after', retryAfterS);
  const query = request.query as { readonly format?: unknown };
  const overload = node.overload?.();
  if (query.format === 'json') {
    return reply.send({
      rel_vsn: node.version,
      node_name: node.name,
      broker_status: running ? 'started' : state,
      app_status: running ? 'running' : 'not_running',
      ...(why === '' ? {} : { reason: why }),
      ...(overload === undefined
        ? {}
        : { overload: { level: overload.level, memory_used: overload.usedBytes, memory_watermark: overload.watermarkBytes } }),
    });
  }
  const short = overload === undefined || overload.level === 'normal' ? '' : `, its memory is short (${overload.level})`;
  const text = running ? `starmesh is running${short}` : `starmesh is not running${why === '' ? '' : `: ${why}`}`;
  return reply.header('content-type', 'text/plain; charset=utf-8').send(`Node ${node.name} is ${running ? 'started' : state}\n${text}`);
}

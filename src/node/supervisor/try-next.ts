// What to try once the local cluster runs: commands to copy.
import type { PlannedNode } from './plan.js';

/** Subscribes on the last node and publishes through the first one, with two clients that people have. */
export function tryNext(nodes: readonly PlannedNode[]): string {
  const from = nodes[0];
  const to = nodes.at(-1) ?? from;
  if (from === undefined || to === undefined) return '';
  return [
    '',
    `Try it: subscribe on ${to.shortName}, publish through ${from.shortName}.`,
    `  mosquitto_sub -p ${to.mqttPort} -t 'demo/#' -v`,
    `  mosquitto_pub -p ${from.mqttPort} -t demo/hello -m 'it works'`,
    'The same with MQTT.js, which is in this checkout:',
    `  npx mqtt sub -h 127.0.0.1 -p ${to.mqttPort} -t 'demo/#' -v`,
    `  npx mqtt pub -h 127.0.0.1 -p ${from.mqttPort} -t demo/hello -m 'it works'`,
    'Metrics for Prometheus:',
    `  curl http://127.0.0.1:${to.httpPort}/api/v5/prometheus/stats`,
    'Look inside, and end a node to see it come back:',
    `  npx starmesh ctl rlog status --node ${to.shortName}`,
    `  kill -9 PID`,
    '',
  ].join('\n');
}

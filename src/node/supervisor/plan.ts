// What a local cluster consists of: names, roles, ports, folders and the configuration of each node.
// Pure: the supervisor writes the files and starts the processes.
import { join } from 'node:path';

export interface LocalOptions {
  readonly cores: number;
  readonly replicants: number;
  readonly basePort: number;
  readonly fresh: boolean;
  readonly restart: boolean;
}

export interface PlannedNode {
  /** `core1`. */
  readonly shortName: string;
  /** `core1@127.0.0.1`. */
  readonly name: string;
  readonly role: 'core' | 'replicant';
  readonly mqttPort: number;
  readonly httpPort: number;
  readonly clusterPort: number;
  readonly dataDir: string;
}

export const coresMax = 9;
export const replicantsMax = 200;
/** Ports of HTTP and of the cluster links, counted from the MQTT port. */
const httpOffset = 16_200;
const clusterOffset = 2487;
const host = '127.0.0.1';

/** The nodes of a shape, cores first; throws an Error with one sentence when the numbers cannot be. */
export function planNodes(options: LocalOptions, dataRoot: string): PlannedNode[] {
  const { cores, replicants, basePort } = options;
  whole('--cores', cores, 1, coresMax);
  whole('--replicants', replicants, 0, replicantsMax);
  whole('--base-port', basePort, 1, 65_535 - httpOffset - cores - replicants);
  const folder = shapeFolder(options, dataRoot);
  return Array.from({ length: cores + replicants }, (_, i) => {
    const role = i < cores ? 'core' : 'replicant';
    const shortName = i < cores ? `core${i + 1}` : `replicant${i - cores + 1}`;
    return {
      shortName,
      name: `${shortName}@${host}`,
      role,
      mqttPort: basePort + i,
      httpPort: basePort + httpOffset + i,
      clusterPort: basePort + clusterOffset + i,
      dataDir: join(folder, shortName),
    };
  });
}

/** One folder per shape: a cluster of three cores must not start on the data of five. */
export function shapeFolder(options: Pick<LocalOptions, 'cores' | 'replicants'>, dataRoot: string): string {
  return join(dataRoot, `${options.cores}-${options.replicants}`);
}

/** The text of a node's `starmesh.conf`; the cookie stands in a file of its own beside the nodes' folders. */
export function nodeConfig(node: PlannedNode, all: readonly PlannedNode[]): string {
  const cores = all.filter((n) => n.role === 'core').map((n) => JSON.stringify(`${n.name}:${n.clusterPort}`));
  return [
    '# Written by npm start; changes are lost at the next one.',
    'include required("../cookie.conf")',
    `node { name = ${JSON.stringify(node.name)}, role = ${node.role}, data_dir = ${JSON.stringify(node.dataDir)} }`,
    `cluster { name = local, core_nodes = [${cores.join(', ')}], listen = "${host}:${node.clusterPort}" }`,
    `listeners.tcp.default.bind = "${host}:${node.mqttPort}"`,
    `dashboard.listeners.http.bind = "${host}:${node.httpPort}"`,
    '',
  ].join('\n');
}

/** Every port with the node that wants it and what for. */
export function portsOf(nodes: readonly PlannedNode[]): { readonly port: number; readonly use: string }[] {
  return nodes.flatMap((n) => [
    { port: n.mqttPort, use: `MQTT of ${n.shortName}` },
    { port: n.httpPort, use: `HTTP of ${n.shortName}` },
    { port: n.clusterPort, use: `cluster links of ${n.shortName}` },
  ]);
}

function whole(option: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) throw new Error(`${option} must be a whole number from ${min} to ${max}`);
}

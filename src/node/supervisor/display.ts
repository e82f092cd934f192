// What the supervisor shows: on a terminal a table that is kept up to date below the messages,
// elsewhere a line per event.
import Table from 'cli-table3';
import type { NodeProcess } from './node-process.js';

export interface Display {
  /** A message that stays. */
  line(text: string): void;
  /** The states as they are now. */
  show(nodes: readonly NodeProcess[]): void;
}

export interface Output {
  readonly isTTY?: boolean;
  readonly rows?: number;
  write(text: string): unknown;
}

/** A table with more lines than the terminal cannot be redrawn in place. */
const linesBeside = 3;

export function createDisplay(out: Output, nodeCount: number): Display {
  const fits = nodeCount + 4 + linesBeside <= (out.rows ?? 0);
  return out.isTTY === true && fits ? new TableDisplay(out) : new LineDisplay(out);
}

class LineDisplay implements Display {
  readonly #out: Output;
  readonly #shown = new Map<string, string>();

  constructor(out: Output) {
    this.#out = out;
  }

  line(text: string): void {
    this.#out.write(`${text}\n`);
  }

  show(nodes: readonly NodeProcess[]): void {
    for (const node of nodes) {
      const { shortName, role, mqttPort, httpPort, clusterPort } = node.plan;
      const { shown } = node;
      if (this.#shown.get(shortName) === shown) continue;
      this.#shown.set(shortName, shown);
      this.line(
        `${shortName}: ${shown} (${role}, MQTT ${mqttPort}, HTTP ${httpPort}, cluster ${clusterPort}${node.pid === undefined ? '' : `, pid ${node.pid}`})`,
      );
    }
  }
}

class TableDisplay implements Display {
  readonly #out: Output;
  #drawn = '';

  constructor(out: Output) {
    this.#out = out;
  }

  line(text: string): void {
    this.#out.write(`${this.#erase()}${text}\n${this.#drawn}`);
  }

  show(nodes: readonly NodeProcess[]): void {
    const text = `${tableOf(nodes)}\n`;
    if (text === this.#drawn) return;
    this.#out.write(`${this.#erase()}${text}`);
    this.#drawn = text;
  }

  // Up to where the table begins, and everything below it away.
  #erase(): string {
    const lines = this.#drawn.split('\n').length - 1;
    return lines > 0 ? `\u001b[${lines}A\u001b[J` : '';
  }
}

function tableOf(nodes: readonly NodeProcess[]): string {
  const table = new Table({
    head: ['node', 'role', 'state', 'shards', 'MQTT', 'HTTP', 'cluster', 'pid'],
    style: { compact: true, head: [], border: [] },
  });
  for (const node of nodes) {
    const { shortName, role, mqttPort, httpPort, clusterPort } = node.plan;
    table.push([shortName, role, node.shown, node.health.shards, mqttPort, httpPort, clusterPort, node.pid ?? '-']);
  }
  return table.toString();
}

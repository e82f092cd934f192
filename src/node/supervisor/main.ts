// `npm start`: a local cluster of several node processes, with nothing to configure.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { sentence } from '../cli/sentence.js';
import { ask } from '../ctl/client.js';
import { ctlSocketPath } from '../ctl/sockets.js';
import { createDisplay } from './display.js';
import { prepareFolders } from './folders.js';
import { LocalCluster } from './local-cluster.js';
import { type LocalOptions, type PlannedNode, planNodes, portsOf, shapeFolder } from './plan.js';
import { takenPort } from './ports.js';
import { tryNext } from './try-next.js';

/** What tests replace. */
export interface Surroundings {
  /** Started as `SCRIPT start -c FILE --supervised`. */
  readonly program: string;
  /** Holds one folder per shape. */
  readonly dataRoot: string;
}

const home = fileURLToPath(new URL('../../../', import.meta.url));
const parentCheckMs = 1000;
const secondCheckMs = 200;
const secondGraceMs = 3000;

/** Runs until a signal; resolves with the exit status. */
export async function main(argv: readonly string[], surroundings: Partial<Surroundings> = {}): Promise<number> {
  const { program = join(home, 'bin/starmesh.js'), dataRoot = join(home, 'data/local') } = surroundings;
  try {
    const options = parse(argv);
    const nodes = planNodes(options, dataRoot);
    await refuseSecond(nodes);
    const taken = await takenPort(portsOf(nodes));
    if (taken !== undefined) {
      throw new Error(
        `port ${taken.port} (${taken.use}) is in use: stop the program that holds it, or choose other ports with npm start -- --base-port ${options.basePort + 1000}`,
      );
    }
    prepareFolders(shapeFolder(options, dataRoot), nodes, options.fresh);
    return await supervise(options, nodes, program);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    console.error(`starmesh: ${sentence(error)}`);
    return 1;
  }
}

function parse(argv: readonly string[]): LocalOptions {
  const command = new Command('npm start --')
    .description('Runs a cluster of several nodes on this machine')
    .option('--cores <n>', 'nodes with a vote', wholeNumber, 3)
    .option('--replicants <n>', 'nodes that only follow', wholeNumber, 2)
    .option('--base-port <port>', 'MQTT port of the first node; the others follow', wholeNumber, 1883)
    .option('--fresh', 'empty the data of this shape first', false)
    .option('--no-restart', 'leave a node that ended alone')
    .exitOverride();
  command.parse(argv, { from: 'user' });
  return command.opts<LocalOptions>();
}

function wholeNumber(text: string): number {
  if (!/^[0-9]{1,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

// The same shape on other ports would have two processes on one data directory. Nodes whose
// supervisor was just killed need a moment to notice.
async function refuseSecond(nodes: readonly PlannedNode[]): Promise<void> {
  for (let waited = 0; ; waited += secondCheckMs) {
    const running = await firstRunning(nodes);
    if (running === undefined) return;
    if (waited >= secondGraceMs) {
      throw new Error(
        `${running.shortName} of this shape is running already (${running.dataDir}); stop that cluster first, or choose other numbers of --cores and --replicants`,
      );
    }
    await sleep(secondCheckMs);
  }
}

async function firstRunning(nodes: readonly PlannedNode[]): Promise<PlannedNode | undefined> {
  const answers = await Promise.allSettled(nodes.map((node) => ask(ctlSocketPath(node.dataDir), ['status'], parentCheckMs)));
  return nodes.find((_, i) => answers[i]?.status === 'fulfilled');
}

function supervise(options: LocalOptions, nodes: readonly PlannedNode[], program: string): Promise<number> {
  const display = createDisplay(process.stdout, nodes.length);
  display.line(
    `Starting ${options.cores} core${options.cores === 1 ? '' : 's'} and ${options.replicants} replicant${options.replicants === 1 ? '' : 's'}; Ctrl-C stops all.`,
  );
  return new Promise((resolve) => {
    let told = false;
    const cluster = new LocalCluster(nodes, { program, restart: options.restart, environment: childEnvironment() }, display, {
      onReady(): void {
        display.line('cluster ready');
        if (!told) display.line(tryNext(nodes));
        told = true;
      },
      onGone(): void {
        display.line('No node is left.');
        cluster.kill();
        finish(1);
      },
    });
    const finish = (status: number): void => {
      clearInterval(watch);
      resolve(status);
    };
    let asked = false;
    const stop = (why: string): void => {
      if (asked) {
        cluster.kill();
        return;
      }
      asked = true;
      display.line(`${why}: stopping all nodes …`);
      void cluster.stop().then(() => {
        display.line('All nodes are stopped.');
        finish(0);
      });
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(signal));
    const watch = watchNpm(() => stop('npm is gone'));
    void cluster.run();
  });
}

// A killed npm sends no signal; nobody could stop the cluster any more. Between npm and us there may be
// a shell, which does not end with npm.
function watchNpm(gone: () => void): NodeJS.Timeout | undefined {
  if (process.env.npm_lifecycle_event !== 'start') return undefined;
  const parent = process.ppid;
  const grandparent = parentOf(parent);
  const timer = setInterval(() => {
    if (process.ppid === parent && parentOf(parent) === grandparent) return;
    clearInterval(timer);
    gone();
  }, parentCheckMs);
  timer.unref();
  return timer;
}

/** Where the operating system tells; undefined elsewhere. */
function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may contain anything.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

// Settings meant for one node would make all five the same node.
function childEnvironment(): NodeJS.ProcessEnv {
  const own = /^(?:STARMESH|EMQX)_(?:NODE|CLUSTER|LISTENERS|DASHBOARD)__/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)));
}

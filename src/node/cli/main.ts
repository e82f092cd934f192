// The command line: `starmesh start|ctl|eval|check-config`. Answers on standard output, errors as one
// sentence on standard error with exit status 1.
import { Command, CommanderError, Option } from 'commander';
import { ask, NotRunning } from '../ctl/client.js';
import { version } from '../version.js';
import { findSocket, type NodeChoice } from './find-node.js';
import { readConfig } from './read-config.js';
import type { RecoverFlags } from './recover.js';
import { sentence } from './sentence.js';
import { type StartFlags, start } from './start.js';

interface AskFlags extends NodeChoice {
  readonly json?: boolean;
}

/** Runs one command line (without `node` and the script); resolves with the exit status. */
export async function main(argv: readonly string[]): Promise<number> {
  // `starmesh ctl list | head`: a reader that has seen enough is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  let status = 0;
  const program = commands((s) => {
    status = s;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    console.error(`starmesh: ${sentence(error)}`);
    return 1;
  }
  return status;
}

function commands(finish: (status: number) => void): Command {
  const program = new Command('starmesh').description('A clustered MQTT broker with its own replicated database').version(version()).exitOverride();
  program
    .command('start')
    .description('run one node in the foreground')
    .option('-c, --config <file>', 'configuration file; without it a single core on 127.0.0.1:1883')
    .addOption(new Option('--supervised', 'stop when standard input closes').hideHelp())
    .action(async (flags: StartFlags) => finish(await start(flags)));
  program
    .command('check-config <file>')
    .description('say what is wrong with a configuration file')
    .action((file: string) => finish(checkConfig(file)));
  withNodeChoice(program.command('ctl [words...]'))
    .description(
      'ask or tell a running node: status, cluster status, rlog status, clients list|show|kick, topics list, users …, scram …, acl …, banned …',
    )
    .option('--json', 'answer for programs')
    .addOption(new Option('--force', 'with cluster recover').hideHelp())
    .allowUnknownOption()
    .action(async (words: string[], flags: AskFlags & RecoverFlags) => finish(await ctl(words, flags)));
  withNodeChoice(program.command('eval <expression>'))
    .description("read one value of a running node: eval 'rlog.status()'")
    .option('--json', 'answer for programs')
    .action(async (expression: string, flags: AskFlags) => finish(await tell(['eval', expression], flags)));
  program
    .command('bench [words...]', { hidden: true })
    .allowUnknownOption()
    .action(() => {
      throw new Error('starmesh bench is not available yet in this version; npm run bench measures the parts');
    });
  return program;
}

function withNodeChoice(command: Command): Command {
  return command
    .option('--node <name>', 'which node of this machine: core1 or core1@127.0.0.1')
    .option('--data-dir <dir>', 'the node with this data directory');
}

/** Commands whose options the node reads. */
const withOptions: ReadonlySet<string> = new Set(['rebalance start', 'cluster evacuate']);
/** A node leaves when its clients and sessions are elsewhere. */
const leaveMsMax = 3_600_000;

async function ctl(words: readonly string[], flags: AskFlags & RecoverFlags): Promise<number> {
  const unknown = words.find((word) => word.startsWith('--'));
  if (unknown !== undefined && !withOptions.has(words.slice(0, 2).join(' '))) throw new Error(`unknown option ${unknown}`);
  if (words.join(' ') !== 'cluster recover') return tell(words, flags);
  const { recover } = await import('./recover.js');
  console.log(await recover(flags));
  return 0;
}

async function tell(words: readonly string[], flags: AskFlags): Promise<number> {
  const timeoutMs = words.join(' ') === 'cluster leave' ? leaveMsMax : undefined;
  const reply = await ask(await findSocket(flags), words, timeoutMs).catch((error: unknown) => {
    throw error instanceof NotRunning ? new Error('the node does not run; start it and ask again') : error;
  });
  if (!reply.ok) {
    console.error(`starmesh: ${reply.text}`);
    return 1;
  }
  if (flags.json === true) console.log(JSON.stringify(reply.data ?? null));
  else if (reply.text !== '') console.log(reply.text);
  return 0;
}

function checkConfig(file: string): number {
  const { config, warnings } = readConfig(file);
  for (const warning of warnings) console.error(`warning: ${warning}`);
  console.log(`${file} is a valid configuration of ${config.node.role} ${config.node.name}`);
  return 0;
}

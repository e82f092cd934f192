// `ctl rebalance start --evacuation …`, `rebalance stop`, `rebalance node-status`: a node gives its clients and sessions
// away before it is stopped or leaves. Options as in EMQX; they come as words.
import { parseDuration } from '#auth/plain.js';
import type { EvacuationOptions } from '#broker/evacuation.js';
import type { CtlHandlers, EvacuationActions } from './handlers.js';
import type { CtlReply } from './replies.js';

type Command = (args: readonly string[], node: CtlHandlers) => CtlReply;

const usage =
  'usage: starmesh ctl rebalance start --evacuation [--conn-evict-rate N] [--sess-evict-rate N] [--wait-health-check SECONDS] [--wait-takeover SECONDS] [--redirect-to HOST:PORT] [--migrate-to "NODE NODE"]';

function refused(text: string): CtlReply {
  return { ok: false, text };
}

function command(run: (args: readonly string[], evacuation: EvacuationActions) => CtlReply): Command {
  return (args, { evacuation }) => (evacuation === undefined ? refused('this node has no clients') : run(args, evacuation));
}

type Changing = { -readonly [K in keyof EvacuationOptions]?: EvacuationOptions[K] };

const readers: Readonly<Record<string, (text: string, into: Changing) => boolean>> = {
  '--conn-evict-rate': (text, into) => positive(text, (n) => (into.connectionRate = n)),
  '--sess-evict-rate': (text, into) => positive(text, (n) => (into.sessionRate = n)),
  '--wait-takeover': (text, into) => seconds(text, (ms) => (into.waitTakeoverMs = ms)),
  '--wait-health-check': (text, into) => seconds(text, (ms) => (into.waitHealthCheckMs = ms)),
  '--redirect-to': (text, into) => {
    into.redirectTo = text;
    return text !== '';
  },
  '--migrate-to': (text, into) => {
    into.migrateTo = text.split(/[\s,]+/).filter((name) => name !== '');
    return into.migrateTo.length > 0;
  },
};

function positive(text: string, set: (n: number) => void): boolean {
  const n = /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
  set(n);
  return n > 0;
}

/** As EMQX, a number of seconds; or a duration. */
function seconds(text: string, set: (ms: number) => void): boolean {
  const ms = /^[0-9]{1,7}$/.test(text) ? Number(text) * 1_000 : parseDuration(text);
  set(ms ?? 0);
  return ms !== undefined;
}

function start(args: readonly string[], evacuation: EvacuationActions): CtlReply {
  if (args[0] !== '--evacuation') return refused(`only evacuation is available in this version; ${usage}`);
  const options: Changing = {};
  for (let i = 1; i < args.length; i += 2) {
    const read = readers[args[i] ?? ''];
    const text = args[i + 1];
    if (read === undefined || text === undefined || !read(text, options)) return refused(usage);
  }
  const problem = evacuation.start(options);
  if (problem !== undefined) return refused(problem);
  const text = 'Rebalance(evacuation) started; starmesh ctl rebalance node-status says how far it is';
  return { ok: true, text, data: { process: 'evacuation', state: 'started' } };
}

function stop(_args: readonly string[], evacuation: EvacuationActions): CtlReply {
  if (!evacuation.stop()) return refused('nothing is being evacuated here');
  return { ok: true, text: 'Rebalance(evacuation) stopped; clients may come again', data: { process: 'evacuation', state: 'stopped' } };
}

function nodeStatus(_args: readonly string[], evacuation: EvacuationActions): CtlReply {
  const status = evacuation.status();
  if (status === undefined) return { ok: true, text: 'Rebalance disabled', data: { status: 'disabled' } };
  const { state, options, connections, sessions, stuck } = status;
  const rows: readonly (readonly [string, string | number])[] = [
    ['Rebalance type', 'evacuation'],
    ['Rebalance state', state],
    ['Connections', `${connections} of ${status.initialConnections}, ${options.connectionRate} a second`],
    ['Sessions', `${sessions} of ${status.initialSessions}, ${options.sessionRate} a second${stuck === 0 ? '' : `; ${stuck} that no node takes`}`],
    ['Recipients', status.recipients.join(', ') || 'none'],
  ];
  const data = {
    status: 'enabled',
    process: 'evacuation',
    state,
    connection_eviction_rate: options.connectionRate,
    session_eviction_rate: options.sessionRate,
    connection_goal: 0,
    session_goal: 0,
    session_recipients: status.recipients,
    stats: {
      initial_connected: status.initialConnections,
      current_connected: connections,
      initial_sessions: status.initialSessions,
      current_sessions: sessions,
      stuck_sessions: stuck,
    },
  };
  return { ok: true, text: rows.map(([name, value]) => `${name}: ${value}`).join('\n'), data };
}

export const rebalanceCommands: readonly (readonly [string, Command])[] = [
  ['rebalance start', command(start)],
  ['rebalance stop', command(stop)],
  ['rebalance node-status', command(nodeStatus)],
  ['cluster evacuate', command((args, evacuation) => start(['--evacuation', ...args], evacuation))],
];

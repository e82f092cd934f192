// `ctl subscriptions`, `ctl retainer` and `ctl broker`: what the node's broker has. Names and texts are EMQX's.
import type { CtlHandlers, EngineActions } from './handlers.js';
import { type CtlReply, listRowsMax } from './replies.js';

type Reply = CtlReply | Promise<CtlReply>;
type Command = (args: readonly string[], node: CtlHandlers) => Reply;

function refused(text: string): CtlReply {
  return { ok: false, text };
}

function engineCommand(run: (args: readonly string[], engine: EngineActions) => Reply): Command {
  return (args, { engine }) => (engine === undefined ? refused('this node has no broker') : run(args, engine));
}

function rows<T>(found: readonly T[], line: (one: T) => string): CtlReply {
  const lines = found.map(line);
  return { ok: true, text: (found.length === listRowsMax ? [...lines, `(the first ${listRowsMax})`] : lines).join('\n'), data: found };
}

function subscriptions(clientId: string | undefined, engine: EngineActions): CtlReply {
  const found = engine.subscriptions(listRowsMax, clientId);
  return rows(found, (s) => `${s.clientid} -> topic:${s.topic} qos:${s.qos} nl:${s.nl} rap:${s.rap} rh:${s.rh}`);
}

/** As EMQX aligns them. */
function numbers(found: readonly (readonly [string, number])[]): CtlReply {
  return { ok: true, text: found.map(([name, value]) => `${name.padEnd(40)}: ${value}`).join('\n'), data: Object.fromEntries(found) };
}

function about(engine: EngineActions): CtlReply {
  const data = engine.about();
  return {
    ok: true,
    text: Object.entries(data)
      .map(([name, value]) => `${name.padEnd(10)}: ${value}`)
      .join('\n'),
    data,
  };
}

async function clean([topic]: readonly string[], engine: EngineActions): Promise<CtlReply> {
  if (topic === undefined) return refused('usage: starmesh ctl retainer clean TOPIC');
  const failure = await engine.retained.clean(topic);
  return failure === undefined ? { ok: true, text: 'ok', data: { deleted: topic } } : refused(`${topic} is not deleted: ${failure}`);
}

export const engineCommands: readonly (readonly [string, Command])[] = [
  ['subscriptions list', engineCommand((_args, engine) => subscriptions(undefined, engine))],
  [
    'subscriptions show',
    engineCommand(([id], engine) => (id === undefined ? refused('usage: starmesh ctl subscriptions show CLIENTID') : subscriptions(id, engine))),
  ],
  [
    'retainer info',
    engineCommand((_args, { retained }) => {
      const count = retained.count();
      return { ok: true, text: `Number of retained messages: ${count}`, data: { count } };
    }),
  ],
  ['retainer topics', engineCommand((_args, { retained }) => rows(retained.topics(listRowsMax), (topic) => topic))],
  ['retainer clean', engineCommand(clean)],
  [
    'broker',
    engineCommand(([what], engine) => {
      if (what === undefined) return about(engine);
      return what === 'stats' || what === 'metrics' ? numbers(engine.numbers(what)) : refused('usage: starmesh ctl broker [stats | metrics]');
    }),
  ],
];

// `ctl delayed` and `ctl exclusive`: messages that wait for their time, and subscriptions that only one client may have.
import type { CtlHandlers, DelayedActions, ExclusiveActions } from './handlers.js';
import { type CtlReply, listRowsMax } from './replies.js';

type Reply = CtlReply | Promise<CtlReply>;
type Command = (args: readonly string[], node: CtlHandlers) => Reply;

function refused(text: string): CtlReply {
  return { ok: false, text };
}

function list(lines: string[], data: readonly unknown[]): CtlReply {
  return { ok: true, text: (data.length === listRowsMax ? [...lines, `(the first ${listRowsMax})`] : lines).join('\n'), data };
}

function delayedCommand(run: (args: readonly string[], delayed: DelayedActions) => Reply): Command {
  return (args, { delayed }) => (delayed === undefined ? refused('delayed messages are off here: delayed.enable = false') : run(args, delayed));
}

function delayedInfo(_args: readonly string[], delayed: DelayedActions): CtlReply {
  const count = delayed.count();
  const max = delayed.max === 0 ? 'no limit' : `at most ${delayed.max}`;
  return { ok: true, text: `Number of delayed messages: ${count} (${max})`, data: { count, max_delayed_messages: delayed.max } };
}

function delayedList(_args: readonly string[], delayed: DelayedActions): CtlReply {
  const found = delayed.list(listRowsMax);
  const lines = found.map((m) => `${m.msgid} ${m.topic} qos:${m.qos} from:${m.from_clientid} at:${m.expected_at} (in ${m.delayed_remaining} s)`);
  return list(lines, found);
}

function delayedShow([id]: readonly string[], delayed: DelayedActions): CtlReply {
  if (id === undefined) return refused('usage: starmesh ctl delayed show MSGID');
  const found = delayed.show(id);
  if (found === undefined) return refused(`there is no delayed message ${id}`);
  const lines = Object.entries(found).map(([name, value]) => `${name.padEnd(17)} : ${value ?? '(too large to be shown)'}`);
  return { ok: true, text: lines.join('\n'), data: found };
}

async function delayedDelete([id]: readonly string[], delayed: DelayedActions): Promise<CtlReply> {
  if (id === undefined) return refused('usage: starmesh ctl delayed delete MSGID');
  const failure = await delayed.delete(id);
  return failure === undefined ? { ok: true, text: 'ok', data: { deleted: id } } : refused(`${id} is not deleted: ${failure}`);
}

function exclusiveCommand(run: (args: readonly string[], exclusive: ExclusiveActions) => Reply): Command {
  return (args, { exclusive }) => (exclusive === undefined ? refused('the node has no exclusive subscriptions') : run(args, exclusive));
}

function exclusiveList(_args: readonly string[], exclusive: ExclusiveActions): CtlReply {
  const found = exclusive.list(listRowsMax);
  return list(
    found.map((e) => `${e.topic} -> ${e.clientid}`),
    found,
  );
}

async function exclusiveDelete([topic]: readonly string[], exclusive: ExclusiveActions): Promise<CtlReply> {
  if (topic === undefined) return refused('usage: starmesh ctl exclusive delete FILTER');
  const filter = topic.startsWith('$exclusive/') ? topic.slice('$exclusive/'.length) : topic;
  const failure = await exclusive.delete(filter);
  return failure === undefined ? { ok: true, text: 'ok', data: { deleted: filter } } : refused(`${filter} is not free: ${failure}`);
}

export const topicCommands: readonly (readonly [string, Command])[] = [
  ['delayed info', delayedCommand(delayedInfo)],
  ['delayed list', delayedCommand(delayedList)],
  ['delayed show', delayedCommand(delayedShow)],
  ['delayed delete', delayedCommand(delayedDelete)],
  ['exclusive list', exclusiveCommand(exclusiveList)],
  ['exclusive delete', exclusiveCommand(exclusiveDelete)],
];

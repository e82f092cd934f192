// `starmesh eval`: a fixed grammar of named getters, literals and field names. It only reads, and it
// is never JavaScript: what is not in the table below does not exist.
//
//   expression := getter '(' [literal {',' literal}] ')' {'.' field | '[' number | string ']'} ['.']
//   getter     := name {('.' | ':') name}
import type { CtlHandlers } from './handlers.js';
import { type CtlReply, listRowsMax, rlogData, rlogReply } from './replies.js';

type Literal = string | number | boolean | null;
type Getter = (node: CtlHandlers, args: readonly Literal[]) => unknown;

const rlogStatus: Getter = (node, [shard]) => {
  const data = rlogData(node.rlogStatus());
  return shard === undefined ? data : own(own(data, 'shards'), String(shard));
};

const clusterStatus: Getter = async (node) => {
  const { running, stopped } = await node.clusterStatus();
  return { running_nodes: running.map((m) => m.name), stopped_nodes: stopped.map((m) => m.name) };
};

const getters: ReadonlyMap<string, Getter> = new Map<string, Getter>([
  ['rlog.status', rlogStatus],
  ['mria_rlog.status', rlogStatus],
  ['mria.info', rlogStatus],
  ['cluster.status', clusterStatus],
  ['ekka.info', clusterStatus],
  ['node.status', (node) => node.status()],
  ['node', (node) => node.status().node],
  ['clients.list', (node) => node.clientsList(listRowsMax)],
  ['clients.show', (node, [id]) => node.clientsShow(String(id))],
  ['topics.list', (node) => node.topicsList(listRowsMax)],
]);

const expressionLengthMax = 1000;

interface Parsed {
  readonly getter: string;
  readonly args: readonly Literal[];
  readonly path: readonly string[];
}

/** Answers the expression; what does not parse or does not exist is a reply that is not ok. */
export async function evaluate(text: string, node: CtlHandlers): Promise<CtlReply> {
  const parsed = parse(text);
  if (parsed === undefined) {
    return {
      ok: false,
      text: `eval takes a getter such as rlog.status() or mria_rlog:status(). and nothing else; there are ${[...getters.keys()].map((g) => `${g}()`).join(', ')}`,
    };
  }
  const getter = getters.get(parsed.getter);
  if (getter === undefined)
    return { ok: false, text: `there is no getter ${parsed.getter}(); there are ${[...getters.keys()].map((g) => `${g}()`).join(', ')}` };
  if (parsed.args.length === 0 && parsed.path.length === 0 && getter === rlogStatus) return rlogReply(node.rlogStatus());
  let value = await getter(node, parsed.args);
  for (const key of parsed.path) value = own(value, key);
  if (value === undefined) return { ok: false, text: 'undefined: there is no such value' };
  return { ok: true, text: typeof value === 'string' ? value : JSON.stringify(value, null, 2), data: value };
}

/** Own fields of plain data only, so that no path leads into the language. */
function own(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Readonly<Record<string, unknown>>)[key] : undefined;
}

const head = /^\s*([A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)*)\s*\(/;
const argument = /^\s*("(?:[^"\\]|\\["\\])*"|'[^'\\]*'|-?[0-9]+(?:\.[0-9]+)?|true|false|null|[a-z_][\w@.-]*)\s*/;
const field = /^\s*(?:\.\s*([A-Za-z_][\w-]*)|\[\s*([0-9]+|"[^"\\]*"|'[^'\\]*')\s*\])/;

function parse(text: string): Parsed | undefined {
  if (text.length > expressionLengthMax) return undefined;
  const start = head.exec(text);
  if (start === null) return undefined;
  let rest = text.slice(start[0].length);
  const args: Literal[] = [];
  while (!/^\s*\)/.test(rest)) {
    if (args.length > 0) {
      if (!/^\s*,/.test(rest)) return undefined;
      rest = rest.replace(/^\s*,/, '');
    }
    const one = argument.exec(rest);
    if (one === null) return undefined;
    args.push(literal(one[1] ?? ''));
    rest = rest.slice(one[0].length);
  }
  rest = rest.replace(/^\s*\)/, '');
  const path: string[] = [];
  for (let f = field.exec(rest); f !== null; f = field.exec(rest)) {
    path.push(f[1] ?? unquote(f[2] ?? ''));
    rest = rest.slice(f[0].length);
  }
  return /^\s*\.?\s*$/.test(rest) ? { getter: (start[1] ?? '').replaceAll(':', '.'), args, path } : undefined;
}

function literal(word: string): Literal {
  if (word === 'true' || word === 'false') return word === 'true';
  if (word === 'null') return null;
  return /^-?[0-9]/.test(word) ? Number(word) : unquote(word);
}

function unquote(word: string): string {
  return /^["']/.test(word) ? word.slice(1, -1).replaceAll(/\\(["\\])/g, '$1') : word;
}

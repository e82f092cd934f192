// Test helper only: scenarios as scripts. `runScript` plays one on a TestCluster and throws, naming the
// line, at the first thing that is not as the script says. One statement a line; `#` begins a comment.
//
//   option messageEntriesMax 1     before the cluster
//   cluster a b c learners d       new d: a node that believes in this, but is no member
//   disk a term 3 vote b base 2/1 log 1 2 2 voters a b     what a starts again with; `log` are the terms of its entries
//   settle · advance 500 · at 5000 · drop · deliver · deliver a>b · forget · forget a
//   cut a>b · isolate a · heal · lose append to b from c · lose nothing
//   b>a append t1 after 0/0 : 1/1  a receives this from b (test-notation.ts)
//   a elected · a proposes x y · …  see `actions`
//   a is leader term 3 commit 2    see `facts`; `each is …` for all nodes that are up
//   a sees b replicate match 3 next 4 inflight 0
//   a sent b ack t1 3              one message that begins so, and takes it away · a sent 2 append to b · a sent nothing to b
//   a told proposalsDropped 3-4    an effect that is no message

import { type Packet, TestCluster, type TestNode } from './test-cluster.js';
import { formatMessage, parseConfig, parseMessage, toPlace, Words } from './test-notation.js';
import { actions, facts } from './test-script-words.js';
import type { Entry, RaftConfig, RaftEffect, RaftOptions } from './types.js';

/** A script under way. */
class Play {
  #cluster: TestCluster | undefined;
  #config: RaftConfig = { voters: [], learners: [] };
  readonly #options: Record<string, number> = {};

  get cluster(): TestCluster {
    if (this.#cluster === undefined) throw new Error('no cluster yet');
    return this.#cluster;
  }

  line(line: string): void {
    const w = new Words(line);
    const word = w.next();
    if (word.includes('>')) {
      const [from, to] = pair(word);
      this.cluster.node(to).receive(from, parseMessage(w, this.#config));
    } else if (!this.#general(word, w)) {
      this.#node(word, w);
    }
    w.end();
  }

  #general(word: string, w: Words): boolean {
    switch (word) {
      case 'option':
        this.#options[w.next()] = w.number();
        return true;
      case 'cluster':
        this.#config = { voters: w.until('learners'), learners: w.take('learners') ? w.until() : [] };
        this.#cluster = new TestCluster(this.#config.voters, this.#options as Partial<RaftOptions>, this.#config.learners);
        return true;
      case 'new':
        this.cluster.add(w.next(), parseConfig(w, this.#config), this.#options as Partial<RaftOptions>);
        return true;
      case 'disk':
        this.#disk(w);
        return true;
      case 'each':
        w.need('is');
        this.#each(w.until());
        return true;
      default:
        return this.#network(word, w);
    }
  }

  #network(word: string, w: Words): boolean {
    const c = this.cluster;
    switch (word) {
      case 'settle':
        c.settle();
        return true;
      case 'advance':
        c.advance(w.number());
        return true;
      case 'at':
        c.now = w.number();
        return true;
      case 'drop':
        c.queue.length = 0;
        return true;
      case 'deliver':
        this.#deliver(w);
        return true;
      case 'forget':
        for (const n of w.left > 0 ? [c.node(w.next())] : c.nodes.values()) n.seen.length = 0;
        return true;
      case 'cut':
        c.cut(...pair(w.next()));
        return true;
      case 'isolate':
        c.isolate(w.next());
        return true;
      case 'heal':
        c.heal();
        return true;
      case 'lose':
        c.drop = loss(w);
        return true;
      default:
        return false;
    }
  }

  /** What is on its way now, from one to another or all of it; nothing that follows from it. */
  #deliver(w: Words): void {
    const c = this.cluster;
    const all = c.queue;
    const [from, to] = w.left > 0 ? pair(w.next()) : ['', ''];
    const now = all.filter((p) => from === '' || (p.from === from && p.to === to));
    const rest = all.filter((p) => !now.includes(p));
    c.queue = now;
    for (let i = now.length; i > 0; i--) c.deliverOne();
    c.queue = [...rest, ...c.queue];
  }

  #disk(w: Words): void {
    const n = this.cluster.node(w.next());
    const { disk } = n;
    let term = 0;
    let votedFor = '';
    if (w.take('term')) term = w.number();
    if (w.take('vote')) votedFor = w.next();
    if (w.take('base')) disk.base = toPlace(w.next());
    const first = disk.base.index + 1;
    const terms = w.take('log') ? w.until('voters').map(Number) : [];
    disk.log = terms.map((t, i): Entry => ({ index: first + i, term: t, kind: 'normal', data: new Uint8Array(0) }));
    disk.baseConfig = parseConfig(w, disk.baseConfig);
    disk.hardState = { currentTerm: Math.max(term, disk.base.term, ...terms), votedFor };
    n.restart();
  }

  #each(facts: string[]): void {
    for (const n of this.cluster.nodes.values()) if (n.up) this.#is(n, new Words(facts.join(' ')));
  }

  #node(id: string, w: Words): void {
    const n = this.cluster.node(id);
    const verb = w.next();
    if (verb === 'is') this.#is(n, w);
    else if (verb === 'sees') sees(n, w);
    else if (verb === 'sent') sent(n, w);
    else if (verb === 'told') told(n, w);
    else {
      const action = actions[verb];
      if (action === undefined) throw new Error(`${id} cannot "${verb}"`);
      action(n, w, this.cluster);
    }
  }

  #is(n: TestNode, w: Words): void {
    if (w.left === 0) throw new Error('is what?');
    while (w.left > 0) {
      const word = w.next();
      const fact = facts[word];
      if (fact === undefined) throw new Error(`no such fact: ${word}`);
      const [expected, actual] = fact(n.raft, w, n);
      same(`${n.id} ${word}`, expected, actual);
    }
  }
}

function sees(n: TestNode, w: Words): void {
  const id = w.next();
  const f = n.raft.followers().find((one) => one.id === id);
  if (f === undefined) {
    same(`${n.id} sees ${id}`, w.until().join(' '), 'not');
    return;
  }
  const state = w.next();
  same(`state of ${id}`, state, f.state);
  for (const [word, actual] of [
    ['match', f.matchIndex],
    ['next', f.nextIndex],
    ['inflight', f.inflightMessages],
  ] as const) {
    if (w.take(word)) same(`${word} of ${id}`, w.number(), actual);
  }
}

function sent(n: TestNode, w: Words): void {
  const sends = n.seen.filter((e) => e.type === 'send');
  const all = sends.map((e) => `${e.to} ${formatMessage(e.message)}`);
  if (w.take('nothing') || /^\d+$/.test(w.peek())) {
    const count = /^\d+$/.test(w.peek()) ? w.number() : 0;
    const kind = w.peek() === 'to' ? '' : w.until('to').join(' ');
    const to = w.take('to') ? w.next() : '';
    const matching = sends.filter((e) => (to === '' || e.to === to) && `${formatMessage(e.message)} `.startsWith(kind === '' ? '' : `${kind} `));
    if (matching.length !== count) throw new Error(`${n.id} sent ${matching.length} of them:${listed(all)}`);
    return;
  }
  const wanted = w.until().join(' ');
  const at = all.findIndex((one) => `${one} `.startsWith(`${wanted} `));
  if (at < 0) throw new Error(`${n.id} did not send "${wanted}" but:${listed(all)}`);
  n.seen.splice(n.seen.indexOf(sends[at] as RaftEffect), 1);
}

function told(n: TestNode, w: Words): void {
  const effects = n.seen.map(formatEffect).filter((e) => e !== '');
  if (w.take('nothing')) {
    const kind = w.left > 0 ? w.next() : '';
    const some = effects.filter((e) => e.startsWith(kind));
    if (some.length > 0) throw new Error(`${n.id} told${listed(some)}`);
    return;
  }
  const wanted = w.until().join(' ');
  if (!effects.some((e) => e === wanted)) throw new Error(`${n.id} did not tell "${wanted}" but:${listed(effects)}`);
}

/** '' for what has its own words. */
function formatEffect(e: RaftEffect): string {
  switch (e.type) {
    case 'send':
      return '';
    case 'persist': {
      const h = e.hardState;
      const first = e.entries[0];
      const entries = first === undefined ? '' : ` ${first.index}-${first.index + e.entries.length - 1}`;
      return `persist${h === undefined ? '' : ` t${h.currentTerm} vote ${h.votedFor === '' ? '-' : h.votedFor}`}${entries}`;
    }
    case 'commit':
      return `commit ${e.index} apply ${e.applyTo}`;
    case 'role':
      return `role ${e.role} t${e.term} of ${e.leader === '' ? '-' : e.leader}`;
    case 'readable':
      return `readable ${e.token} at ${e.index}`;
    case 'readFailed':
      return `readFailed ${e.token}`;
    case 'needSnapshot':
      return `needSnapshot ${e.to}`;
    case 'installSnapshot':
      return `installSnapshot ${e.index}/${e.term} from ${e.from}`;
    case 'proposalsDropped':
      return `proposalsDropped ${e.from}-${e.to}`;
    case 'config':
      return `config ${e.index}`;
    case 'recovered':
      return 'recovered';
  }
}

function loss(w: Words): (p: Packet) => boolean {
  const kind = w.next();
  const from = w.take('from') ? w.next() : '';
  const to = w.take('to') ? w.next() : '';
  if (kind === 'nothing') return () => false;
  return (p) => (from === '' || p.from === from) && (to === '' || p.to === to) && (kind === 'all' || formatMessage(p.message).split(' ')[0] === kind);
}

function pair(word: string): [string, string] {
  const [from, to] = word.split('>');
  if (from === undefined || to === undefined || from === '' || to === '') throw new Error(`not from>to: ${word}`);
  return [from, to];
}

function same(what: string, expected: unknown, actual: unknown): void {
  if (expected !== actual) throw new Error(`${what}: ${String(actual)} and not ${String(expected)}`);
}

function listed(lines: readonly string[]): string {
  return lines.length === 0 ? ' nothing' : `\n    ${lines.join('\n    ')}`;
}

/** Plays the script to its end. */
export function runScript(script: string): TestCluster {
  const play = new Play();
  script.split('\n').forEach((line, i) => {
    const text = line.replace(/#.*$/, '').trim();
    if (text === '') return;
    try {
      play.line(text);
    } catch (e) {
      throw new Error(`line ${i + 1}, ${text}\n  ${e instanceof Error ? e.message : String(e)}`, { cause: e });
    }
  });
  return play.cluster;
}

// Test helper only: messages as words, for scripts (test-script.ts). Both directions: `parseMessage` builds
// what a script lets a node receive, `formatMessage` says what a node has sent.
//
//   vote t3 last 5/2 · prevote t3 last 5/2 · … transfer · granted t3 · refused t3 · pregranted t3 · prerefused t3
//   append t3 after 4/2 commit 3 : 5/2 6/3 · ack t3 6 · reject t3 6 hint 4/2
//   beat t3 commit 4 round 2 · beat-ack t3 round 2 · offer t3 9/2 voters a b · timeout-now t3
//
// 5/2 is index 5 of term 2. A number of a stream, ` s2`, may follow in append, ack and reject; 1 when left out.
import type { Entry, NodeId, RaftConfig, RaftMessage } from './types.js';

interface Place {
  readonly index: number;
  readonly term: number;
}

/** The words of one line, taken from the left. */
export class Words {
  readonly #words: string[];
  readonly #line: string;

  constructor(line: string) {
    this.#line = line;
    this.#words = line.split(/\s+/).filter((w) => w !== '');
  }

  get left(): number {
    return this.#words.length;
  }

  peek(): string {
    return this.#words[0] ?? '';
  }

  next(): string {
    const word = this.#words.shift();
    if (word === undefined) throw new Error(`something is missing in: ${this.#line}`);
    return word;
  }

  /** Takes the word when it is next. */
  take(word: string): boolean {
    if (this.#words[0] !== word) return false;
    this.#words.shift();
    return true;
  }

  need(word: string): void {
    if (!this.take(word)) throw new Error(`expected "${word}" before "${this.peek()}" in: ${this.#line}`);
  }

  number(): number {
    return toNumber(this.next());
  }

  /** `t3` */
  term(): number {
    const word = this.next();
    if (!word.startsWith('t')) throw new Error(`expected a term, like t3, not ${word}`);
    return toNumber(word.slice(1));
  }

  /** `5/2` */
  place(): Place {
    return toPlace(this.next());
  }

  /** Words up to one of `stops` or the end. */
  until(...stops: string[]): string[] {
    const out: string[] = [];
    while (this.#words.length > 0 && !stops.includes(this.peek())) out.push(this.next());
    return out;
  }

  end(): void {
    if (this.#words.length > 0) throw new Error(`not understood: ${this.#words.join(' ')}`);
  }
}

export function toNumber(word: string): number {
  const n = Number(word);
  if (word === '' || !Number.isInteger(n)) throw new Error(`not a number: ${word}`);
  return n;
}

export function toPlace(word: string): Place {
  const [index, term, ...rest] = word.split('/');
  if (index === undefined || term === undefined || rest.length > 0) throw new Error(`not index/term: ${word}`);
  return { index: toNumber(index), term: toNumber(term) };
}

export function parseConfig(w: Words, config: RaftConfig): RaftConfig {
  let { voters, learners } = config;
  if (w.take('voters')) {
    voters = w.until('learners');
    learners = [];
  }
  if (w.take('learners')) learners = w.until();
  return { voters, learners };
}

function parseStream(w: Words): number {
  return /^s\d+$/.test(w.peek()) ? toNumber(w.next().slice(1)) : 1;
}

const voteAnswers: Readonly<Record<string, readonly [preVote: boolean, granted: boolean]>> = {
  granted: [false, true],
  refused: [false, false],
  pregranted: [true, true],
  prerefused: [true, false],
};

/** `config`: what an offer carries when the script does not say. */
export function parseMessage(w: Words, config: RaftConfig): RaftMessage {
  const kind = w.next();
  const term = w.term();
  const answer = voteAnswers[kind];
  if (answer !== undefined) return { type: 'voteResponse', term, preVote: answer[0], granted: answer[1] };
  switch (kind) {
    case 'vote':
    case 'prevote': {
      w.need('last');
      const last = w.place();
      return { type: 'requestVote', term, preVote: kind === 'prevote', lastIndex: last.index, lastTerm: last.term, transfer: w.take('transfer') };
    }
    case 'append': {
      w.need('after');
      const prev = w.place();
      const commit = w.take('commit') ? w.number() : 0;
      const stream = parseStream(w);
      const entries: Entry[] = w.take(':') ? w.until().map((word) => ({ ...toPlace(word), kind: 'normal', data: new Uint8Array(0) })) : [];
      return { type: 'append', term, prevIndex: prev.index, prevTerm: prev.term, commit, stream, entries };
    }
    case 'ack':
      return { type: 'appendResponse', term, index: w.number(), stream: parseStream(w), rejected: false, hintIndex: 0, hintTerm: 0, recovery: 0 };
    case 'reject': {
      const index = w.number();
      w.need('hint');
      const hint = w.place();
      return { type: 'appendResponse', term, index, stream: parseStream(w), rejected: true, hintIndex: hint.index, hintTerm: hint.term, recovery: 0 };
    }
    case 'beat': {
      const commit = w.take('commit') ? w.number() : 0;
      return { type: 'heartbeat', term, commit, round: w.take('round') ? w.number() : 0 };
    }
    case 'beat-ack':
      return { type: 'heartbeatResponse', term, round: w.take('round') ? w.number() : 0, recovery: 0 };
    case 'offer': {
      const at = w.place();
      return { type: 'installSnapshot', term, index: at.index, indexTerm: at.term, config: parseConfig(w, config) };
    }
    case 'timeout-now':
      return { type: 'timeoutNow', term };
    default:
      throw new Error(`no such message: ${kind}`);
  }
}

/** In the same words; the stream is left out. */
export function formatMessage(m: RaftMessage): string {
  const t = `t${m.term}`;
  switch (m.type) {
    case 'requestVote':
      return `${m.preVote ? 'prevote' : 'vote'} ${t} last ${m.lastIndex}/${m.lastTerm}${m.transfer ? ' transfer' : ''}`;
    case 'voteResponse':
      return `${m.preVote ? 'pre' : ''}${m.granted ? 'granted' : 'refused'} ${t}`;
    case 'append': {
      const entries = m.entries.map((e) => ` ${e.index}/${e.term}`).join('');
      return `append ${t} after ${m.prevIndex}/${m.prevTerm} commit ${m.commit}${entries === '' ? '' : ` :${entries}`}`;
    }
    case 'appendResponse':
      return m.rejected ? `reject ${t} ${m.index} hint ${m.hintIndex}/${m.hintTerm}` : `ack ${t} ${m.index}`;
    case 'heartbeat':
      return `beat ${t} commit ${m.commit} round ${m.round}`;
    case 'heartbeatResponse':
      return `beat-ack ${t} round ${m.round}`;
    case 'installSnapshot':
      return `offer ${t} ${m.index}/${m.indexTerm} ${formatConfig(m.config)}`;
    case 'timeoutNow':
      return `timeout-now ${t}`;
    case 'recovered':
      return `recovered ${t}`;
  }
}

export function formatConfig(c: RaftConfig): string {
  return `voters ${list(c.voters)}${c.learners.length === 0 ? '' : ` learners ${list(c.learners)}`}`;
}

function list(ids: readonly NodeId[]): string {
  return [...ids].sort().join(' ');
}

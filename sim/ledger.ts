// What campaigns have run, as a Markdown file that people read and that `--resume` continues: one row
// per scope, commit and contiguous range of seeds, and one per violation. Read and written by campaign.ts.
//
// Invariants: what is not a row of the two tables stays as it is; rows of one scope, commit and length whose
// seeds follow each other become one; a seed that any row of its scope covers is not run again.

/** Seeds `first` to `last` of a scope at one commit, and what happened in them. */
export interface LedgerRow {
  readonly scope: string;
  readonly commit: string;
  readonly first: number;
  readonly last: number;
  /** Simulated seconds of faults per seed. */
  readonly seconds: number;
  readonly simSeconds: number;
  readonly events: number;
  /** Work done and faults injected, by kind. */
  readonly counts: Readonly<Record<string, number>>;
  readonly violations: number;
}

export interface LedgerViolation {
  readonly scope: string;
  readonly seed: number;
  readonly commit: string;
  readonly what: string;
  readonly repeat: string;
}

export interface Ledger {
  readonly rows: readonly LedgerRow[];
  /** Their lines as they stand, with what people wrote into them. */
  readonly violationLines: readonly string[];
}

const runsHead = '| scope | commit | seeds | seconds each | simulated s | events | work | faults | violations |';
const violationsHead = '| scope | seed | commit | what | repeat | cause and fix |';
const whatLengthMax = 300;
const faultPrefix = 'faults: ';
const title = `# Simulation ledger

Every campaign of the simulator, appended by \`npm run sim -- --scope SCOPE --resume docs/simulation-ledger.md\` as each batch of seeds ends. The tool writes the rows; the last column of the second table is for people.
`;

function cells(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((c) => c.trim());
}

function parseCounts(work: string, faults: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [text, prefix] of [
    [work, ''],
    [faults, faultPrefix],
  ] as const)
    for (const part of text.split(', ')) {
      const at = part.lastIndexOf(' ');
      if (at > 0) counts[prefix + part.slice(0, at)] = Number(part.slice(at + 1));
    }
  return counts;
}

function parseRow(c: readonly string[]): LedgerRow | undefined {
  const [scope, commit, seeds, seconds, simSeconds, events, work, faults, violations] = c;
  const range = /^(\d+)–(\d+)$/.exec(seeds ?? '');
  if (range === null || scope === undefined || commit === undefined) return undefined;
  return {
    scope,
    commit,
    first: Number(range[1]),
    last: Number(range[2]),
    seconds: Number(seconds),
    simSeconds: Number(simSeconds),
    events: Number(events),
    counts: parseCounts(work ?? '', faults ?? ''),
    violations: Number(violations),
  };
}

export function parseLedger(text: string): Ledger {
  const rows: LedgerRow[] = [];
  const violationLines: string[] = [];
  let table: string | undefined;
  for (const line of text.split('\n')) {
    if (line === runsHead || line === violationsHead) table = line;
    else if (!line.startsWith('|')) table = undefined;
    else if (table === violationsHead && !line.startsWith('|---')) violationLines.push(line);
    else if (table === runsHead) {
      const row = parseRow(cells(line));
      if (row !== undefined) rows.push(row);
    }
  }
  return { rows, violationLines };
}

function joinable(a: LedgerRow, b: LedgerRow): boolean {
  return a.scope === b.scope && a.commit === b.commit && a.seconds === b.seconds && a.last + 1 === b.first;
}

function joined(a: LedgerRow, b: LedgerRow): LedgerRow {
  const counts: Record<string, number> = { ...a.counts };
  for (const [what, n] of Object.entries(b.counts)) counts[what] = (counts[what] ?? 0) + n;
  return {
    ...a,
    last: b.last,
    simSeconds: a.simSeconds + b.simSeconds,
    events: a.events + b.events,
    counts,
    violations: a.violations + b.violations,
  };
}

/** Rows with neighbours made one, by scope and seed. */
export function mergeRows(rows: readonly LedgerRow[]): LedgerRow[] {
  const sorted = [...rows].sort((a, b) => (a.scope === b.scope ? a.first - b.first : a.scope < b.scope ? -1 : 1));
  const out: LedgerRow[] = [];
  for (const row of sorted) {
    const before = out.at(-1);
    if (before !== undefined && joinable(before, row)) out[out.length - 1] = joined(before, row);
    else out.push(row);
  }
  return out;
}

/** The next `count` seeds from `first` on that no row of the scope covers, as ranges of `batch` at most. */
export function* seedsToRun(rows: readonly LedgerRow[], scope: string, first: number, count: number, batch: number): Generator<[number, number]> {
  const done = rows.filter((r) => r.scope === scope).sort((a, b) => a.first - b.first);
  let seed = first;
  for (let left = count; left > 0; ) {
    const covering = done.find((r) => r.first <= seed && seed <= r.last);
    if (covering !== undefined) {
      seed = covering.last + 1;
      continue;
    }
    const next = done.find((r) => r.first > seed)?.first ?? Number.POSITIVE_INFINITY;
    const last = Math.min(seed + Math.min(left, batch) - 1, next - 1);
    yield [seed, last];
    left -= last - seed + 1;
    seed = last + 1;
  }
}

function countsText(counts: Readonly<Record<string, number>>, faults: boolean): string {
  return Object.keys(counts)
    .filter((k) => k.startsWith(faultPrefix) === faults && counts[k] !== 0)
    .sort()
    .map((k) => `${faults ? k.slice(faultPrefix.length) : k} ${counts[k]}`)
    .join(', ');
}

function rowText(r: LedgerRow): string {
  const sim = Math.round(r.simSeconds * 10) / 10;
  return `| ${r.scope} | ${r.commit} | ${r.first}–${r.last} | ${r.seconds} | ${sim} | ${r.events} | ${countsText(r.counts, false)} | ${countsText(r.counts, true)} | ${r.violations} |`;
}

export function violationText(v: LedgerViolation): string {
  const first = (v.what.split('\n')[0] ?? '').replaceAll('|', '/').slice(0, whatLengthMax);
  return `| ${v.scope} | ${v.seed} | ${v.commit} | ${first} | \`${v.repeat}\` | |`;
}

/** The text with its two tables replaced (or added at the end) by the ledger's. */
export function writeLedger(text: string, ledger: Ledger): string {
  let out = text.trim() === '' ? title : text;
  const tables: readonly (readonly [string, string, readonly string[]])[] = [
    [runsHead, '## Runs', mergeRows(ledger.rows).map(rowText)],
    [violationsHead, '## Violations', ledger.violationLines],
  ];
  for (const [head, heading, lines] of tables) {
    const columns = cells(head).length;
    const table = [head, `|${'---|'.repeat(columns)}`, ...lines];
    const all = out.split('\n');
    const at = all.indexOf(head);
    if (at < 0) {
      out = `${out.trimEnd()}\n\n${heading}\n\n${table.join('\n')}\n`;
      continue;
    }
    let end = at;
    while (all[end]?.startsWith('|') === true) end++;
    out = [...all.slice(0, at), ...table, ...all.slice(end)].join('\n');
  }
  return out;
}

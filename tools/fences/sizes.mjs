// Lengths of files and functions, against limits and a list of exceptions that only shrinks.

export const fileLinesWarn = 400;
export const fileLinesMax = 500;
export const functionLinesMax = 70;

const notFunctions = new Set(['if', 'for', 'while', 'switch', 'catch', 'with']);
const stopWords = new Set('class interface extends implements else do try finally return import export type new throw case default'.split(' '));
/** How far a return type may reach back from the body's brace, in tokens. */
const returnTypeTokensMax = 200;

/**
 * Every function with a body in braces.
 * @param {import('./lex.mjs').Token[]} tokens
 * @returns {{ name: string, line: number, lines: number }[]}
 */
export function findFunctions(tokens) {
  const partner = matchBrackets(tokens);
  const found = [];
  for (let i = 0; i < tokens.length; i++) {
    if (!is(tokens[i], '{')) continue;
    const end = partner.get(i);
    const head = end === undefined ? undefined : functionHead(tokens, partner, i);
    if (head === undefined) continue;
    found.push({ name: functionName(tokens, head), line: tokens[head].line, lines: tokens[end].line - tokens[head].line + 1 });
  }
  return found;
}

// The index of the `(` or the arrow's parameter that begins the function whose body opens at `body`.
function functionHead(tokens, partner, body) {
  const before = tokens[body - 1];
  if (is(before, '=>')) {
    let k = body - 2;
    // `(a): Type => {`: back to the parameter list.
    if (!is(tokens[k], ')')) k = returnTypeStart(tokens, partner, k) ?? k;
    return is(tokens[k], ')') ? (partner.get(k) ?? k) : k;
  }
  const close = is(before, ')') ? body - 1 : returnTypeStart(tokens, partner, body - 1);
  if (close === undefined || !is(tokens[close], ')')) return undefined;
  const open = partner.get(close);
  if (open === undefined) return undefined;
  const word = tokens[open - 1];
  return word?.kind === 'word' && notFunctions.has(word.text) ? undefined : open;
}

// Walks back over a return type; gives the index of the `)` before its colon.
function returnTypeStart(tokens, partner, last) {
  let k = last;
  for (let steps = 0; steps < returnTypeTokensMax && k > 0; steps++) {
    const t = tokens[k];
    if (is(t, ':')) return k !== last && is(tokens[k - 1], ')') ? k - 1 : undefined;
    if (t.kind === 'word' && stopWords.has(t.text)) return undefined;
    if (t.kind === 'punct') {
      if (['}', ')', ']'].includes(t.text)) {
        const open = partner.get(k);
        if (open === undefined) return undefined;
        k = open - 1;
        continue;
      }
      if (['{', '(', '[', '${', ';', '=', '?'].includes(t.text)) return undefined;
    }
    k--;
  }
  return undefined;
}

function functionName(tokens, head) {
  let k = head - 1;
  if (is(tokens[k], '>')) {
    let depth = 0;
    for (; k >= 0; k--) {
      if (is(tokens[k], '>')) depth++;
      else if (is(tokens[k], '<') && --depth === 0) break;
    }
    k--;
  }
  if (tokens[k]?.kind === 'word' && tokens[k].text === 'async') k--;
  if (tokens[k]?.kind === 'word') return tokens[k].text;
  if (is(tokens[k], '=') || is(tokens[k], ':')) return nameBefore(tokens, k);
  return '(anonymous)';
}

function nameBefore(tokens, k) {
  for (let i = k - 1; i >= Math.max(0, k - 30); i--) {
    if (tokens[i].kind !== 'word') continue;
    const before = tokens[i - 1];
    if (before?.kind === 'word' && ['const', 'let', 'readonly', 'private', 'static'].includes(before.text)) return tokens[i].text;
    if (i === k - 1) return tokens[i].text;
  }
  return '(anonymous)';
}

function matchBrackets(tokens) {
  const partner = new Map();
  const open = [];
  for (let i = 0; i < tokens.length; i++) {
    const t = tokens[i];
    if (t.kind !== 'punct') continue;
    if (['{', '(', '[', '${'].includes(t.text)) open.push(i);
    else if (['}', ')', ']', '}$'].includes(t.text)) {
      const from = open.pop();
      if (from === undefined) continue;
      partner.set(from, i);
      partner.set(i, from);
    }
  }
  return partner;
}

/**
 * @param {Map<string, { lines: number, functions: { name: string, line: number, lines: number }[], test: boolean }>} files
 * @param {{ files: Record<string, { lines: number, why: string }>, functions: Record<string, { lines: number, why: string }> }} ratchet
 */
export function compareSizes(files, ratchet) {
  const problems = [];
  const notes = [];
  const seen = new Set();
  const longest = new Map();
  for (const [path, file] of files) {
    const allowed = ratchet.files[path];
    if (allowed !== undefined) seen.add(path);
    if (file.lines > (allowed?.lines ?? fileLinesMax)) {
      problems.push({
        path,
        line: file.lines,
        message: `${file.lines} lines, at most ${allowed?.lines ?? fileLinesMax}: find the seam and split it`,
      });
    } else if (allowed !== undefined && file.lines < allowed.lines)
      notes.push(`${path}: ${file.lines} lines now, ratchet still says ${allowed.lines}`);
    else if (allowed === undefined && file.lines > fileLinesWarn) notes.push(`${path}: ${file.lines} lines, more than ${fileLinesWarn}`);
    if (file.test) continue;
    for (const f of file.functions) {
      const key = `${path}#${f.name}`;
      if (f.lines > (longest.get(key)?.lines ?? 0)) longest.set(key, { ...f, path });
    }
  }
  for (const [key, f] of longest) {
    const allowed = ratchet.functions[key];
    if (allowed !== undefined) seen.add(key);
    if (f.lines > (allowed?.lines ?? functionLinesMax)) {
      const message = `${f.name} has ${f.lines} lines, at most ${allowed?.lines ?? functionLinesMax}`;
      problems.push({ path: f.path, line: f.line, message });
    } else if (allowed !== undefined && f.lines < allowed.lines) notes.push(`${key}: ${f.lines} lines now, ratchet still says ${allowed.lines}`);
  }
  for (const key of [...Object.keys(ratchet.files), ...Object.keys(ratchet.functions)]) {
    if (!seen.has(key))
      problems.push({ path: 'tools/ratchet.json', line: 1, message: `${key} no longer exists; take it out (node tools/check-fences.mjs --tighten)` });
  }
  return { problems, notes };
}

/** The ratchet with every figure lowered to what is there now, and what needs no exception removed. */
export function tighten(files, ratchet) {
  const next = { files: {}, functions: {} };
  for (const [path, entry] of Object.entries(ratchet.files)) {
    const lines = files.get(path)?.lines ?? 0;
    if (lines > fileLinesMax) next.files[path] = { ...entry, lines: Math.min(entry.lines, lines) };
  }
  for (const [key, entry] of Object.entries(ratchet.functions)) {
    const [path, name] = key.split('#');
    const lengths = (files.get(path)?.functions ?? []).filter((f) => f.name === name).map((f) => f.lines);
    const lines = Math.max(0, ...lengths);
    if (lines > functionLinesMax) next.functions[key] = { ...entry, lines: Math.min(entry.lines, lines) };
  }
  return next;
}

function is(token, text) {
  return token?.kind === 'punct' && token.text === text;
}

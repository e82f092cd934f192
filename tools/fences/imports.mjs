// Which modules a file asks for, in every spelling the language has.

/**
 * @typedef {object} Import
 * @property {string} specifier
 * @property {number} line
 * @property {'static' | 'export' | 'dynamic'} kind `import('x').T` in a type counts as dynamic
 * @property {boolean} star `export * from`
 */

/**
 * @param {import('./lex.mjs').Token[]} tokens
 * @returns {{ imports: Import[], problems: { line: number, message: string }[] }}
 */
export function findImports(tokens) {
  const imports = [];
  const problems = [];
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    if (token.kind !== 'word' || isMember(tokens, i)) continue;
    if (token.text === 'import') importAt(tokens, i, imports, problems);
    else if (token.text === 'export') exportAt(tokens, i, imports);
    else if (token.text === 'require' && is(tokens[i + 1], '('))
      problems.push({ line: token.line, message: '`require` is not available in ES modules' });
  }
  return { imports, problems };
}

/** True for `a.word` and `a?.word`, and for object keys and methods named like a keyword. */
export function isMember(tokens, i) {
  const before = tokens[i - 1];
  return before?.kind === 'punct' && (before.text === '.' || before.text === '?.');
}

function importAt(tokens, i, imports, problems) {
  const next = tokens[i + 1];
  if (next === undefined || is(next, '.') || is(next, ':')) return;
  if (next.kind === 'string') {
    imports.push({ specifier: next.text, line: next.line, kind: 'static', star: false });
    return;
  }
  if (is(next, '(')) {
    const argument = tokens[i + 2];
    const end = tokens[i + 3];
    if (argument?.kind === 'string' && (is(end, ')') || is(end, ','))) {
      imports.push({ specifier: argument.text, line: argument.line, kind: 'dynamic', star: false });
    } else problems.push({ line: next.line, message: 'import() of a computed name: the fences cannot see where it leads' });
    return;
  }
  const from = fromClause(tokens, i + 1);
  if (from !== undefined) imports.push({ specifier: from.text, line: from.line, kind: 'static', star: false });
  else problems.push({ line: next.line, message: 'an import that the fences cannot read' });
}

function exportAt(tokens, i, imports) {
  let k = i + 1;
  if (tokens[k]?.kind === 'word' && tokens[k].text === 'type') k++;
  const star = is(tokens[k], '*');
  if (!star && !is(tokens[k], '{')) return;
  const from = fromClause(tokens, k);
  if (from !== undefined) imports.push({ specifier: from.text, line: from.line, kind: 'export', star });
}

// The string behind `from`, when only names, commas, braces and stars stand before it.
function fromClause(tokens, start) {
  for (let k = start; k < tokens.length; k++) {
    const t = tokens[k];
    if (t.kind === 'word' && t.text === 'from' && tokens[k + 1]?.kind === 'string') return tokens[k + 1];
    const fits = t.kind === 'word' || t.kind === 'string' || ['{', '}', ',', '*'].includes(t.text);
    if (!fits) return undefined;
  }
  return undefined;
}

function is(token, text) {
  return token?.kind === 'punct' && token.text === text;
}

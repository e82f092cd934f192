// A small lexer for TypeScript, exact enough for the fences: it never takes the inside of a comment,
// a string or a regular expression for code, and code inside a template's `${…}` is lexed as code.

/**
 * @typedef {object} Token
 * @property {'word' | 'punct' | 'string' | 'template' | 'number' | 'regex'} kind
 * @property {string} text the word, the punctuator, or the text between the quotes (as written)
 * @property {number} line 1-based
 */

// After these words a `/` begins a regular expression; after any other word it divides.
const beforeRegex = new Set('return typeof instanceof in of new delete void throw case do else yield await'.split(' '));
const parenKeywords = new Set(['if', 'while', 'for', 'with']);
// Longest first. `>` stays alone, so that closing type arguments (`>>`) need no parser.
const punctuators = ['...', '=>', '?.', '??', '&&', '||', '==', '!=', '<=', '++', '--', '**'];

/**
 * @param {string} source
 * @returns {{ tokens: Token[], comments: { text: string, line: number }[], lines: number }}
 */
export function lex(source) {
  const tokens = [];
  const comments = [];
  // One entry per open bracket: 'paren-if' after a keyword, 'template' for `${`, else the bracket itself.
  const open = [];
  let line = 1;
  let at = 0;
  let afterKeywordParen = false;

  const push = (kind, text, from) => tokens.push({ kind, text, line: from });
  const count = (text) => {
    for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) === 10) line++;
  };

  const regexMayStart = () => {
    const last = tokens.at(-1);
    if (last === undefined) return true;
    if (last.kind === 'word') return beforeRegex.has(last.text);
    if (last.kind === 'punct') return last.text === ')' ? afterKeywordParen : last.text !== ']' && last.text !== '}';
    return false;
  };

  // From just behind the opening backtick or the `}` of a substitution.
  const templateChunk = () => {
    const from = line;
    const start = at;
    while (at < source.length) {
      if (source[at] === '\\') at += 2;
      else if (source[at] === '`') break;
      else if (source[at] === '$' && source[at + 1] === '{') break;
      else at++;
    }
    const text = source.slice(start, at);
    count(text);
    push('template', text, from);
    if (source[at] === '$') {
      at += 2;
      open.push('template');
      push('punct', '${', line);
    } else at++;
  };

  const quoted = (quote) => {
    const start = ++at;
    while (at < source.length && source[at] !== quote && source[at] !== '\n') at += source[at] === '\\' ? 2 : 1;
    push('string', source.slice(start, at), line);
    count(source.slice(start, at));
    at++;
  };

  const regex = () => {
    const start = at++;
    let inClass = false;
    while (at < source.length && source[at] !== '\n') {
      const c = source[at];
      if (c === '\\') at++;
      else if (c === '[') inClass = true;
      else if (c === ']') inClass = false;
      else if (c === '/' && !inClass) break;
      at++;
    }
    at++;
    while (/[a-z]/.test(source[at] ?? '')) at++;
    push('regex', source.slice(start, at), line);
  };

  const comment = (end, keepEnd) => {
    const from = line;
    const found = source.indexOf(end, at + 2);
    const stop = found < 0 ? source.length : found + (keepEnd ? 0 : end.length);
    const text = source.slice(at, stop);
    comments.push({ text, line: from });
    count(text);
    at = stop;
  };

  const punct = () => {
    const text = punctuators.find((p) => source.startsWith(p, at)) ?? source[at];
    at += text.length;
    if (text === '(') {
      const last = tokens.at(-1);
      open.push(last?.kind === 'word' && parenKeywords.has(last.text) ? 'paren-if' : '(');
    } else if (text === '[' || text === '{') open.push(text);
    else if (text === ')' || text === ']' || text === '}') {
      const opener = open.pop();
      afterKeywordParen = opener === 'paren-if';
      if (opener === 'template') {
        push('punct', '}$', line);
        templateChunk();
        return;
      }
    }
    push('punct', text, line);
  };

  while (at < source.length) {
    const c = source[at];
    if (c === '\n') {
      line++;
      at++;
    } else if (/\s/.test(c)) at++;
    else if (source.startsWith('//', at)) comment('\n', true);
    else if (source.startsWith('/*', at)) comment('*/', false);
    else if (source.startsWith('#!', at) && at === 0) comment('\n', true);
    else if (c === "'" || c === '"') quoted(c);
    else if (c === '`') {
      at++;
      templateChunk();
    } else if (c === '/' && regexMayStart()) regex();
    else if (/[\p{ID_Start}$_#@]/u.test(c) || c > '\u007f') {
      const word = /^[#@]?[\p{ID_Continue}$\u200c\u200d]*/u.exec(source.slice(at, at + 500))?.[0] ?? c;
      const text = word.length > 0 ? word : c;
      push('word', text, line);
      at += text.length;
    } else if (/[0-9]/.test(c)) {
      const text = /^[0-9][\w.]*/.exec(source.slice(at, at + 200))?.[0] ?? c;
      push('number', text, line);
      at += text.length;
    } else punct();
  }
  return { tokens, comments, lines: source.length === 0 ? 0 : line - (source.endsWith('\n') ? 1 : 0) };
}

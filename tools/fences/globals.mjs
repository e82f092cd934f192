// What a deterministic room may not touch, found in the tokens of one file. TypeScript already
// refuses undeclared names there (`types: []`); this is for what it lets through, and for disguises.
import { isMember } from './imports.mjs';

const never = new Map(
  Object.entries({
    globalThis: 'reaches everything by name',
    Reflect: 'reaches everything by name',
    Function: 'the constructor runs text; for a type write the signature',
    eval: 'runs text',
    performance: 'is a clock',
    Intl: 'depends on the machine',
    WeakRef: 'depends on the garbage collector',
    FinalizationRegistry: 'depends on the garbage collector',
    Atomics: 'can wait and wake outside the event loop',
    SharedArrayBuffer: 'shares memory with other threads',
    Buffer: 'belongs to Node; use Uint8Array and #base/bytes.js',
    setTimeout: 'is a clock; use env Clock',
    setInterval: 'is a clock; use env Clock',
    setImmediate: 'is a clock; use env Clock',
    clearTimeout: 'is a clock; use env Clock',
    clearInterval: 'is a clock; use env Clock',
    clearImmediate: 'is a clock; use env Clock',
    queueMicrotask: 'schedules by itself; use env Clock.endOfTurn',
    structuredClone: 'belongs to the host',
    TextEncoder: 'belongs to the host; use #base/utf8.js',
    TextDecoder: 'belongs to the host; use #base/utf8.js',
    console: 'belongs to the host; use env Logger',
  }),
);

// Refused also behind a dot: text order and text case that depend on the machine's locale.
const neverMember = new Set([
  'localeCompare',
  'toLocaleString',
  'toLocaleDateString',
  'toLocaleTimeString',
  'toLocaleUpperCase',
  'toLocaleLowerCase',
]);

const declared = new Set(['const', 'let', 'var', 'function', 'global', 'module', 'namespace', 'class', 'abstract', 'enum']);

/**
 * @param {import('./lex.mjs').Token[]} tokens
 * @param {{ dates?: boolean }} [allow] dates: the room stores Date values, so it may name the type and build one from a number
 * @returns {{ line: number, message: string }[]}
 */
export function findForbidden(tokens, allow = {}) {
  const found = [];
  for (let i = 0; i < tokens.length; i++) {
    const t = tokens[i];
    if (t.kind === 'punct' && t.text === '\\') found.push({ line: t.line, message: 'an escaped identifier hides its name' });
    if (t.kind === 'string' && t.text === 'constructor' && is(tokens[i - 1], '['))
      found.push({ line: t.line, message: "['constructor'] leads to Function" });
    if (t.kind !== 'word') continue;
    const why = isMember(tokens, i) ? member(tokens, i) : bare(tokens, i, allow);
    if (why !== undefined) found.push({ line: t.line, message: why });
  }
  return found;
}

function member(tokens, i) {
  const name = tokens[i].text;
  if (neverMember.has(name)) return `${name} depends on the machine's locale`;
  if (name === 'constructor') return '.constructor leads to Function';
  if (name === 'meta' && tokens[i - 2]?.text === 'import') return 'import.meta belongs to the host';
  return undefined;
}

function bare(tokens, i, allow) {
  const name = tokens[i].text;
  const next = tokens[i + 1];
  const why = never.get(name);
  if (why !== undefined && !isKey(tokens, i)) return `${name} ${why}`;
  if (name === 'process' && (is(next, '.') || is(next, '?.') || is(next, '['))) return 'process belongs to Node';
  if (name === 'Math') return mathUse(tokens, i);
  if (name === 'Date' && !(allow.dates === true && dateUseIsFixed(tokens, i)))
    return 'Date is a clock; time comes in as a parameter or from env Clock';
  if (name === 'declare' && next?.kind === 'word' && declared.has(next.text))
    return `declare ${next.text} names something that this room does not have`;
  return undefined;
}

// A property's name in a type or an object literal: `{ performance: 1 }`.
function isKey(tokens, i) {
  const before = tokens[i - 1];
  return is(tokens[i + 1], ':') && (is(before, '{') || is(before, ',') || is(before, ';') || before?.text === 'readonly');
}

function mathUse(tokens, i) {
  const name = tokens[i + 2];
  if (!is(tokens[i + 1], '.') || name?.kind !== 'word') return 'Math only as Math.name: any other use could hide Math.random';
  return name.text === 'random' ? 'Math.random is not repeatable; randomness comes from env Random or #base/prng.js' : undefined;
}

// `instanceof Date`, `new Date(something)`, and the type; never the clock (`Date.now`, `Date()`, `new Date()`).
function dateUseIsFixed(tokens, i) {
  const before = tokens[i - 1];
  const next = tokens[i + 1];
  if (before?.text === 'instanceof') return true;
  if (before?.text === 'new') return is(next, '(') && !is(tokens[i + 2], ')') && !is(tokens[i + 2], '...');
  return [':', '|', 'as', 'is', '<', ','].includes(before?.text ?? '') && !is(next, '.') && !is(next, '(') && !is(next, '[') && !is(next, '?.');
}

function is(token, text) {
  return token?.kind === 'punct' && token.text === text;
}

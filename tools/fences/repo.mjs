// What must not be in the repository, whatever the file: traces of one machine or of one registry.

// Written in pieces so that this file does not contain what it looks for.
const traces = [
  { pattern: /(?<![\w.-])\/(?:wor[k]|roo[t]|User[s]|hom[e])\/\w/, why: 'a path of one machine' },
  { pattern: /\b[A-Z]:\\\\?User[s]\b/, why: 'a path of one machine' },
  { pattern: /npm[j]s\.(?:org|com)|debia[n]\.org|yarnpk[g]\.com/, why: "a registry's address" },
];

/**
 * @param {string} path relative to the root
 * @param {string} text
 * @returns {{ path: string, line: number, message: string }[]}
 */
export function findTraces(path, text) {
  const problems = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    for (const t of traces) if (t.pattern.test(lines[i])) problems.push({ path, line: i + 1, message: `${t.why}: ${lines[i].trim().slice(0, 80)}` });
    if (path.endsWith('package-lock.json') && lines[i].includes('"resolved"')) {
      problems.push({ path, line: i + 1, message: 'a download address; npm install with the .npmrc of this repository leaves it out' });
      break;
    }
  }
  return problems;
}

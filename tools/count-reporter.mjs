// A reporter for Node's test runner that only keeps the runner's own closing counts, as one JSON line.
// Beside the readable reporter, so that nobody has to parse that.

export default async function* countReporter(events) {
  const counts = {};
  for await (const { type, data } of events) {
    if (type !== 'test:diagnostic' || data.nesting !== 0) continue;
    const found = /^(tests|pass|fail|cancelled|skipped|todo) (\d+)$/.exec(data.message);
    if (found !== null) counts[found[1]] = Number(found[2]);
  }
  yield `${JSON.stringify(counts)}\n`;
}

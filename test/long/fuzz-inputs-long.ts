// `npm run long -- fuzz-inputs [--points N] [--seed N] [--only TEXT]`: N inputs (default a million) of each kind.
import { slowMs } from './fuzz-bytes.js';
import { type FuzzResult, fuzzInputs, fuzzKinds } from './fuzz-inputs.js';
import { type LongOptions, table } from './suite.js';

const inputsDefault = 1_000_000;
/** The collector leaves that much here and there. */
const growthBytesMax = 4 * 1024 * 1024;

function row(r: FuzzResult): (string | number)[] {
  const verdicts = [...r.verdicts].map(([word, n]) => `${n.toLocaleString('en')} ${word}`).join(', ');
  const cells = [
    r.kind,
    r.inputs.toLocaleString('en'),
    verdicts,
    r.slowestMs.toFixed(1),
    `${Math.round(r.grownBytes / 1024)} KiB`,
    Math.round(r.ms / 1000),
  ];
  return cells;
}

export async function fuzzInputsLong(o: LongOptions): Promise<boolean> {
  const results: FuzzResult[] = [];
  // Whatever gets past everybody is a failure, and ends the process with its stack.
  for (const kind of fuzzKinds) {
    if (!kind.includes(o.only)) continue;
    console.log(`${kind} …`);
    results.push(await fuzzInputs(kind, o.points ?? inputsDefault, o.seed));
  }
  console.log(table(['input', 'inputs', 'of these', 'slowest, ms', 'memory grew by', 's'], results.map(row)));
  const slow = results.flatMap((r) => r.slow);
  for (const input of slow) console.error(`more than ${slowMs} ms each time: ${input.slice(0, 2_000)}`);
  const grown = results.filter((r) => r.grownBytes > growthBytesMax);
  for (const r of grown) console.error(`${r.kind}: memory grew by ${r.grownBytes} bytes`);
  return slow.length === 0 && grown.length === 0;
}

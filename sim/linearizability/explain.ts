// The checker's verdict in words: the longest order that was found, and what could not come next.
import type { CheckResult } from './checker.js';
import { type Model, type Operation, unknownOutput } from './model.js';

const linesMax = 12;

export function explain<S, I, O>(model: Model<S, I, O>, result: CheckResult<S, I, O>): string {
  const p = result.longest;
  if (p === undefined) return 'linearizable';
  const name = result.part === '' ? 'the history' : `the history of ${result.part}`;
  const head =
    result.verdict === 'illegal' ? `${name} is not linearizable` : `whether ${name} is linearizable was not decided within ${result.visits} steps`;
  const line = (o: Operation<I, O>): string => {
    const end = o.output === unknownOutput ? 'never returned' : `returned ${o.return}`;
    return `client ${o.client}: ${model.describe(o.input, o.output)} (called ${o.call}, ${end})`;
  };
  const returned = p.linearized.filter((o) => o.output !== unknownOutput).length;
  const shown = p.linearized.slice(-linesMax);
  const left = p.linearized.length - shown.length;
  return [
    `${head}; longest order found (${returned} of ${p.returned} operations that returned):`,
    ...(left > 0 ? [`  … ${left} before`] : []),
    ...shown.map((o) => `  ${line(o)}`),
    `  state: ${model.describeState(p.state)}`,
    '  next, by their times, could come only:',
    ...p.candidates.slice(0, linesMax).map((c) => `  ${c.refused ? 'impossible' : 'leads nowhere'}: ${line(c.operation)}`),
  ].join('\n');
}

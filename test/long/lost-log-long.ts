// The long run of lost logs: each way to lose one.
import { loseLog, losses } from './lost-log.js';
import { type LongOptions, table } from './suite.js';

export async function lostLog(o: LongOptions): Promise<boolean> {
  const rows: string[][] = [];
  for (const loss of losses.filter((l) => l.includes(o.only))) rows.push([loss, await loseLog(loss)]);
  console.log(table(['lost', 'the core'], rows));
  return true;
}

// Five changes of test/long/churn.ts.
import { test } from 'node:test';
import { churn } from './churn.js';

test('replicants come and go under load: nothing acknowledged is lost', async (t) => {
  const r = await churn(5, 20_263, 500);
  const meanwhile = `p50 ${r.coresAlone.p50Ms.toFixed(1)} ms alone, ${r.meanwhile.p50Ms.toFixed(1)} ms meanwhile`;
  t.diagnostic(`${JSON.stringify(r.changes)}; ${r.acknowledged} operations acknowledged, ${r.unknown} unknown; ${meanwhile}`);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecoveryScenario } from './recovery-scenario.js';

test('a survivor that goes on by force keeps exactly what was on its disk, and nobody of the old history comes back', () => {
  let [lost, kept, restarts] = [0, 0, 0];
  for (let seed = 1; seed <= 13; seed++) {
    const result = new RecoveryScenario(seed).run();
    assert.deepEqual(result.violations, [], `seed ${seed}`);
    lost += result.lost;
    kept += result.kept;
    restarts += result.restarts;
  }
  assert.ok(lost > 0 && kept > 0 && restarts > 0, `${lost} lost, ${kept} kept, ${restarts} restarts`);
});

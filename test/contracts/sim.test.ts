import { test } from 'node:test';
import type { Env } from '#env/env.js';
import { World } from '../../sim/world/scheduler.js';
import { createSimNode } from '../../sim/world/sim-env.js';
import { SimNet } from '../../sim/world/sim-net.js';
import { checkFiles } from './files-contract.js';
import { checkBatchesAreAtomic, checkLimits, checkTablesAgainstModel, type TablesUnderTest } from './tables-contract.js';

/** A simulated node without faults, a new one for every check. */
class Simulated {
  #world = new World({ seed: 1 });

  env(): Env {
    this.#world = new World({ seed: 1 });
    return createSimNode(this.#world, new SimNet(this.#world), 'a@a').env;
  }

  readonly until = async (done: () => boolean): Promise<void> => {
    for (let i = 0; i < 10_000 && !done(); i++) this.#world.runFor(1);
    if (!done()) throw new Error('nothing happens any more');
  };
}

const sim = new Simulated();
const model: TablesUnderTest = { create: () => ({ tables: sim.env().tables, destroy: () => undefined }), until: sim.until, runs: 100 };

test('files: the simulated disk', () => checkFiles({ create: () => ({ files: sim.env().files, destroy: () => undefined }), until: sim.until }));
test("tables: the simulator's model agrees with a sorted map", () => checkTablesAgainstModel(model));
test("tables: batches on the simulator's model are atomic and seen at once", () => checkBatchesAreAtomic(model));
test("tables: limits of the simulator's model", () => checkLimits(model));

// Deliberate bugs of the broker's clustered half. Texts are those of the compiled files;
// `node dist/sim/main.js --mutants` checks that each occurs once and is caught.
import type { Mutant } from '../mutant.js';

function broker(name: string, file: string, find: string, replace: string, why: string): Mutant {
  return { name, scope: 'broker', file: `${file}.js`, find, replace, why };
}

export const brokerMutants: readonly Mutant[] = [
  broker(
    'stale-epoch-accepted',
    'broker/registry-commands',
    'if (row !== undefined && !isOf(row.owner, context, body.epoch))\n        return stale;',
    '',
    'a takeover that a newer connection has overtaken still becomes the holder',
  ),
  broker(
    'suback-before-effective',
    'broker/route-sync',
    "? { until: 'effective', deadlineMs: subackTimeoutMs }",
    "? { until: 'committed', deadlineMs: subackTimeoutMs }",
    'SUBACK is sent before every node can match the route',
  ),
  broker(
    'route-delete-overtakes-put',
    'router/route-sync-state',
    'if (e === undefined || isSettled(e) || e.flying !== undefined)',
    'if (e === undefined || isSettled(e))',
    'two changes of one filter are in flight at once',
  ),
  broker(
    'forward-not-deduplicated',
    'broker/forward-receiver',
    "bits.push(verdict === 'old' || this.receive(message));",
    'bits.push(this.receive(message));',
    'what is sent again after a reconnect is delivered again',
  ),
  broker(
    'hand-over-not-deduplicated',
    'broker/hold-back',
    'this.#held.filter((item) => !known.has(origin(item.message)))',
    'this.#held',
    'what was handed over is delivered once more from the new node’s own arrivals',
  ),
  broker(
    'forward-numbers-begin-anew',
    'broker/forward',
    'if (!d.up && !d.dirty && d.window.next === 1)',
    'if (!d.up && !d.dirty)',
    'a fenced node that lives takes the new count for duplicates',
  ),
];

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
    'if (row !== undefined ? !isOf(row.owner, context, body.epoch) : isNewer(stored(context, table, body.key), body.epoch))\n        return stale;',
    '',
    'a takeover that a newer connection has overtaken still becomes the holder',
  ),
  broker(
    'suback-before-effective',
    'broker/route-table',
    "? { until: 'effective', deadlineMs: subackTimeoutMs }",
    "? { until: 'committed', deadlineMs: subackTimeoutMs }",
    'SUBACK is sent before every node can match the route',
  ),
  // That a delete overtakes a put cannot be provoked in this room alone: the database keeps a node's writes in order.
  broker(
    'route-given-up-stays',
    'router/route-sync-state',
    'if (!sure || !e.wanted)',
    'if (!sure)',
    'a filter that nobody wants any more when its put lands keeps its route',
  ),
  broker(
    'route-wanted-again-is-forgotten',
    'router/route-sync-state',
    "if (!e.wanted && e.stored === 'absent')",
    "if (e.stored === 'absent')",
    'a filter that is wanted again while its delete is in flight gets no route',
  ),
  broker(
    'forward-not-deduplicated',
    'broker/forward-receiver',
    "const taken = verdict === 'old' ? !state.wasRefused(first + i) : this.receive(message, to);",
    'const taken = this.receive(message, to);',
    'what is sent again after a reconnect is delivered again',
  ),
  broker(
    'hand-over-not-deduplicated',
    'broker/hold-back',
    'for (const item of handedOver)\n            known.add(identity(item.message, item.group));',
    '',
    'what was handed over is delivered once more from the new node’s own arrivals',
  ),
  broker(
    'hand-over-before-arrival',
    'node/create-node',
    'this.registry.beforeHandOver = (done) => this.forwarder.arrived(done);',
    'this.registry.beforeHandOver = (done) => done();',
    'what is on its way to the old holder comes after it has handed over',
  ),
  broker(
    'hand-over-forgets-recent',
    'broker/takeover',
    '[...here, ...(session.gate?.known?.() ?? [])].slice(0, recentMax)',
    '[]',
    'a copy that is late at the new node of a session is delivered once more',
  ),
  broker(
    'hand-over-forgets-groups',
    'broker/hold-back',
    'session.enqueue(item.message, item.qos, item.retain, item.subscriptionIdentifiers, item.group);',
    'session.enqueue(item.message, item.qos, item.retain, item.subscriptionIdentifiers);',
    'what a moved session had queued for a group goes to no other member when it ends',
  ),
  broker(
    'qos2-identifiers-stay',
    'broker/settling',
    'if (rest.awaitingRel.length === 0)',
    'if (rest !== undefined)',
    'a QoS 2 message that is repeated at the new node is taken for a new one',
  ),
  broker(
    'forward-numbers-begin-anew',
    'broker/forward',
    'if (!d.up && !d.dirty && d.window.next === 1)',
    'if (!d.up && !d.dirty)',
    'a fenced node that lives takes the new count for duplicates',
  ),
  broker(
    'will-of-a-lost-node-forgotten',
    'broker/will-publisher',
    'this.#publishDue(s);\n        }',
    '}',
    'nobody publishes the wills whose nodes are lost',
  ),
  broker(
    'will-not-called-off',
    'broker/registered-wills',
    "return continues === 'here' ? undefined : { ...will, heldBy: epoch, heldIncarnation: context.incarnation };",
    'return will;',
    'a will whose client goes on with its session in time stands all the same',
  ),
  broker(
    'will-taken-back-stays',
    'broker/registered-wills',
    "if (will.epoch === epoch && word === 'over')",
    'if (false)',
    'what its node says of a will that was taken back is not heard',
  ),
  broker(
    'will-published-by-both',
    'broker/seen-wills',
    'if (this.#seen.has(id))',
    'if (false)',
    'a will that its node had published before it was lost is delivered again',
  ),
  broker(
    'evacuated-session-stays',
    'broker/evacuation',
    'over = !this.#found && this.#open === 0;',
    'over = true;',
    'a node says that it has given all away when it has begun to',
  ),
  broker(
    'persistent-queue-not-written',
    'broker/durable-changes',
    'writeOp.queued(w, item, behind);',
    '{ }',
    'messages that wait for a persistent session are not in the journal',
  ),
  broker(
    'persistent-acknowledged-before-sync',
    'broker/durable-sessions',
    'this.#journal.whenDurable((error) => done(error === undefined));',
    'done(true);',
    'a publisher is told before what waits for a persistent session is on disk',
  ),
  broker(
    'persistent-old-copy-stays',
    'broker/registry-audit',
    "if (verdicts[i] !== 'stale' && verdicts[i] !== 'absent')",
    'if (verdicts[i] !== undefined)',
    'a session that came back with its node stays although its client has another one',
  ),
  broker(
    'full-memory-acknowledges',
    'broker/durable-sessions',
    'this.memoryFull?.refused();\n        this.#refuse();',
    'this.memoryFull?.refused();',
    'a message that full memory does not take is acknowledged to its publisher',
  ),
  broker(
    'full-memory-drops-acknowledged',
    'broker/pressure',
    'session.queue.takeOut((item) => item.qos === 0)',
    'session.queue.takeOut(() => true)',
    'with QoS 0 messages those that were acknowledged leave the queues',
  ),
  broker(
    'full-memory-loses-wills',
    'broker/durable-sessions',
    'isWillOrigin(message.originIncarnation) || ',
    '',
    'a will that would have to wait is refused, and nobody is told',
  ),
  broker('short-memory-stays', 'broker/overload', 'if (now - this.#calmSince < calmMs)\n            return;', 'return;', 'a level is never left'),
];

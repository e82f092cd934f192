// Deliberate bugs of the database. Texts are those of the compiled files; `node dist/sim/main.js
// --scope db --mutants --seconds 12` checks that each occurs once and is caught: within 300 seeds, three
// quarters of them within 5. What takes longest needs a rare meeting: a node declared down with writes in
// doubt (renewal-asks-nothing), a deposed leader that is read (barrier-without-quorum).
import type { Mutant } from '../mutant.js';

function db(name: string, file: string, find: string, replace: string, why: string): Mutant {
  return { name: `db-${name}`, scope: 'db', file: `db/${file}.js`, find, replace, why };
}

export const dbMutants: readonly Mutant[] = [
  db(
    'apply-ahead-of-log',
    'core-shard',
    'const to = this.#raft.applyTo;',
    'const to = this.#raft.commitIndex;',
    'tables run ahead of the node’s own log',
  ),
  db(
    'answer-before-commit',
    'shard-leader',
    'for (const waiter of waiters)\n            this.#waiters.push(waiter);',
    'for (const waiter of waiters)\n            this.#resolve(waiter);',
    'what a client was told is lost with the leader',
  ),
  db(
    'retry-under-a-new-number',
    'proposer-queue',
    'if (!take(p))\n                    break;\n                p.attempt = attempt;',
    'if (!take(p))\n                    break;\n                p.attempt = attempt; this.#sent.delete(seq); p.seq = this.#nextSeq++; this.#sent.set(p.seq, p);',
    'a retry after a lost reply is another write',
  ),
  db(
    'renewal-asks-nothing',
    'proposer',
    'if (doubt.length === 0) {',
    'if (doubt.length >= 0) {',
    'a renewed node writes again what its dead incarnation had written',
  ),
  db(
    'frozen-stream-goes-on',
    'streams',
    's.frozen = true;',
    's.frozen = false;',
    'purge without fence: late writes of a dead incarnation are accepted',
  ),
  db(
    'overlay-not-read',
    'leader-head',
    'const cell = this.#cells.get(cellId(tableId, key));',
    'const cell = undefined;',
    'commands are judged against applied tables, not against the whole log',
  ),
  db('rollback-forgotten', 'leader-head', 'this.#rollback(ops);', 'ops.length = 0;', 'rows of a refused command are seen by the next one'),
  db(
    'conflict-of-keys-missed',
    'conflict-window',
    'if (last !== undefined && last > since)',
    'if (last !== undefined && last > since + 1)',
    'a transaction commits on a read that was overtaken by the next entry',
  ),
  db(
    'phantoms-missed',
    'conflict-window',
    'if (g.tableId === w.tableId && keyInRange(w.key, g.start, g.end))',
    'if (false)',
    'a range that was read has a new row',
  ),
  db('purge-is-no-conflict', 'conflict-window', 'this.#lastPurge > since', 'false', 'rows that a transaction counted vanished with their owner'),
  db(
    'positions-repeat',
    'leader-head',
    'position: index * positionsPerEntry + n',
    'position: index * positionsPerEntry',
    'two commands of one entry get the same epoch',
  ),
  db('stamp-goes-back', 'shard-leader', 'Math.max(now, this.#stampAnchor, this.head.stampMs)', 'now', 'rows expire by a clock that jumps'),
  db(
    'swap-before-last-stamp',
    'replica-machine',
    'this.applied >= this.#lastStamp && this.applied >= this.#target',
    'this.applied >= 0',
    'a fuzzy copy is put in service before the log has made it exact',
  ),
  db(
    'copy-not-flushed',
    'replica',
    'aside.opened.store.flushed((error) =>',
    '((f) => f(undefined))((error) =>',
    'a power cut leaves half a copy in service',
  ),
  db(
    'compaction-before-flush',
    'log-keeper',
    'state.store.flushed((error) =>',
    '((f) => f(undefined))((error) =>',
    'a power cut rolls tables back to before the log',
  ),
  db(
    'feed-not-reset',
    'shard-state',
    'feed.reset(this.generation, this.appliedIndex);\n        this.#options.onApplied',
    ';\n        this.#options.onApplied',
    'consumers keep ghosts of the old copy',
  ),
  db('backwards-allowed', 'rlog-agent', 'm.appliedIndex > s.commitIndex', 'false', 'a replicant that moves to a core behind it goes back in time'),
  db(
    'visible-before-applied',
    'replica',
    '? 0 : this.#state.appliedIndex;',
    '? 0 : this.#state.queuedIndex;',
    'effective before a replicant has applied',
  ),
  db(
    'effective-without-replicants',
    'core-shard',
    'Math.min(this.state.appliedIndex, this.server.visibleOfNormal())',
    'this.state.appliedIndex',
    'effective before the replicants have seen it',
  ),
  db('effective-without-cores', 'visibility', 'else if (visible < index)', 'else if (false)', 'effective before the other cores have seen it'),
  db(
    'barrier-without-quorum',
    'core-shard',
    "this.step({ type: 'readIndex', token });",
    'this.#reads.delete(token); done(this.#raft.commitIndex);',
    'a leader that was deposed while it was cut off answers reads',
  ),
  db('owner-index-forgotten', 'apply', 'if (previous === owner)', 'if (previous !== owner)', 'rows of dead incarnations stay on disk for ever'),
  db(
    'sweep-too-far',
    'apply',
    'const end = last ? ownerIndexStart(incarnation + 1)',
    'const end = last ? ownerIndexStart(incarnation + 2)',
    'a sweep touches the next incarnation',
  ),
  db(
    'copy-rows-before-owner-index',
    'rlog-agent',
    '{ start: Uint8Array.of(ownerIndexByte), end: Uint8Array.of(ownerIndexByte + 1) },\n    { start: firstUserKey, end: Uint8Array.of(ownerIndexByte) },',
    '{ start: firstUserKey, end: Uint8Array.of(ownerIndexByte + 1) },',
    'a sweep while tables are copied leaves rows of a dead incarnation in the copy',
  ),
  db('purge-hides-nothing', 'shard-state', 'this.reader.live.purge(op.nodeId, op.incarnation);', ';', 'rows of a dead incarnation stay visible'),
  db('resume-one-late', 'rlog-agent', 'this.next = m.appliedIndex + 1;', 'this.next = m.appliedIndex + 2;', 'a stream resumes behind a hole'),
  db(
    'resume-one-early',
    'rlog-agent',
    'this.next = m.appliedIndex + 1;',
    'this.next = m.appliedIndex;',
    'a stream resumes with an entry that is there',
  ),
  db(
    'resume-asks-one-early',
    'replica',
    'appliedIndex: this.#state.queuedIndex,',
    'appliedIndex: Math.max(0, this.#state.queuedIndex - 1),',
    'a replicant asks for an entry that it has',
  ),
  db('long-keys-forgotten', 'shard-state', 'for (const id of batch.longTables)', 'for (const id of [])', 'ranges leave out rows with long keys'),
  db(
    'displaced-not-purged',
    'leader-duties',
    'here < newest && !known.has(nodeId)',
    'false',
    'rows of a replicant that came back with a new data directory stay',
  ),
  db('stream-bound-deadlock', 'shard-leader', 'stream.lastSeq - received <', 'stream.outcomes.size <', 'a full stream is refused for ever'),
];

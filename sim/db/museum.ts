// More deliberate bugs of the database and its disks: of each class of bugs that other implementations
// had (docs/simulation.md lists the classes) at least one is here or in mutants.ts. Run with 12 seconds.
import type { Mutant } from '../mutant.js';

function db(name: string, file: string, find: string, replace: string, why: string): Mutant {
  return { name: `db-${name}`, scope: 'db', file: `${file}.js`, find, replace, why };
}

const speaksNot = 'return this.#o.silentUntil !== undefined && this.#o.clock.now() < this.#o.silentUntil;';

export const dbMuseum: readonly Mutant[] = [
  db('cache-not-truncated', 'store/shard-log', 'this.cache.truncate(from);', '', 'memory goes on showing entries that were overwritten'),
  db(
    'sync-error-ignored',
    'store/log-writer',
    'if (error !== undefined)\n                this.#fail(error);\n            else if (--left === 0)',
    'if (--left === 0)',
    'a node goes on after a sync that failed',
  ),
  db(
    'acknowledge-before-sync',
    'store/log-writer',
    'file.sync(done);\n    }\n    #open',
    'file.sync(() => undefined);\n        this.#env.clock.endOfTurn(() => done(undefined));\n    }\n    #open',
    'entries and votes count before they are on disk',
  ),
  db(
    'damage-ignored',
    'db/core-shard',
    'recovering: wal.damage === undefined ? 0 :',
    'recovering: wal.hardState !== undefined ? 0 :',
    'a node whose log lost entries votes and counts',
  ),
  db(
    'apply-skips',
    'db/shard-state',
    'if (!this.#cursor.add(batch, entry, this.store))\n                    break;',
    'if (!this.#cursor.add(batch, entry, this.store)) {\n                this.#cursor.system.position = { ...this.#cursor.system.position, appliedIndex: entry.index, appliedTerm: entry.term };\n                this.#queue.shift();\n                break;\n            }',
    'an entry at the end of a page is counted and not applied',
  ),
  db(
    'applied-index-apart',
    'db/shard-state',
    'store.write(batch.writes, (error) => {',
    'store.write(batch.writes.slice(-1), () => undefined);\n        store.write(batch.writes.slice(0, -1), (error) => {',
    'the applied index is not in one step with the rows',
  ),
  db(
    'leads-before-its-term',
    'db/core-shard',
    'if (appliedIndex < this.#raft.termStartIndex || appliedIndex !== this.#raft.lastIndex || !this.state.idle)',
    'if (appliedIndex < 0)',
    'a new leader judges proposals before it has applied what earlier leaders committed',
  ),
  db(
    'newest-copy-chosen',
    'node/directory-generations',
    'const number = this.#readPointer() ?? 1;',
    'const number = files.list(this.#dir).reduce((m, n) => Math.max(m, Number.parseInt(n, 10) || 0), this.#readPointer() ?? 1);',
    'a start takes an unfinished copy for the current tables',
  ),
  db(
    'feed-loses-changes',
    'db/shard-state',
    "for (const op of batch.feed) {\n            if (op.kind === 'purged')\n                feed.purged",
    "for (const op of batch.feed.slice(0, 3)) {\n            if (op.kind === 'purged')\n                feed.purged",
    'a watcher misses changes of a large batch',
  ),
  db(
    'feed-repeats-changes',
    'db/shard-state',
    'feed.applied(this.appliedIndex);',
    'feed.applied(this.appliedIndex);\n        feed.applied(this.appliedIndex - 1);',
    'a watcher is told of an older state after a newer one',
  ),
  {
    ...db(
      'leases-forgotten',
      'db/rlog-server',
      'forgotten.hold(now, now + leadMs(this.#bounds.leaseMs));',
      '',
      'a core that restarts forgets whom its earlier process let into service',
    ),
    also: [{ file: 'db/visibility.js', find: speaksNot, replace: 'return false;' }],
  },
  db(
    'new-leader-waits-for-nobody',
    'db/visibility',
    '.hold(now, now + leadMs(this.#o.bounds.leaseMs))',
    '.hold(now, now)',
    'a new leader declares effective what holders of older leases have not seen',
  ),
  db(
    'leases-of-the-gone-forgotten',
    'db/visibility',
    '.voters, ...config.learners, ...linked]))\n                if (id !== this.#o.nodeId)\n                    this.#member(id).hold(now, now + leadMs(this.#o.bounds.leaseMs));\n            if (!this.settled)\n                this.#member(gone).hold(now, this.#goneUntil);',
    '.voters, ...config.learners]))\n                if (id !== this.#o.nodeId)\n                    this.#member(id).hold(now, now + leadMs(this.#o.bounds.leaseMs));',
    'a new leader does not wait for those that cores hold in service which are out of the group',
  ),
  db(
    'removed-learner-forgotten',
    'db/confirmations',
    'return this.#groupChangedAt;',
    'return this.#changedAt;',
    'a new leader does not wait for a learner that was taken out and may be in service still',
  ),
  db(
    'word-counts-across-a-change',
    'db/visibility',
    'Math.max(changed + leadMs(bounds.leaseMs), this.#confirmations.earlier(this.#term))',
    'this.#confirmations.earlier(this.#term)',
    'the word of voters of now releases a new leader from leases that voters of before confirmed',
  ),
  db(
    'word-of-a-new-process',
    'db/confirmations',
    'this.#earlier = now + ms;',
    'this.#earlier = now;',
    'a voter that has just started denies what its earlier process confirmed',
  ),
  db(
    'new-process-speaks-at-once',
    'db/visibility',
    speaksNot,
    'return false;',
    'a core that has just started asks for a lease while it can say of nobody what he has seen: writes wait for it for two leases',
  ),
  db(
    'serves-before-its-floor',
    'db/lease',
    'if (next !== undefined && next.floor <= visible)',
    'if (next !== undefined)',
    'a node serves after a copy before it has what was effective when it was let in',
  ),
  db(
    'lease-from-the-answer',
    'db/visibility',
    'this.#held.take(sentAt,',
    'this.#held.take(this.#o.clock.now(),',
    'a holder counts its lease for longer than its grantor',
  ),
  db(
    'read-of-a-paused-leader',
    'raft/read-index',
    'if (read.round <= confirmed)',
    'if (read.index >= 0)',
    'a deposed leader answers a linearizable read',
  ),
  db(
    'deposed-leader-reports',
    'db/shard-leader',
    'sendOn(w.request, w.from, w.to);\n        for (const w of this.#effective)',
    'this.#resolve(w);\n        for (const w of this.#effective)',
    'a deposed leader reports success of what it appended and has not committed',
  ),
  db(
    'copy-goes-on-at-an-older-core',
    'db/rlog-agent',
    'if (s.appliedIndex < Math.max(copy.stamp, copy.index)) {',
    'if (false) {',
    'a second core goes on with a copy whose rows are newer than its own',
  ),
  db(
    'checksum-ignored',
    'store/record-walk',
    'crc32c(this.#bytes, headerCrc, start, end) !== crc || ',
    '',
    'a record that is not as it was written is taken for good',
  ),
];

// More deliberate bugs of the Raft machine: of each class of bugs that other implementations had
// (docs/simulation.md lists the classes) at least one is here or in mutants.ts.
import type { Mutant } from '../mutant.js';

function raft(name: string, file: string, find: string, replace: string, why: string): Mutant {
  return { name, scope: 'raft', file: `raft/${file}.js`, find, replace, why };
}

export const raftMuseum: readonly Mutant[] = [
  raft(
    'change-before-own-term',
    'raft',
    "if (!s.committedInTerm)\n            return { ok: false, reason: 'notReady' };",
    '',
    'a change before the first commit of the term (erratum of July 2015)',
  ),
  raft(
    'two-voters-at-once',
    'membership',
    '{ voters: [...config.voters, node], learners: without(config.learners) }',
    '{ voters: [...config.voters, ...config.learners], learners: [] }',
    'majorities before and after the change need not meet',
  ),
  raft(
    'change-in-force-late',
    'membership',
    's.config = s.configs[s.configs.length - 1]?.config ?? s.baseConfig;\n    s.effects',
    's.config = configAt(s, s.commitIndex);\n    s.effects',
    'a change counts from the next one on',
  ),
  raft(
    'removed-member-counted',
    'replication',
    'majorityValue(s.config.voters,',
    'majorityValue(s.baseConfig.voters,',
    'who was removed counts for commit',
  ),
  raft('learner-campaigns', 'election', ' && !s.installing && s.isVoter;', ' && !s.installing;', 'a learner or a removed member leads'),
  raft(
    'removed-leader-stays',
    'membership',
    '&& configIndex(s) <= s.commitIndex)',
    '&& configIndex(s) < 0)',
    'a leader leads on after its removal is committed',
  ),
  raft(
    'configuration-forgotten',
    'raft',
    'if (restored.configs === undefined)\n            loadConfigs(s);',
    'if (restored.configs === undefined)\n            s.configs = [];',
    'a restart forgets the configurations of the log',
  ),
  raft(
    'uncommitted-change-compacted',
    'membership',
    's.configs[0].index <= index) {',
    's.configs[0].index <= s.log.lastIndex) {',
    'compaction takes a later configuration for the base',
  ),
  raft(
    'vote-forgotten-on-step-down',
    'roles',
    "s.role = 'follower';\n    s.leader = leader;",
    "s.role = 'follower';\n    s.leader = leader;\n    s.votedFor = '';",
    'a candidate that gives up votes again in its term',
  ),
  raft(
    'term-goes-back',
    'replication',
    'const hintIndex = s.log.lastIndexWithin(',
    's.term = Math.max(1, Math.min(s.term, m.prevTerm));\n    const hintIndex = s.log.lastIndexWithin(',
    'entries that do not fit take the term back',
  ),
  raft(
    'leader-resets-on-rejection',
    'replication',
    'const agreed = s.log.lastIndexWithin(m.hintIndex, m.hintTerm);',
    'if (m.hintIndex < s.log.lastIndex && m.hintIndex > s.log.baseIndex)\n        overwriteFrom(s, m.hintIndex + 1);\n    const agreed = s.log.lastIndexWithin(m.hintIndex, m.hintTerm);',
    'an answer makes the leader cut its own log',
  ),
  raft(
    'append-below-base',
    'replication',
    'e.index <= s.log.baseIndex || s.log.term',
    's.log.term',
    'late entries that are compacted already are taken for others',
  ),
  raft(
    'two-copies-at-once',
    'snapshot',
    'hearLeader(s, from);\n    if (s.installing)\n        return;\n',
    'hearLeader(s, from);\n',
    'a second copy begins while one is on its way',
  ),
  raft(
    'check-quorum-off',
    'election',
    'if (s.now - heardAt > s.settings.electionTimeoutMaxMs)',
    'if (s.now < heardAt - 1)',
    'liveness: a leader that hears nobody keeps its followers from electing another',
  ),
];

// test/long/lost-log.ts with one way to lose a log. The same as a script of the machine alone:
// src/raft/recovery.test.ts.
import { test } from 'node:test';
import { loseLog } from './lost-log.js';

test('a core that lost its log elects nobody together with one that never had the entries', async (t) =>
  t.diagnostic(await loseLog('a spoilt stretch of the log')));

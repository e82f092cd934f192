// The entry of the npm scripts: node tools/run.mjs start|test|check|build|sim|long|bench [options].
// Needs nothing but Node: on a fresh clone there are no packages yet.
import './node-version.mjs';

import('./commands.mjs').then((commands) => commands.run(process.argv.slice(2)));

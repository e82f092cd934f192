import { play } from './attack.js';
import { floodCases } from './floods.js';

// Thousands of routes fill the cache of log entries, which is bounded at 64 MiB.
play(floodCases, { growthBytesMax: 64 * 1024 * 1024 });

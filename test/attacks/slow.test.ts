import { play } from './attack.js';
import { slowCases } from './floods.js';

play(slowCases, { settings: 'mqtt.idle_timeout = 1s' });

import { play } from './attack.js';
import { packetCases } from './packets.js';

play(packetCases);

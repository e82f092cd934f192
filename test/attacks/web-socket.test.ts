import { play } from './attack.js';
import { webSocketCases } from './web-socket.js';

play(webSocketCases);

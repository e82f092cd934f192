import { play } from './attack.js';
import { originCases } from './web-socket.js';

play(originCases, { settings: 'listeners.ws.default.websocket { check_origin_enable = true, check_origins = ["https://good.example"] }' });

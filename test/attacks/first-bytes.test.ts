import { play } from './attack.js';
import { firstByteCases } from './first-bytes.js';

play(firstByteCases);

import { accessCases, accessLab } from './access.js';
import { play } from './attack.js';

play(accessCases, accessLab);
